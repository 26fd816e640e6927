//! Activations made of a composite sign: x times polynomials of x one after the other.

use super::fit::{mean_square, merged, op};
use super::rules::Form;
use super::{Replacement, Target};
use crate::approx::{ApproxError, CompositeRelu, CompositeSign, Function, Histogram, Polynomial};

/// `target` by `sign` on the inputs seen, per channel; one composite serves all channels.
///
/// # Errors
/// A function that is not piecewise linear with its one bend at zero, or inputs that are all zero.
pub(super) fn fit(
    target: Target,
    channels: &[Histogram],
    sign: &CompositeSign,
    margin: f64,
) -> Result<Form, ApproxError> {
    let function = target.function();
    let slope = match function {
        Function::Relu => 0.0,
        Function::LeakyRelu { slope } => slope,
        Function::Abs => -1.0,
        _ => return Err(ApproxError::NoSign { function: target.activation.name().to_string() }),
    };
    let seen = merged(channels).distribution()?;
    let interval = seen.symmetric_interval(margin)?;
    let composite = CompositeRelu::new(sign.clone(), interval.bound(), slope)?;
    let stages = composite.stages()?;
    let degrees: Vec<usize> = stages.iter().map(Polynomial::degree).collect();
    let replacement = Replacement {
        node: String::new(),
        function: target.activation.name().to_string(),
        degree: 1 + degrees.iter().product::<usize>(),
        stages: degrees,
        channels: 1,
        interval: (interval.lo(), interval.hi()),
        seen: seen.extremes(),
        rms_error: mean_square(function, &seen, interval, |x| composite.eval(x)).sqrt(),
        max_error: composite.max_error(),
    };
    let stages = stages.iter().map(|p| op(p.interval(), std::slice::from_ref(p))).collect();
    // The product with the operand takes one level more.
    Ok(Form { choice: None, depth: sign.depth() + 1, stages, gated: true, replacement })
}
