//! The cleartext interpreter of `slot` defines what every op means, on vectors of `f64`.

use std::rc::Rc;

use thiserror::Error;

use super::{Slot, SlotOp};
use crate::consts::ConstPool;
use crate::dialect::OpInfo;
use crate::entity::{ConstId, Entity, Value};
use crate::func::{Module, Node};
use crate::io::{LayoutError, Port};
use crate::tensor::Tensor;

/// Why a module cannot be evaluated on these inputs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvalError {
    /// Too few or too many inputs.
    #[error("the program has {expected} inputs, {found} were given")]
    InputCount {
        /// Inputs of the program.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// A vector of another length.
    #[error("input vector {index} has {found} slots, the program takes {expected}")]
    InputSlots {
        /// Parameter index.
        index: usize,
        /// Slots of the parameter.
        expected: usize,
        /// Slots given.
        found: usize,
    },
    /// A tensor of another shape than its port.
    #[error("input `{port}` has shape {expected}, a tensor of shape {found} was given")]
    InputShape {
        /// Name of the port.
        port: String,
        /// Its shape.
        expected: crate::tensor::Shape,
        /// Shape given.
        found: crate::tensor::Shape,
    },
    /// A port without a layout, or one that does not fit.
    #[error("port `{port}` cannot be packed: {reason}")]
    Port {
        /// Name of the port.
        port: String,
        /// Why.
        reason: String,
    },
}

/// The output tensors of `module` on `inputs`, packed and unpacked by the layouts of its ports.
///
/// # Errors
/// When number or shapes of the inputs differ from the ports, or the ports do not fit the function.
pub fn eval(module: &Module<Slot>, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let ports = &module.inputs;
    if inputs.len() != ports.len() {
        return Err(EvalError::InputCount { expected: ports.len(), found: inputs.len() });
    }
    let mut vectors = Vec::new();
    for (port, tensor) in ports.iter().zip(inputs) {
        if tensor.shape() != &port.shape {
            let (expected, found) = (port.shape.clone(), tensor.shape().clone());
            return Err(EvalError::InputShape { port: port.name.clone(), expected, found });
        }
        vectors.extend(layout(port)?.pack(tensor).map_err(|e| wrong(port, &e))?);
    }
    let results = eval_slots(module, &vectors, |_, _| {})?;
    let mut rest = results.as_slice();
    let mut tensors = Vec::new();
    for port in &module.outputs {
        let layout = layout(port)?;
        let (own, after) = rest.split_at_checked(layout.ciphertexts).unwrap_or((rest, &[]));
        tensors.push(layout.unpack(own, &port.shape).map_err(|e| wrong(port, &e))?);
        rest = after;
    }
    Ok(tensors)
}

fn layout(port: &Port) -> Result<&crate::io::Layout, EvalError> {
    port.layout.as_ref().ok_or_else(|| EvalError::Port { port: port.name.clone(), reason: "it has no layout".into() })
}

fn wrong(port: &Port, error: &LayoutError) -> EvalError {
    EvalError::Port { port: port.name.clone(), reason: error.to_string() }
}

/// The result vectors of `module` on one vector per parameter; `observe` sees every value in definition order.
///
/// # Errors
/// When number or lengths of the inputs differ from the parameters.
pub fn eval_slots(
    module: &Module<Slot>,
    inputs: &[Vec<f64>],
    mut observe: impl FnMut(Value, &[f64]),
) -> Result<Vec<Vec<f64>>, EvalError> {
    let func = &module.func;
    if inputs.len() != func.params().len() {
        return Err(EvalError::InputCount { expected: func.params().len(), found: inputs.len() });
    }
    for (index, (vector, &param)) in inputs.iter().zip(func.params()).enumerate() {
        let (expected, found) = (func.ty(param).0, vector.len());
        if expected != found {
            return Err(EvalError::InputSlots { index, expected, found });
        }
    }
    let mut uses = func.use_counts();
    let mut values: Vec<Rc<[f64]>> = Vec::with_capacity(func.len());
    let freed: Rc<[f64]> = Rc::new([]);
    for (value, node) in func.iter() {
        let result: Rc<[f64]> = match node.op.as_input() {
            Some(index) => inputs[index as usize].as_slice().into(),
            None => {
                let operands: Vec<Rc<[f64]>> = node.operands.iter().map(|o| values[o.index()].clone()).collect();
                compute(node, &operands, &module.consts).into()
            }
        };
        observe(value, &result);
        values.push(result);
        for o in &node.operands {
            uses[o.index()] -= 1;
            if uses[o.index()] == 0 {
                values[o.index()] = freed.clone();
            }
        }
    }
    Ok(func.results().iter().map(|r| values[r.index()].to_vec()).collect())
}

