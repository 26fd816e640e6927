//! The cleartext interpreter of `nn` defines what every op means, on `f32` tensors.
//!
//! Sums of products (convolution, matrix product) accumulate in `f32`; reductions, normalisations and element-wise
//! functions compute in `f64` and round once per element.
//!
//! A module has a fixed batch, as its parameters declare, and [`eval`] takes inputs of exactly those shapes. Many inputs
//! run one after another or, with [`eval_many`], over threads.

mod activation;
mod elementwise;
mod grad;
mod linear;
mod normalise;
mod shape;
mod window;

use thiserror::Error;

pub use grad::gradients;

use super::{Nn, NnOp, TensorTy};
use crate::consts::ConstPool;
use crate::dialect::{Dialect, OpInfo, TypeError};
use crate::entity::{Entity, Value};
use crate::func::Module;
use crate::tensor::{Shape, Tensor};

/// Why a module cannot be evaluated on these inputs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvalError {
    /// Too few or too many inputs.
    #[error("the model has {expected} inputs, {found} were given")]
    InputCount {
        /// Parameters of the function.
        expected: usize,
        /// Tensors given.
        found: usize,
    },
    /// An input of another shape.
    #[error("input {index} (`{name}`) has shape {expected}, a tensor of shape {found} was given")]
    InputShape {
        /// Parameter index.
        index: usize,
        /// Name of the parameter.
        name: String,
        /// Its declared shape.
        expected: Shape,
        /// Shape of the tensor given.
        found: Shape,
    },
    /// An op over operands that do not fit it.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// Name of the ONNX node.
        node: String,
        /// Mnemonic.
        op: &'static str,
        /// What does not fit.
        reason: TypeError,
    },
}

/// The results of `module` on `inputs`, one tensor per parameter, each of the declared shape.
///
/// # Errors
/// When number or shapes of the inputs differ from the parameters, or a node is ill-typed (which no module that passed
/// the verifier has).
pub fn eval(module: &Module<Nn>, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    eval_observed(module, inputs, |_, _| {})
}

/// As [`eval`], and `observe` sees the value of every node that the results depend on, constants and inputs included, in
/// definition order.
///
/// # Errors
/// As [`eval`].
pub fn eval_observed(
    module: &Module<Nn>,
    inputs: &[Tensor],
    mut observe: impl FnMut(Value, &Tensor),
) -> Result<Vec<Tensor>, EvalError> {
    let func = &module.func;
    check_inputs(module, inputs)?;
    let live = func.live();
    let mut uses = func.use_counts();
    // Dead nodes are not evaluated: their operands must not wait for them.
    for (_, node) in func.iter().filter(|(v, _)| !live[v.index()]) {
        node.operands.iter().for_each(|o| uses[o.index()] -= 1);
    }
    let mut values: Vec<Option<Tensor>> = vec![None; func.len()];
    for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        let tensor = match node.op.as_input() {
            Some(index) => inputs[index as usize].clone(),
            None => {
                let operands: Vec<&Tensor> = node.operands.iter().filter_map(|o| values[o.index()].as_ref()).collect();
                apply(&node.op, &operands, &module.consts).map_err(|reason| EvalError::Node {
                    node: node.loc.name().to_string(),
                    op: node.op.mnemonic(),
                    reason,
                })?
            }
        };
        observe(value, &tensor);
        values[value.index()] = Some(tensor);
        for o in &node.operands {
            uses[o.index()] -= 1;
            if uses[o.index()] == 0 {
                values[o.index()] = None;
            }
        }
    }
    Ok(func.results().iter().filter_map(|r| values[r.index()].clone()).collect())
}

