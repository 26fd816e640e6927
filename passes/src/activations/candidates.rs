//! What every activation could be replaced by, with levels and errors: the table a planner chooses from.

use std::collections::BTreeMap;

use fhec_ir::{Module, Nn, Value};
use serde::Serialize;

use super::alternatives::Alternative;
use super::rules::Asked;
use super::{Alternatives, ApproximateOptions, Calibration, Choice};
use crate::PassError;

/// Degrees offered: the largest of each depth, and degrees below it that cost fewer products.
pub const DEGREES: [usize; 9] = [2, 3, 5, 7, 11, 15, 23, 31, 63];

/// One possible replacement of an activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateRow {
    /// The rule that makes it possible.
    pub rule: &'static str,
    /// What [`super::ApproximateActivations::with_choices`] takes.
    pub choice: Choice,
    /// Number of polynomials: 1, or one per channel.
    pub channels: usize,
    /// Levels: ⌈log2(degree + 1)⌉; of a quadratic one, as a completed square, where all channels curve the same way.
    pub depth: u32,
    /// Mean square error under the calibrated distribution.
    pub mean_square: f64,
    /// Largest error on the calibrated interval (on a grid of 4,096 points).
    pub max_error: f64,
}

impl<'a> Alternatives<'a> {
    /// The least-squares polynomials of [`DEGREES`], shared and where the activation has channels per channel, in the class of
    /// every activation of `module`, whose inputs `calibration` holds.
    ///
    /// # Errors
    /// Every activation that has no calibration, or whose function has a pole inside its interval.
    pub fn of_all_degrees(
        module: &'a Module<Nn>,
        calibration: &Calibration,
        options: &ApproximateOptions,
    ) -> Result<Self, PassError> {
        let asked = |value| {
            let several = calibration.channels_of(value).is_some_and(|seen| seen.len() > 1);
            let kinds = [false, true].into_iter().filter(|&per_channel| !per_channel || several);
            let choices = kinds.flat_map(|per_channel| DEGREES.map(|degree| Choice { degree, per_channel })).collect();
            Asked { choices, composite: None }
        };
        Self::new(module, calibration, options, asked)
    }

    /// The polynomials in the class of every activation, sorted by depth, then mean square error.
    pub fn table(&self) -> BTreeMap<Value, Vec<CandidateRow>> {
        let rows = |forms: &Vec<Alternative>| {
            let mut rows: Vec<CandidateRow> = forms.iter().filter_map(row).collect();
            rows.sort_by(|a, b| a.depth.cmp(&b.depth).then(a.mean_square.total_cmp(&b.mean_square)));
            rows
        };
        self.forms().iter().map(|(&value, forms)| (value, rows(forms))).collect()
    }
}

fn row(alternative: &Alternative) -> Option<CandidateRow> {
    let Alternative { rule, form, .. } = alternative;
    let replacement = &form.replacement;
    Some(CandidateRow {
        rule: rule.name,
        choice: form.choice?,
        channels: replacement.channels,
        depth: form.depth,
        mean_square: replacement.rms_error.powi(2),
        max_error: replacement.max_error,
    })
}
