//! Reverse-mode derivatives of the interpreter are computed in `f32`, for the ops of convolutional networks.
//!
//! Sums run as in the forward direction. Where a function has a kink the derivative is that of its right side; the maximum
//! of a window passes its gradient to the first element that reaches it.

mod local;

use super::window::{self, Tap, Window};
use super::{EvalError, apply, axes_of, axis_of, elementwise, eval_observed, linear, normalise, shape};
use crate::attr::F64;
use crate::consts::ConstPool;
use crate::dialect::{OpInfo, TypeError};
use crate::entity::{Entity, Value};
use crate::func::{Module, Node};
use crate::nn::{Nn, NnOp};
use crate::tensor::{Shape, Tensor};

/// Runs `module` on `inputs` and returns, for each value of `of`, the gradient of a scalar loss of value `at`; `seed` gives
/// the loss's gradient with respect to `at` from the value there. A value that `at` does not depend on has gradient zero.
///
/// # Errors
/// As [`super::eval`]; and when an op between `of` and `at` has no derivative here, or `seed` gives another shape.
pub fn gradients(
    module: &Module<Nn>,
    inputs: &[Tensor],
    at: Value,
    seed: impl FnOnce(&Tensor) -> Tensor,
    of: &[Value],
) -> Result<Vec<Tensor>, EvalError> {
    let func = &module.func;
    let mut values: Vec<Option<Tensor>> = vec![None; func.len()];
    eval_observed(module, inputs, |value, tensor| values[value.index()] = Some(tensor.clone()))?;
    let fail =
        |node: &Node<Nn>, reason| EvalError::Node { node: node.loc.name().to_string(), op: node.op.mnemonic(), reason };
    let missing = || TypeError("the results do not depend on it".into());

    // Only what depends on a wanted value needs a gradient: constants do not.
    let mut needed = vec![false; func.len()];
    of.iter().for_each(|v| needed[v.index()] = true);
    for (value, node) in func.iter() {
        needed[value.index()] |= node.operands.iter().any(|o| needed[o.index()]);
    }
    let mut grads: Vec<Option<Tensor>> = vec![None; func.len()];
    let top = values[at.index()].as_ref().ok_or_else(|| fail(func.node(at), missing()))?;
    let seed = seed(top);
    if seed.shape() != top.shape() {
        let reason = format!("a gradient of shape {} for a value of shape {}", seed.shape(), top.shape());
        return Err(fail(func.node(at), TypeError(reason)));
    }
    grads[at.index()] = Some(seed);
    for (value, node) in func.iter().rev() {
        let Some(grad) = grads[value.index()].clone() else { continue };
        if let Some(result) = &values[value.index()] {
            let operands: Vec<&Tensor> = node.operands.iter().filter_map(|o| values[o.index()].as_ref()).collect();
            for (k, o) in node.operands.iter().enumerate().filter(|(_, o)| needed[o.index()]) {
                let step = EvaluatedNode { op: &node.op, operands: &operands, result, consts: &module.consts };
                let own = step.pull_back(k, &grad).map_err(|reason| fail(node, reason))?;
                let slot = &mut grads[o.index()];
                *slot = Some(match slot.take() {
                    Some(sum) => zip(&sum, &own, |a, b| a + b),
                    None => own,
                });
            }
        }
        if !of.contains(&value) {
            grads[value.index()] = None;
        }
    }
    Ok(of
        .iter()
        .map(|v| grads[v.index()].clone().unwrap_or_else(|| Tensor::full(func.ty(*v).0.clone(), 0.0)))
        .collect())
}

/// One evaluated node.
struct EvaluatedNode<'a> {
    op: &'a NnOp,
    operands: &'a [&'a Tensor],
    result: &'a Tensor,
    consts: &'a ConstPool,
}

