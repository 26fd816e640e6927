//! What every activation could be replaced by, with levels and errors: the table a planner chooses from.

use std::collections::BTreeMap;

use fhec_ir::{Entity, Module, Nn, Value};
use serde::Serialize;

use super::{ApproximateOptions, Calibration, Choice, NAME, Target, fit, unfit};
use crate::PassError;
use crate::approx::ApproxError;

/// Degrees offered: the largest of each depth, and degrees below it that cost fewer products.
pub const DEGREES: [usize; 9] = [2, 3, 5, 7, 11, 15, 23, 31, 63];

/// One possible replacement of an activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateRow {
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

/// The least-squares polynomials of [`DEGREES`], shared and where the activation has channels per channel, of every
/// activation of `module`, whose inputs `calibration` holds. Rows are sorted by depth, then mean square error.
///
/// # Errors
/// Every activation that has no calibration, or whose function has a pole inside its interval.
pub fn candidates(
    module: &Module<Nn>,
    calibration: &Calibration,
    options: &ApproximateOptions,
) -> Result<BTreeMap<Value, Vec<CandidateRow>>, PassError> {
    let live = module.func.live();
    let mut table = BTreeMap::new();
    let mut issues = Vec::new();
    for (value, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
        let Some(target) = Target::of(&node.op) else { continue };
        match rows(value, target, calibration, options) {
            Ok(rows) => {
                table.insert(value, rows);
            }
            Err(e) => issues.push(unfit(&node.loc, target, &e)),
        }
    }
    if issues.is_empty() { Ok(table) } else { Err(PassError { pass: NAME, issues }) }
}

fn rows(
    value: Value,
    target: Target,
    calibration: &Calibration,
    options: &ApproximateOptions,
) -> Result<Vec<CandidateRow>, ApproxError> {
    let seen =
        calibration.channels_of(value).ok_or(ApproxError::NoData { lo: f64::NEG_INFINITY, hi: f64::INFINITY })?;
    let mut rows = Vec::new();
    for per_channel in [false, true].into_iter().filter(|p| !p || seen.len() > 1) {
        for degree in DEGREES {
            let choice = Choice { degree, per_channel };
            let fitted = fit(target, seen, choice, options, false)?;
            let depth = fitted.depth();
            let replacement = fitted.replacement;
            rows.push(CandidateRow {
                choice,
                channels: replacement.channels,
                depth,
                mean_square: replacement.rms_error.powi(2),
                max_error: replacement.max_error,
            });
        }
    }
    rows.sort_by(|a, b| a.depth.cmp(&b.depth).then(a.mean_square.total_cmp(&b.mean_square)));
    Ok(rows)
}
