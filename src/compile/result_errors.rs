//! A plan records the expected errors of its results, which decide how much noise hides them when results are
//! published.

use fhec_ir::Port;
use fhec_runtime::Simulation;

use super::warning::Warning;

/// Digits that are kept, rounded up: sums in another order, on another machine, give the same plan.
const DIGITS: i32 = 2;

/// The root mean square error of every output.
pub(super) struct ResultErrors(pub(super) Vec<f64>);

impl ResultErrors {
    /// The errors in simulated runs with noise of a plan with `outputs` outputs.
    pub(super) fn of(simulated: &Simulation, outputs: usize) -> Self {
        let of_output = |output: usize| {
            let all = simulated.errors.iter().flat_map(|run| run[output].data());
            let (sum, count) = all.fold((0.0, 0u64), |(sum, count), &e| (sum + f64::from(e).powi(2), count + 1));
            rounded_up((sum / count.max(1) as f64).sqrt())
        };
        Self((0..outputs).map(of_output).collect())
    }

    /// A warning where the runs do not tell the error of one of these outputs.
    pub(super) fn unknown(&self, outputs: &[Port]) -> Option<Warning> {
        let (output, &error) = outputs.iter().zip(&self.0).find(|&(_, &e)| !(e > 0.0 && e.is_finite()))?;
        Some(Warning::UnknownErrors { output: output.name.clone(), error })
    }
}

/// `x` to its first digits, and not below it.
fn rounded_up(x: f64) -> f64 {
    if !(x > 0.0 && x.is_finite()) {
        return x;
    }
    let unit = 10f64.powi(x.log10().floor() as i32 - DIGITS + 1);
    (x / unit).ceil() * unit
}

#[cfg(test)]
mod tests {
    use fhec_ir::{Shape, Tensor};

    use super::*;

    #[test]
    fn few_digits_are_kept_and_none_is_lost() {
        for (x, expected) in [(1.234e-5, 1.3e-5), (9.99e-8, 1e-7), (0.25, 0.25), (3.01, 3.1), (470.0, 470.0)] {
            let found = rounded_up(x);
            assert!((found / expected - 1.0).abs() < 1e-9 && found >= x * (1.0 - 1e-12), "{x}: {found}");
        }
    }

    #[test]
    fn every_output_has_its_error_and_none_is_said_to_be_zero() {
        let port = |name: &str| Port { name: name.into(), shape: Shape(vec![1, 2]), ..Default::default() };
        let ports = [port("a"), port("b")];
        let of = |b: [f32; 2]| {
            let run = |sign: f32| vec![Tensor::new([1, 2], [3e-6 * sign, -4e-6]), Tensor::new([1, 2], b)];
            ResultErrors::of(&Simulation { errors: vec![run(1.0), run(-1.0)], ..Simulation::default() }, 2)
        };
        let known = of([0.25, -0.25]);
        assert!((known.0[0] / 3.6e-6 - 1.0).abs() < 1e-6 && known.0[1] == 0.25, "{:?}", known.0);
        assert_eq!(known.unknown(&ports), None);
        for lost in [0.0, f32::NAN, f32::INFINITY] {
            let warning = of([lost, lost]).unknown(&ports).expect("no noise can be sized by it").to_string();
            assert!(warning.contains("`b`") && warning.contains("--publish"), "{warning}");
        }
    }
}
