//! A family of approximations from outside the compiler, offered to the planner beside least squares.
//!
//! The family interpolates at Chebyshev nodes: its polynomials do not look at where the data is, only at its interval.
//!
//! ```text
//! cargo run -p fhec --release --example add_family
//! ```

use std::path::Path;
use std::sync::Arc;

use fhec::passes::activations::ApproximateOptions;
use fhec::passes::approx::{ApproxError, Approximation, Choice, Families, Family, Polynomial, Site};
use fhec::{CompileOptions, Compiler, Model, data};

/// The family `interpolation`.
#[derive(Debug)]
struct Interpolation;

impl Family for Interpolation {
    fn name(&self) -> &str {
        "interpolation"
    }

    fn equation(&self) -> &str {
        "f(x) ≈ p(x), p the interpolating polynomial at Chebyshev nodes of the interval"
    }

    fn offers(&self, _: &Site) -> Vec<usize> {
        vec![7, 15]
    }

    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError> {
        let polynomial = Polynomial::interpolate(site.interval()?, degree, |x| site.function.eval(x))?;
        Ok(site.shared(self, polynomial))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::load("models/mnist_mlp.onnx")?;
    let calibration = data::read_samples(Path::new("models/calibration.npz"), &model.module.inputs)?;
    let approximate = ApproximateOptions {
        default: Choice { family: "interpolation".into(), degree: 15 },
        families: Families::standard().with(Arc::new(Interpolation)),
        ..ApproximateOptions::default()
    };
    // Every activation gets the default choice; without `uniform` the planner chooses among what all families offer.
    let options = CompileOptions { approximate, uniform: true, ..CompileOptions::default() };
    let compiled = Compiler::with_options(options).calibration(calibration).compile(&model)?;
    for activation in &compiled.activations {
        println!("{}: degree {}, rms error {:.1e}", activation.node, activation.degree, activation.rms_error);
    }
    if compiled.activations.iter().all(|a| a.degree == 15) { Ok(()) } else { Err("degree 15 was expected".into()) }
}
