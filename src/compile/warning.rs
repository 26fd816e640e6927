//! Warnings tell users what was done instead of what might be expected of a plan, and why.

use fhec_passes::activations::result_kind::ResultKind;
use thiserror::Error;

use super::agreement::Agreement;

/// Why the polynomials of a plan, or its weights, are not what they could be.
#[derive(Clone, Debug, Error, PartialEq)]
pub(super) enum Warning {
    #[error(
        "no calibration data: the ranges of {of} are guessed from synthetic inputs, with a margin of {margin}, and \
         results may be wrong on real ones; give --calibration with a few hundred training inputs"
    )]
    Synthetic { of: &'static str, margin: f64 },
    #[error(
        "the ranges of activations rest on {}: others may leave them, and results are wrong there; give \
         --calibration a few hundred training inputs", inputs(*samples)
    )]
    FewSamples { samples: usize },
    #[error(
        "on {count} of {of} calibration inputs the network runs away: values in it are many times as large as on the others, or \
         not finite. Ranges do not hold them, and their encrypted results are wrong, as those of the network may be; train \
         with a penalty on large arguments of the polynomials"
    )]
    RunsAway { count: usize, of: usize },
    #[error(
        "maxima over windows ({nodes}) are computed pair by pair, each with a polynomial in place of a ReLU, which takes time and \
         levels; average pooling costs next to nothing: replace them and retrain briefly"
    )]
    MaxPool { nodes: String },
    #[error(
        "node `{node}`: {function} jumps, which no polynomial does: that of degree {degree} is off by up to {largest:.1e}, and by \
         {rms:.1e} on calibration data (root mean square), and results near the jump are wrong; train with a function that \
         does not jump, such as sigmoid(k·x) for a step or a ReLU for a threshold"
    )]
    Jumps { node: String, function: String, degree: usize, largest: f64, rms: f64 },
    #[error(
        "weights are not rebuilt{}: that takes {needed} calibration inputs, so as not to fit these alone, and {} given",
        if *untried { ", and polynomials not chosen by trial" } else { "" }, were(*samples)
    )]
    NotRebuilt { samples: usize, needed: usize, untried: bool },
    #[error(
        "{}--no-reconstruct has no effect here: {}",
        if *untried { "polynomials are not chosen by trial, and " } else { "" },
        if *rebuildable {
            format!("weights are rebuilt from {needed} calibration inputs on, so as not to fit these alone, and {} given", were(*samples))
        } else {
            "there are no errors of polynomials that other weights could make up for".into()
        }
    )]
    KeptAnyway { samples: usize, needed: usize, rebuildable: bool, untried: bool },
    #[error(
        "the network with polynomials {}; {} or set --min-agreement lower", agreement(.0), if .0.held_back {
            "no polynomials that are chosen from agree further: give more calibration data,"
        } else {
            "give more calibration data, a higher --degree, more time or a larger error where these are limited,"
        }
    )]
    Disagrees(Agreement),
    #[error(
        "--results {asked} has no effect on {outputs}, compared as values: scores of classes are a row of several numbers, those of \
         labels a row; leave --results out, or say values"
    )]
    NoScores { outputs: String, asked: ResultKind },
    #[error(
        "the error of all activations counts alike, since their effect on the results is not known: {reason}; give \
         calibration data of a classifier, or set --degree"
    )]
    NoSensitivity { reason: String },
    #[error(
        "results are simulated to have {bits:.1} bits of precision, fewer than the {expected} that are usual (largest error \
         {error:.1e}); --precision says how many can be had"
    )]
    Imprecise { bits: f64, expected: u32, error: f64 },
    #[error(
        "the error of output `{output}` cannot be told from simulated runs, which give {error:.1e}: `decrypt --publish` will \
         refuse the results of this plan; give calibration data like the inputs"
    )]
    UnknownErrors { output: String, error: f64 },
    #[error(
        "so many branches lie side by side that plans were searched among a part of them: a plan of the front {}; \
         --max-error and --max-latency narrow what is searched",
        if bound.is_finite() { format!("takes at most {bound:.2} times the least time") } else { "may not be the fastest".into() }
    )]
    PartialFront { bound: f64 },
}

/// How far networks agree, and should.
fn agreement(found: &Agreement) -> String {
    let Agreement { asked, measured, inputs, held_back, of } = *found;
    let on = format!("{inputs} calibration inputs{}", if held_back { " that it was not fitted to" } else { "" });
    let (asked, measured) = (100.0 * asked, 100.0 * measured);
    match of {
        ResultKind::Classes | ResultKind::Labels => {
            format!("agrees with the original on {measured:.1} % of {on}, where {asked:.1} % are aimed at")
        }
        ResultKind::Values => format!(
            "is off from the original by {:.1} % of what results vary (root mean square) on {on}, where {:.1} % are aimed at; if these \
             are scores, say so with --results",
            100.0 - measured,
            100.0 - asked
        ),
    }
}

/// How many were given, in words.
fn were(count: usize) -> String {
    match count {
        0 => "none were".into(),
        1 => "one was".into(),
        _ => format!("{count} were"),
    }
}

/// A number of inputs in words.
fn inputs(count: usize) -> String {
    if count == 1 { "a single input".into() } else { format!("{count} inputs") }
}