/// [`eval`] on each element of `inputs`, over `threads` threads; results in the order of the inputs.
///
/// # Errors
/// As [`eval`], for the first input that fails.
pub fn eval_many(module: &Module<Nn>, inputs: &[Vec<Tensor>], threads: usize) -> Result<Vec<Vec<Tensor>>, EvalError> {
    let share = inputs.len().div_ceil(threads.max(1)).max(1);
    let parts: Vec<Result<Vec<_>, EvalError>> = std::thread::scope(|scope| {
        let run = |part: &[Vec<Tensor>]| part.iter().map(|x| eval(module, x)).collect::<Result<Vec<_>, _>>();
        let handles: Vec<_> = inputs.chunks(share).map(|part| scope.spawn(move || run(part))).collect();
        handles.into_iter().map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut out = Vec::with_capacity(inputs.len());
    for part in parts {
        out.extend(part?);
    }
    Ok(out)
}

/// The value of one op on constant operands, for folding.
///
/// # Errors
/// When the operands do not fit the op, or the op is a function parameter.
pub fn apply(op: &NnOp, operands: &[&Tensor], consts: &ConstPool) -> Result<Tensor, TypeError> {
    if !op.arity().contains(&operands.len()) {
        return Err(TypeError(format!("`{}` does not take {} operands", op.mnemonic(), operands.len())));
    }
    if let Some(id) = op.consts().into_iter().find(|&id| !consts.contains(id)) {
        return Err(TypeError(format!("constant {id} is not in the module")));
    }
    let types: Vec<TensorTy> = operands.iter().map(|t| TensorTy(t.shape().clone())).collect();
    let TensorTy(shape) = Nn::infer(op, &types.iter().collect::<Vec<_>>(), consts)?;
    Ok(compute(op, operands, consts, shape))
}

/// What `conv`, a convolution with weights of shape `weights`, multiplies with its filters at output positions `positions`
/// (flat over batch and spatial dimensions): row-major [positions, channels of x · taps], channel by channel, zero in the
/// padding. Group g of G reads columns g·n to (g + 1)·n, n = columns / G.
///
/// # Errors
/// When the op is not a convolution, or does not fit `x` and `weights`, or a position is outside of the result.
pub fn unfold(conv: &NnOp, x: &Tensor, weights: &Shape, positions: &[usize]) -> Result<Vec<f32>, TypeError> {
    let NnOp::Conv { strides, pads, dilations, .. } = conv else {
        return Err(TypeError(format!("`{}` has no windows to unfold", conv.mnemonic())));
    };
    let types = [TensorTy(x.shape().clone()), TensorTy(weights.clone())];
    let TensorTy(out) = Nn::infer(conv, &types.iter().collect::<Vec<_>>(), &ConstPool::default())?;
    let windows = out.0[0] * out.0[2..].iter().product::<usize>();
    if let Some(p) = positions.iter().find(|&&p| p >= windows) {
        return Err(TypeError(format!("position {p} of {windows}")));
    }
    let window = window::Window::new(x.shape(), &weights.0[2..], &out, strides, pads, dilations);
    Ok(linear::unfold(x, &window, positions))
}

/// The value of a well-typed op whose result has shape `out`.
fn compute(op: &NnOp, operands: &[&Tensor], consts: &ConstPool, out: Shape) -> Tensor {
    let x = operands.first().copied();
    match (op, x) {
        (NnOp::Const { value }, _) => consts.tensor(*value).clone(),
        (NnOp::Conv { strides, pads, dilations, groups }, Some(x)) => {
            let window = window::Window::new(x.shape(), &operands[1].shape().0[2..], &out, strides, pads, dilations);
            linear::conv(x, operands[1], operands.get(2).copied(), &window, *groups as usize, out)
        }
        (NnOp::MatMul {}, Some(x)) => linear::matmul(x, operands[1], out),
        (NnOp::BatchNorm { epsilon }, Some(x)) => normalise::batch_norm(x, &operands[1..], epsilon.0),
        (NnOp::LayerNorm { axis, epsilon }, Some(x)) => {
            let axis = axis_of(*axis, x.shape());
            normalise::layer_norm(x, operands.get(1).copied(), operands.get(2).copied(), axis, epsilon.0)
        }
        (NnOp::Softmax { axis }, Some(x)) => normalise::softmax(x, axis_of(*axis, x.shape())),
        (NnOp::LogSoftmax { axis }, Some(x)) => normalise::log_softmax(x, axis_of(*axis, x.shape())),
        (NnOp::ArgMax { axis, .. }, Some(x)) => normalise::arg_max(x, axis_of(*axis, x.shape()), out),
        (NnOp::Activation { function, alpha, beta }, Some(x)) => {
            activation::map(x, &function.function(alpha.map(|a| a.0), beta.map(|b| b.0)))
        }
        (NnOp::Composed { function }, Some(x)) => x.map(|x| function.eval(f64::from(x)) as f32),
        (NnOp::Polynomial { basis, lo, hi, rows, coeffs }, Some(x)) => {
            let coeffs: Vec<f64> = coeffs.iter().map(|c| c.0).collect();
            activation::polynomial(x, *basis, lo.0, hi.0, *rows as usize, &coeffs)
        }
        (NnOp::PRelu {}, Some(x)) => {
            elementwise::binary(x, operands[1], out, |x, slope| if x < 0.0 { slope * x } else { x })
        }
        (NnOp::Add {}, Some(x)) => elementwise::binary(x, operands[1], out, |a, b| a + b),
        (NnOp::Sub {}, Some(x)) => elementwise::binary(x, operands[1], out, |a, b| a - b),
        (NnOp::Mul {}, Some(x)) => elementwise::binary(x, operands[1], out, |a, b| a * b),
        (NnOp::Div {}, Some(x)) => elementwise::binary(x, operands[1], out, |a, b| a / b),
        (NnOp::Pow {}, Some(x)) => {
            elementwise::binary(x, operands[1], out, |a, b| f64::from(a).powf(f64::from(b)) as f32)
        }
        (NnOp::Neg {}, Some(x)) => x.map(|x| -x),
        (NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad, .. }, Some(x)) => {
            let kernel: Vec<usize> = kernel.iter().map(|&k| k as usize).collect();
            let window = window::Window::new(x.shape(), &kernel, &out, strides, pads, dilations);
            window::average(x, &window, *count_include_pad, out)
        }
        (NnOp::MaxPool { kernel, strides, pads, dilations, .. }, Some(x)) => {
            let kernel: Vec<usize> = kernel.iter().map(|&k| k as usize).collect();
            let window = window::Window::new(x.shape(), &kernel, &out, strides, pads, dilations);
            window::maximum(x, &window, out)
        }
        (NnOp::ReduceMean { axes, .. }, Some(x)) => normalise::reduce(x, &axes_of(axes, x.shape()), out, true),
        (NnOp::ReduceSum { axes, .. }, Some(x)) => normalise::reduce(x, &axes_of(axes, x.shape()), out, false),
        (NnOp::Reshape { .. }, Some(x)) => x.reshaped(out),
        (NnOp::Transpose { perm }, Some(x)) => {
            let perm: Vec<usize> = perm.iter().map(|&p| axis_of(p, x.shape())).collect();
            shape::transpose(x, &perm, out)
        }
        (NnOp::Slice { starts, steps, .. }, Some(x)) => shape::slice(x, starts, steps, out),
        (NnOp::Pad { pads, mode, value }, Some(x)) => shape::pad(x, pads, *mode, value.0 as f32, out),
        (NnOp::Concat { axis }, Some(x)) => shape::concat(operands, axis_of(*axis, x.shape()), out),
        (NnOp::Gather { axis, indices, .. }, Some(x)) => shape::gather(x, axis_of(*axis, x.shape()), indices, out),
        (NnOp::Expand { .. }, Some(x)) => elementwise::expand(x, out),
        // Shape inference has refused inputs, and all other ops have at least one operand.
        (_, None) | (NnOp::Input { .. }, _) => Tensor::full(out, f32::NAN),
    }
}

fn check_inputs(module: &Module<Nn>, inputs: &[Tensor]) -> Result<(), EvalError> {
    let params = module.func.params();
    if params.len() != inputs.len() {
        return Err(EvalError::InputCount { expected: params.len(), found: inputs.len() });
    }
    for (index, (&param, tensor)) in params.iter().zip(inputs).enumerate() {
        let node = module.func.node(param);
        if node.ty.0 != *tensor.shape() {
            let name = module.inputs.get(index).map_or_else(|| node.loc.name(), |port| &port.name).to_string();
            return Err(EvalError::InputShape {
                index,
                name,
                expected: node.ty.0.clone(),
                found: tensor.shape().clone(),
            });
        }
    }
    Ok(())
}

/// Dimension `axis` of a shape that has it, negative ones counted from the end.
fn axis_of(axis: i64, shape: &Shape) -> usize {
    if axis < 0 { (axis + shape.rank() as i64) as usize } else { axis as usize }
}

fn axes_of(axes: &[i64], shape: &Shape) -> Vec<usize> {
    axes.iter().map(|&a| axis_of(a, shape)).collect()
}

#[cfg(test)]
mod tests;
