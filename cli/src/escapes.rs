//! Warns of out-of-range values that a run in the clear has found.

use fhec::runtime::LayerEscape;

use super::output;

/// Warns of every layer whose values left a range in one of `runs` runs, of `batch` images each.
pub fn warn(layers: &[LayerEscape], runs: usize, batch: usize) {
    layers.iter().for_each(|escape| output::warning(escape.warning(runs, batch)));
}