fn compute(node: &Node<Slot>, operands: &[Rc<[f64]>], consts: &ConstPool) -> Vec<f64> {
    let x: &[f64] = operands.first().map_or(&[], |x| x);
    let n = x.len();
    let vector = |id: ConstId| consts.tensor(id).data().iter().map(|&v| f64::from(v));
    let binary = |f: fn(f64, f64) -> f64| x.iter().zip(operands[1].iter()).map(|(&a, &b)| f(a, b)).collect();
    match &node.op {
        SlotOp::Input { .. } => Vec::new(),
        SlotOp::Add {} => binary(|a, b| a + b),
        SlotOp::Sub {} => binary(|a, b| a - b),
        SlotOp::Mul {} => binary(|a, b| a * b),
        SlotOp::Neg {} => x.iter().map(|x| -x).collect(),
        SlotOp::Refresh {} => x.to_vec(),
        SlotOp::AddPlain { value } => x.iter().zip(vector(*value)).map(|(x, v)| x + v).collect(),
        SlotOp::MulPlain { value } => x.iter().zip(vector(*value)).map(|(x, v)| x * v).collect(),
        SlotOp::AddScalar { value } => x.iter().map(|x| x + value.0).collect(),
        SlotOp::MulScalar { value } => x.iter().map(|x| x * value.0).collect(),
        SlotOp::Rotate { by } => rotated(x, *by).collect(),
        SlotOp::Linear { rotations, diagonals, .. } => {
            let mut sum = vec![0.0; n];
            for (&by, diagonal) in rotations.iter().zip(consts.tensor(*diagonals).data().chunks_exact(n)) {
                let start = by.rem_euclid(n.max(1) as i64) as usize;
                // Plain slices on both sides of the turn: their products are computed in lanes.
                let (ahead, behind) = sum.split_at_mut(n - start);
                let (first, second) = diagonal.split_at(n - start);
                for (sum, d, x) in [(ahead, first, &x[start..]), (behind, second, &x[..start])] {
                    sum.iter_mut().zip(d).zip(x).for_each(|((sum, &d), x)| *sum += f64::from(d) * x);
                }
            }
            sum
        }
        SlotOp::Polynomial { basis, lo, hi, coeffs, vectors: None } => {
            let coeffs: Vec<f64> = coeffs.iter().map(|c| c.0).collect();
            x.iter().map(|&x| basis.eval(&coeffs, lo.0, hi.0, x)).collect()
        }
        SlotOp::Polynomial { basis, lo, hi, vectors: Some(id), .. } => {
            let table = consts.tensor(*id).data();
            let coeffs = |slot: usize| table[slot..].iter().step_by(n).map(|&c| f64::from(c)).collect::<Vec<_>>();
            x.iter().enumerate().map(|(slot, &x)| basis.eval(&coeffs(slot), lo.0, hi.0, x)).collect()
        }
    }
}

/// The slots of `x` rotated to the left: slot i is slot i + `by` of `x`.
fn rotated(x: &[f64], by: i64) -> impl Iterator<Item = f64> {
    let start = by.rem_euclid(x.len().max(1) as i64) as usize;
    x[start..].iter().chain(&x[..start]).copied()
}