impl EvaluatedNode<'_> {
    /// The gradient with respect to operand `k`, from the one with respect to the result.
    fn pull_back(&self, k: usize, grad: &Tensor) -> Result<Tensor, TypeError> {
        let x = self.operands[k];
        let window = |kernel: &[usize], strides: &[i64], pads: &[i64], dilations: &[i64]| {
            Window::new(x.shape(), kernel, grad.shape(), strides, pads, dilations)
        };
        let extents = |kernel: &[i64]| kernel.iter().map(|&k| k as usize).collect::<Vec<_>>();
        Ok(match self.op {
            NnOp::Conv { strides, pads, dilations, groups } if k == 0 => {
                let w = self.operands[1];
                let window = window(&w.shape().0[2..], strides, pads, dilations);
                convolution(x.shape(), w, &window, *groups as usize, grad)
            }
            NnOp::MatMul {} if self.operands.iter().all(|t| t.shape().rank() >= 2) => self.product(k, grad),
            NnOp::BatchNorm { epsilon } if k == 0 => {
                let (scale, variance) = (self.operands[1].data(), self.operands[4].data());
                let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + epsilon.0).sqrt();
                let plane: usize = x.shape().0[2..].iter().product();
                indexed(grad, |i, g| (f64::from(g) * factor(i / plane % scale.len())) as f32)
            }
            NnOp::Softmax { axis } => softmax(self.result, axis_of(*axis, x.shape()), grad),
            NnOp::LogSoftmax { axis } => {
                let axes = [axis_of(*axis, x.shape())];
                let kept =
                    Shape(x.shape().0.iter().enumerate().map(|(d, &n)| if d == axes[0] { 1 } else { n }).collect());
                let sums = elementwise::expand(&normalise::reduce(grad, &axes, kept, false), x.shape().clone());
                zip(grad, &zip(self.result, &sums, |y, s| y.exp() * s), |g, s| g - s)
            }
            NnOp::Activation { function, alpha, beta } => {
                let function = function.function(alpha.map(|a| a.0), beta.map(|b| b.0));
                zip(grad, x, |g, x| (f64::from(g) * function.derivative(f64::from(x))) as f32)
            }
            NnOp::Composed { function } => {
                zip(grad, x, |g, x| (f64::from(g) * function.derivative(f64::from(x))) as f32)
            }
            NnOp::Polynomial { basis, lo, hi, rows, coeffs } => {
                let coeffs: Vec<f64> = coeffs.iter().map(|c| c.0).collect();
                let rows = *rows as usize;
                let width = coeffs.len() / rows;
                let plane: usize = if rows == 1 { x.shape().len() } else { x.shape().0[2..].iter().product() };
                let slope = |i: usize| {
                    let row = i / plane % rows;
                    basis.derivative(&coeffs[row * width..(row + 1) * width], lo.0, hi.0, f64::from(x.data()[i]))
                };
                indexed(grad, |i, g| (f64::from(g) * slope(i)) as f32)
            }
            NnOp::PRelu {} if k == 0 => {
                let slopes = self.broadcast(1);
                indexed(grad, |i, g| if x.data()[i] < 0.0 { g * slopes.data()[i] } else { g })
            }
            NnOp::Add {} => narrowed(grad, x.shape()),
            NnOp::Sub {} if k == 0 => narrowed(grad, x.shape()),
            NnOp::Sub {} => narrowed(&grad.map(|g| -g), x.shape()),
            NnOp::Mul {} => narrowed(&zip(grad, &self.broadcast(1 - k), |g, y| g * y), x.shape()),
            NnOp::Div {} if k == 0 => narrowed(&zip(grad, &self.broadcast(1), |g, y| g / y), x.shape()),
            NnOp::Div {} => {
                let share = zip(grad, self.result, |g, quotient| -g * quotient);
                narrowed(&zip(&share, &self.broadcast(1), |g, y| g / y), x.shape())
            }
            NnOp::Neg {} => grad.map(|g| -g),
            NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad, .. } => {
                let window = window(&extents(kernel), strides, pads, dilations);
                window::average_adjoint(x.shape(), &window, *count_include_pad, grad)
            }
            NnOp::MaxPool { kernel, strides, pads, dilations, .. } => {
                let window = window(&extents(kernel), strides, pads, dilations);
                window::maximum_adjoint(x, &window, self.result, grad)
            }
            NnOp::ReduceMean { axes, .. } => {
                let spread = spread(grad, x.shape(), &axes_of(axes, x.shape()));
                let count = (x.shape().len() / grad.shape().len().max(1)) as f32;
                spread.map(|g| g / count)
            }
            NnOp::ReduceSum { axes, .. } => spread(grad, x.shape(), &axes_of(axes, x.shape())),
            NnOp::Expand { .. } => narrowed(grad, x.shape()),
            NnOp::Reshape { .. } => grad.reshaped(x.shape().clone()),
            NnOp::Transpose { .. }
            | NnOp::Slice { .. }
            | NnOp::Pad { .. }
            | NnOp::Concat { .. }
            | NnOp::Gather { .. } => self.moved(k, grad)?,
            _ => return Err(TypeError(format!("no derivative in operand {k}"))),
        })
    }

    /// Operand `k` repeated to the result's shape.
    fn broadcast(&self, k: usize) -> Tensor {
        elementwise::expand(self.operands[k], self.result.shape().clone())
    }

    /// Of a matrix product.
    fn product(&self, k: usize, grad: &Tensor) -> Tensor {
        let other = transposed(self.operands[1 - k]);
        let (left, right) = if k == 0 { (grad, &other) } else { (&other, grad) };
        let [rows, columns] = [left.shape().0[left.shape().rank() - 2], right.shape().0[right.shape().rank() - 1]];
        let batch = &grad.shape().0[..grad.shape().rank() - 2];
        let product = linear::matmul(left, right, Shape([batch, &[rows, columns]].concat()));
        narrowed(&product, self.operands[k].shape())
    }

    /// Of an op that moves elements: the op itself, run on the numbers of the elements, tells where each one went.
    fn moved(&self, k: usize, grad: &Tensor) -> Result<Tensor, TypeError> {
        // Numbers start at one: zero stands for padding and for the other operands. `f32` holds integers to 2^24.
        const MOST: usize = 1 << 24;
        let x = self.operands[k].shape();
        if x.len() >= MOST {
            return Err(TypeError(format!("an operand of {} elements, more than {MOST}", x.len())));
        }
        let op = match self.op {
            NnOp::Pad { pads, mode, .. } => NnOp::Pad { pads: pads.clone(), mode: *mode, value: F64(0.0) },
            op => op.clone(),
        };
        let numbered: Vec<Tensor> = (0..self.operands.len())
            .map(|j| match self.operands[j].shape() {
                shape if j == k => Tensor::new(shape.clone(), (1..=shape.len()).map(|i| i as f32).collect::<Vec<_>>()),
                shape => Tensor::full(shape.clone(), 0.0),
            })
            .collect();
        let sources = apply(&op, &numbered.iter().collect::<Vec<_>>(), self.consts)?;
        let mut out = vec![0.0; x.len()];
        for (&source, &g) in sources.data().iter().zip(grad.data()) {
            if let Some(at) = (source as usize).checked_sub(1) {
                out[at] += g;
            }
        }
        Ok(Tensor::new(x.clone(), out))
    }
}

