//! Warns of out-of-range values that a run in the clear has found.

use fhec::runtime::{LayerEscape, Range};

use super::output;

/// Warns of every layer whose values left a range in one of `runs` runs, of `batch` images each.
pub fn warn(layers: &[LayerEscape], runs: usize, batch: usize) {
    let unit = if batch == 1 { "images" } else { "runs" };
    for e in layers {
        let what = match e.range {
            Range::Modulus => "a value leaves the ciphertext's modulus",
            Range::Interval => "the argument of the polynomial leaves its interval",
            Range::Bootstrap => "the bootstrap input leaves [-1, 1]",
        };
        // One out-of-range value feeds the next, up to numbers of hundreds of digits.
        let worst = match e.multiple {
            x if x < 1e4 => format!("{x:.3}"),
            x if x.is_finite() => format!("{x:.1e}"),
            _ => "infinitely many".into(),
        };
        output::warning(format_args!(
            "`{}`: {what}: {} values in {} of {runs} {unit}, at worst {worst} times the limit",
            e.node, e.slots, e.images
        ));
    }
}
