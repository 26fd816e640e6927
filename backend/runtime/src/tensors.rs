//! Moves tensors into slots and back, by the layouts of a plan's ports.

use fhec_ir::{Layout, Port, Tensor};

use crate::error::RuntimeError;

/// The inputs of the runs over images, `batch` of them to a run, see [`fhec_ir::batches`]. `ports` are the inputs of one image.
///
/// # Errors
/// When the number of tensors of an image, a shape, or a value (not finite) does not fit.
pub fn runs_of(ports: &[Port], batch: usize, images: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, RuntimeError> {
    let images = images.iter().map(|image| fitted(ports, image)).collect::<Result<Vec<_>, _>>()?;
    Ok(fhec_ir::batches(&images, batch))
}

/// The slots of every input ciphertext of a run, in order of the program's parameters. `ports` are the inputs of a run.
///
/// # Errors
/// When the number of tensors, a shape, or a value (not finite) does not fit.
pub fn pack_inputs(ports: &[Port], tensors: &[Tensor]) -> Result<Vec<Vec<f64>>, RuntimeError> {
    let mut out = Vec::new();
    for (port, tensor) in ports.iter().zip(fitted(ports, tensors)?) {
        let wrong = |reason: String| RuntimeError::Input { port: port.name.clone(), reason };
        out.extend(layout(port)?.pack(&tensor).map_err(|e| wrong(e.to_string()))?);
    }
    Ok(out)
}

/// The tensors in the shapes of the ports.
fn fitted(ports: &[Port], tensors: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
    if ports.len() != tensors.len() {
        let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
        return Err(RuntimeError::Input {
            port: names.join(", "),
            reason: format!("{} tensors were given for {} inputs", tensors.len(), ports.len()),
        });
    }
    let fit = |(port, tensor): (&Port, &Tensor)| {
        let wrong = |reason: String| RuntimeError::Input { port: port.name.clone(), reason };
        // A batch dimension of one may be left out or added.
        let core = |dims: &[usize]| dims.iter().copied().skip_while(|&d| d == 1).collect::<Vec<_>>();
        if core(&tensor.shape().0) != core(&port.shape.0) {
            return Err(wrong(format!("the tensor is {}, the plan takes {}", tensor.shape(), port.shape)));
        }
        if let Some(i) = tensor.data().iter().position(|x| !x.is_finite()) {
            return Err(wrong(format!("element {i} is {}", tensor.data()[i])));
        }
        Ok(tensor.reshaped(port.shape.clone()))
    };
    ports.iter().zip(tensors).map(fit).collect()
}

/// The output tensors, from the slots of every result. `ports` are the outputs of a run.
///
/// # Errors
/// When fewer slots are given than the layouts of the outputs name.
pub fn unpack_outputs(ports: &[Port], slots: &[Vec<f64>]) -> Result<Vec<Tensor>, RuntimeError> {
    let mut rest = slots;
    let unpack = |port: &Port| {
        let layout = layout(port)?;
        let wrong = |reason: String| RuntimeError::Input { port: port.name.clone(), reason };
        let Some((these, after)) = rest.split_at_checked(layout.ciphertexts) else {
            return Err(wrong(format!("{} ciphertexts are needed, {} are there", layout.ciphertexts, rest.len())));
        };
        rest = after;
        layout.unpack(these, &port.shape).map_err(|e| wrong(e.to_string()))
    };
    ports.iter().map(unpack).collect()
}

fn layout(port: &Port) -> Result<&Layout, RuntimeError> {
    let missing = || RuntimeError::Input { port: port.name.clone(), reason: "the plan gives it no layout".into() };
    port.layout.as_ref().ok_or_else(missing)
}
