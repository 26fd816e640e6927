//! Activations made of a composite sign: x times polynomials of x one after the other.

use super::{Approximation, Family, Site};
use crate::error::ApproxError;
use crate::polynomial::Polynomial;
use crate::sign::{CompositeRelu, CompositeSign};
use fhec_functions::Function;

/// f(x) = x·s(x), s a composite minimax sign: what others do with ReLU everywhere. One composite serves all channels.
#[derive(Clone, Debug)]
pub struct Composite {
    sign: CompositeSign,
}

impl Composite {
    /// Name of the family.
    pub const NAME: &'static str = "composite-sign";

    /// The composites of `sign`.
    pub fn new(sign: CompositeSign) -> Self {
        Self { sign }
    }

    /// Degree of the product of all stages and x.
    pub fn degree(&self) -> usize {
        1 + self.sign.degrees().iter().product::<usize>()
    }
}

impl Family for Composite {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn equation(&self) -> &str {
        "f(x) ≈ x·s(x), s a composite minimax sign with the slopes of f for its values"
    }

    fn offers(&self, _: &Site) -> Vec<usize> {
        Vec::new()
    }

    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError> {
        if degree != self.degree() {
            return Err(ApproxError::Degree { degree, reason: "a composite has the degree of its stages" });
        }
        let slope = match site.function {
            Function::Relu => 0.0,
            Function::LeakyRelu { slope } => slope,
            Function::Abs => -1.0,
            _ => return Err(ApproxError::NoSign { function: site.function.to_string() }),
        };
        let interval = site.inputs.symmetric_interval(site.margin)?;
        let composite = CompositeRelu::new(self.sign.clone(), interval.bound(), slope)?;
        let stages = composite.stages()?;
        Ok(Approximation {
            family: self.name().into(),
            degree,
            stages: stages.into_iter().map(|p: Polynomial| vec![p]).collect(),
            gated: true,
            // The product with the operand takes one level more.
            levels: self.sign.depth() + 1,
            interval,
            seen: site.inputs.extremes(),
            rms_error: site.mean_square(&site.inputs, interval, |x| composite.eval(x)).sqrt(),
            max_error: composite.max_error(),
            growth: site.growth(interval, |x| composite.eval(x)),
        })
    }

    fn stages(&self, _: usize) -> Vec<usize> {
        self.sign.degrees().to_vec()
    }

    fn is_precise(&self) -> bool {
        true
    }
}
