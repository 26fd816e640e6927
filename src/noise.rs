//! The errors of results, found when a plan is made.

use fhec_ir::Tensor;
use fhec_runtime::{Plan, Simulator, runs_of};

use crate::error::Error;

/// Runs that are simulated; as many as the simulator computes at a time.
const RUNS: usize = fhec_runtime::LANES;
/// Digits that are kept, rounded up: sums in another order, on another machine, give the same plan.
const DIGITS: i32 = 2;

/// The root mean square error of every output over some samples, by the model of the noise; what the publication of
/// results is sized by.
///
/// # Errors
/// When the plan does not run on the samples.
pub fn result_errors(plan: &Plan, samples: &[Vec<Tensor>]) -> Result<Vec<f64>, Error> {
    let samples = &samples[..samples.len().min(RUNS * plan.batch())];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let errors = Simulator::new(plan, 0).run_many(&runs_of(plan, samples)?, threads, &|_| ())?.errors;
    let of_output = |output: usize| {
        let all = errors.iter().flat_map(|run| run[output].data());
        let (sum, count) = all.fold((0.0, 0u64), |(sum, count), &e| (sum + f64::from(e).powi(2), count + 1));
        rounded_up((sum / count.max(1) as f64).sqrt())
    };
    Ok((0..plan.outputs().len()).map(of_output).collect())
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
    use super::*;

    #[test]
    fn few_digits_are_kept_and_none_is_lost() {
        for (x, expected) in [(1.234e-5, 1.3e-5), (9.99e-8, 1e-7), (0.25, 0.25), (3.01, 3.1), (470.0, 470.0)] {
            let found = rounded_up(x);
            assert!((found / expected - 1.0).abs() < 1e-9 && found >= x * (1.0 - 1e-12), "{x}: {found}");
        }
    }
}