/// `f` over the elements of two tensors of one shape.
fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32) -> Tensor {
    elementwise::binary(a, b, a.shape().clone(), f)
}

/// `f` over the elements and their numbers.
fn indexed(x: &Tensor, f: impl Fn(usize, f32) -> f32) -> Tensor {
    Tensor::new(x.shape().clone(), x.data().iter().enumerate().map(|(i, &x)| f(i, x)).collect::<Vec<_>>())
}

/// The sum over what was broadcast from `shape`.
fn narrowed(grad: &Tensor, shape: &Shape) -> Tensor {
    if grad.shape() == shape {
        return grad.clone();
    }
    let added = grad.shape().rank() - shape.rank();
    let kept = Shape([&vec![1; added][..], &shape.0].concat());
    let axes: Vec<usize> = (0..kept.rank()).filter(|&d| kept.0[d] == 1).collect();
    normalise::reduce(grad, &axes, shape.clone(), false)
}

/// The gradient of a sum over `axes`, which every element of `shape` shares.
fn spread(grad: &Tensor, shape: &Shape, axes: &[usize]) -> Tensor {
    let kept = shape.0.iter().enumerate().map(|(d, &n)| if axes.contains(&d) { 1 } else { n });
    elementwise::expand(&grad.reshaped(kept.collect::<Vec<_>>()), shape.clone())
}

/// The last two dimensions exchanged.
fn transposed(x: &Tensor) -> Tensor {
    let rank = x.shape().rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    shape::transpose(x, &perm, Shape(perm.iter().map(|&d| x.shape().0[d]).collect()))
}

/// y·(g - Σ y·g) along dimension `axis`.
fn softmax(y: &Tensor, axis: usize, grad: &Tensor) -> Tensor {
    let inner = Shape(y.shape().0.iter().enumerate().map(|(d, &n)| if d == axis { 1 } else { n }).collect());
    let weighted = normalise::reduce(&zip(y, grad, |y, g| y * g), &[axis], inner, false);
    let centred = elementwise::binary(grad, &weighted, grad.shape().clone(), |g, mean| g - mean);
    zip(y, &centred, |y, g| y * g)
}

/// Of a convolution with filters `w` [M, C/groups, k..], with respect to its input of shape `x`: what every filter gives
/// back to each tap of its windows.
fn convolution(x: &Shape, w: &Tensor, window: &Window, groups: usize, grad: &Tensor) -> Tensor {
    let (channels, filters) = (x.0[1] / groups, w.shape().0[0] / groups);
    let (inner, pixels) = (channels * window.taps(), window.output_len());
    let mut out = vec![0.0; x.len()];
    if out.is_empty() || grad.data().is_empty() || inner == 0 {
        return Tensor::new(x.clone(), out);
    }
    let taps: Vec<Tap> = (0..window.taps()).map(|t| window.tap(t)).collect();
    let filters_of = |weights: &[f32]| transposed(&Tensor::new([filters, inner], weights));
    let weights: Vec<Tensor> = w.data().chunks_exact(filters * inner).map(filters_of).collect();
    // Groups run fastest in both tensors, images slowest.
    let planes = out.chunks_exact_mut(channels * window.input_len());
    for ((out, grad), weights) in planes.zip(grad.data().chunks_exact(filters * pixels)).zip(weights.iter().cycle()) {
        let columns = linear::matmul(weights, &Tensor::new([filters, pixels], grad), Shape::from([inner, pixels]));
        let mut rows = columns.data().chunks_exact(pixels);
        for plane in out.chunks_exact_mut(window.input_len()) {
            taps.iter().zip(&mut rows).for_each(|(tap, row)| tap.scatter(row, plane));
        }
    }
    Tensor::new(x.clone(), out)
}

#[cfg(test)]
mod tests;
