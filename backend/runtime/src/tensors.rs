//! Tensors to slots and back, by the layouts of a plan's ports.

use fhec_ir::{Layout, Port, Tensor};

use crate::error::RuntimeError;
use crate::plan::Plan;

/// The slots of every input ciphertext, in order of the program's parameters.
///
/// # Errors
/// When the number of tensors, a shape, or a value (not finite) does not fit.
pub fn pack_inputs(plan: &Plan, tensors: &[Tensor]) -> Result<Vec<Vec<f64>>, RuntimeError> {
    let ports = plan.inputs();
    if ports.len() != tensors.len() {
        let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
        return Err(RuntimeError::Input {
            port: names.join(", "),
            reason: format!("{} tensors were given for {} inputs", tensors.len(), ports.len()),
        });
    }
    let mut out = Vec::new();
    for (port, tensor) in ports.iter().zip(tensors) {
        let wrong = |reason: String| RuntimeError::Input { port: port.name.clone(), reason };
        // A batch dimension of one may be left out or added.
        let core = |dims: &[usize]| dims.iter().copied().skip_while(|&d| d == 1).collect::<Vec<_>>();
        if core(&tensor.shape().0) != core(&port.shape.0) {
            return Err(wrong(format!("the tensor is {}, the plan takes {}", tensor.shape(), port.shape)));
        }
        if let Some(i) = tensor.data().iter().position(|x| !x.is_finite()) {
            return Err(wrong(format!("element {i} is {}", tensor.data()[i])));
        }
        out.extend(pack(layout(port)?, port, tensor.data()));
    }
    Ok(out)
}

/// The output tensors, from the slots of every result.
///
/// # Errors
/// When fewer slots are given than the layouts of the outputs name.
pub fn unpack_outputs(plan: &Plan, slots: &[Vec<f64>]) -> Result<Vec<Tensor>, RuntimeError> {
    let mut rest = slots;
    let unpack = |port: &Port| {
        let layout = layout(port)?;
        let short = || RuntimeError::Input { port: port.name.clone(), reason: "slots are missing".into() };
        let (these, after) = rest.split_at_checked(layout.ciphertexts).ok_or_else(short)?;
        rest = after;
        let at = |a: usize| these.get(a / layout.slots).and_then(|ct| ct.get(a % layout.slots)).copied();
        let addresses = layout.addresses(&port.shape);
        let data: Option<Vec<f32>> = addresses.into_iter().map(|a| at(a).map(|x| x as f32)).collect();
        Ok(Tensor::new(port.shape.clone(), data.ok_or_else(short)?))
    };
    plan.outputs().iter().map(unpack).collect()
}

fn layout(port: &Port) -> Result<&Layout, RuntimeError> {
    let missing = || RuntimeError::Input { port: port.name.clone(), reason: "the plan gives it no layout".into() };
    port.layout.as_ref().ok_or_else(missing)
}

fn pack(layout: &Layout, port: &Port, data: &[f32]) -> Vec<Vec<f64>> {
    let mut out = vec![vec![0.0; layout.slots]; layout.ciphertexts];
    for (address, &x) in layout.addresses(&port.shape).into_iter().zip(data) {
        // Addresses lie within the first period of a ciphertext, and its content repeats from there.
        let (ciphertext, slot) = (address / layout.slots, address % layout.slots);
        for copy in (slot % layout.period..layout.slots).step_by(layout.period) {
            out[ciphertext][copy] = f64::from(x);
        }
    }
    out
}
