//! Heads, the softmax or the choice of a class at the end of a network, are applied to decrypted results.
//!
//! ```
//! use fhec::ir::{Head, Port, Shape};
//! use fhec::{Tensor, heads};
//!
//! let heads = vec![Head::ArgMax { axis: 1, keepdims: false }];
//! let port = Port { name: "class".into(), shape: Shape(vec![1, 3]), heads, ..Default::default() };
//! let logits = vec![vec![Tensor::new([1, 3], vec![0.5, 2.0, -1.0])]];
//! let classes = heads::apply(&[port], &logits)?;
//! assert_eq!(classes[0][0].data(), [1.0]);
//! # Ok::<(), fhec::Error>(())
//! ```

use fhec_ir::{Port, Tensor, TypeError};

use crate::error::Error;

/// The outputs of one image once heads are applied: their shapes may be others, and no calibration data tells their ranges.
/// `ports` are the outputs of one image that a plan or a client plan has.
///
/// # Errors
/// When nothing is left to the client.
pub fn outputs(ports: &[Port]) -> Result<Vec<Port>, Error> {
    if ports.iter().all(|port| port.heads.is_empty()) {
        return Err(Error::Usage {
            reason: "the plan leaves no head to the client: its results are what the network computes".into(),
            repair: "take the results as they are, without `--apply-head`".into(),
        });
    }
    ports.iter().map(|port| port.headed().map_err(|e| unfit(port, &e))).collect()
}

/// What the heads make of the results of images; results of outputs without heads stay.
///
/// # Errors
/// When nothing is left to the client, or a result does not fit its port.
pub fn apply(ports: &[Port], images: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Error> {
    outputs(ports)?;
    let one = |(port, tensor): (&Port, &Tensor)| {
        let applied = port.heads.iter().try_fold(tensor.clone(), |tensor, head| head.apply(&tensor));
        applied.map_err(|e| unfit(port, &e))
    };
    images.iter().map(|image| ports.iter().zip(image).map(one).collect()).collect()
}

fn unfit(port: &Port, error: &TypeError) -> Error {
    Error::Usage {
        reason: format!("a head of output `{}` cannot be applied: {error}", port.name),
        repair: "give the results of one image as the plan's outputs have them".into(),
    }
}

#[cfg(test)]
mod tests {
    use fhec_ir::{Head, Shape};

    use super::*;

    fn port(heads: Vec<Head>) -> Port {
        Port { name: "y".into(), shape: Shape(vec![1, 2]), heads, ..Default::default() }
    }

    #[test]
    fn outputs_without_heads_stay() {
        let ports = [port(vec![Head::Softmax { axis: 1 }]), port(Vec::new())];
        let logits = Tensor::new([1, 2], vec![0.0, 3f32.ln()]);
        let images = apply(&ports, &[vec![logits.clone(), logits.clone()]]).unwrap();
        assert!(images[0][0].data().iter().zip([0.25, 0.75]).all(|(a, b)| (a - b).abs() < 1e-6), "{images:?}");
        assert_eq!(images[0][1], logits);
    }

    #[test]
    fn what_cannot_be_applied_is_an_error() {
        let logits = Tensor::new([2], vec![0.0, 1.0]);
        let message = |ports: &[Port]| apply(ports, &[vec![logits.clone()]]).unwrap_err().to_string();
        assert!(message(&[port(Vec::new())]).contains("leaves no head to the client"));
        assert!(message(&[port(vec![Head::Softmax { axis: 1 }])]).contains("a head of output `y` cannot be applied"));
    }
}
