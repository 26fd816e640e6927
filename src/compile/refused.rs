//! Options that cannot be obeyed are refused, each with the best that can be had.

use std::fmt;

use fhec_passes::bootstraps::Strategy;
use miette::Diagnostic;
use thiserror::Error;

use crate::report::units;

/// Why a compilation is refused: what was asked for, and what is possible.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq)]
#[non_exhaustive]
pub enum Refused {
    /// A value that no compilation can obey.
    #[error("--{option} {value}: {reason}")]
    #[diagnostic(help("{repair}"))]
    Value {
        /// The option, as on the command line without its dashes.
        option: &'static str,
        /// What was asked for.
        value: String,
        /// Why it is impossible.
        reason: String,
        /// What to ask for instead.
        repair: String,
    },
    /// An option that has nothing to act on.
    #[error("{option} has no effect here: {reason}")]
    #[diagnostic(help("{repair}"))]
    Idle {
        /// The option.
        option: String,
        /// Why it cannot act.
        reason: String,
        /// What to do instead.
        repair: String,
    },
    /// A network with activations, and nothing that says where their arguments lie.
    #[error(
        "no calibration data: a polynomial stands for an activation only where its arguments lie, and these are not known"
    )]
    #[diagnostic(help(
        "give --calibration with a few hundred training inputs (.npy or .npz); --guess-ranges compiles with \
         ranges guessed from synthetic inputs, which are wrong for most networks"
    ))]
    Uncalibrated,
    /// The plan is predicted to take longer than was asked for.
    #[error(
        "no plan within --max-latency {asked}: the one that can be made is predicted to take {} seconds", rounded_up(*predicted)
    )]
    #[diagnostic(help("ask for {} or more{}", rounded_up(*predicted), degrees(*chosen)))]
    Latency {
        /// Seconds asked for.
        asked: f64,
        /// Seconds predicted.
        predicted: f64,
        /// Whether the degrees of the polynomials were chosen for the limit.
        chosen: bool,
    },
    /// No op of the plan's parameters has a known time.
    #[error("--max-latency cannot be checked: {reason}")]
    #[diagnostic(help("give a profile of this machine with --latency, as `fhec calibrate` writes it"))]
    Untimed {
        /// What has no time.
        reason: String,
    },
    /// The polynomials are less accurate than was asked for.
    #[error(
        "no plan within --max-error {asked}: the polynomials of the one that can be made have an error of {found:.3e}"
    )]
    #[diagnostic(help("ask for {} or more{}", rounded_up(*found), raise(*chosen)))]
    Inaccurate {
        /// The error asked for.
        asked: f64,
        /// The surrogate error of the polynomials.
        found: f64,
        /// Whether the degrees of the polynomials were chosen for the limit.
        chosen: bool,
    },
    /// The plan's keys or its runs take more bytes than was asked for.
    #[error("no plan within {} {}: the smallest that can be made takes {}", of.option(), units::bytes(*asked), units::bytes(*found))]
    #[diagnostic(help("{}", of.repair(*found)))]
    Size {
        /// What is too large.
        of: Size,
        /// Bytes asked for.
        asked: u64,
        /// Bytes predicted of the smallest plan that was made.
        found: u64,
    },
    /// Results are less precise than was asked for.
    #[error("--precision {asked}: at most {most} bits are possible, since {limit}")]
    #[diagnostic(help("ask for {most} bits or fewer"))]
    Precision {
        /// Bits asked for.
        asked: u32,
        /// Bits that can be had.
        most: u32,
        /// Why no more are possible.
        limit: PrecisionLimit,
    },
}

/// What of a plan takes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The file of evaluation keys.
    Keys,
    /// A run that keeps its keys and constants in memory.
    Memory,
}

impl Size {
    fn option(self) -> &'static str {
        match self {
            Self::Keys => "--max-keys",
            Self::Memory => "--max-memory",
        }
    }

    fn repair(self, found: u64) -> String {
        // Rounded up, so that asking for what is written is enough.
        let enough = format!("ask for {} MiB or more", found.div_ceil(1 << 20));
        match self {
            Self::Keys => enough,
            Self::Memory => {
                format!(
                    "{enough}, or leave the limit out and bound each run by `--mem`: it makes keys again and takes longer"
                )
            }
        }
    }
}

/// What bounds the precision of results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PrecisionLimit {
    /// Results are written in single precision.
    SinglePrecision {
        /// The largest result on the samples.
        largest: f64,
        /// The distance of numbers next to it.
        spacing: f64,
    },
    /// Bootstraps leave an error that does not depend on the scale.
    Bootstraps,
    /// No secure parameters have a larger scale.
    Scale {
        /// The largest scale in bits.
        bits: u32,
    },
}

impl fmt::Display for PrecisionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SinglePrecision { largest, spacing } => {
                write!(f, "results up to {largest:.3} are written in single precision, in steps of {spacing:.1e}")
            }
            Self::Bootstraps => write!(f, "bootstraps leave an error that no other parameters lessen"),
            Self::Scale { bits } => write!(f, "no secure parameters have a scale of more than {bits} bits"),
        }
    }
}

/// The number rounded up to four digits, so that asking for what is written is enough.
fn rounded_up(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor() - 3.0);
    let digits = (x / unit).ceil() * unit;
    format!("{digits:.3e}").parse().unwrap_or(x)
}

/// What else shortens a run.
fn degrees(chosen: bool) -> &'static str {
    if chosen { "" } else { ", or lower the --degree" }
}

/// What else lessens the error.
fn raise(chosen: bool) -> &'static str {
    if chosen { "" } else { ", or raise the --degree" }
}

/// A strategy by its name on the command line.
pub(super) fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Joint => "joint",
        Strategy::Layerwise => "layerwise",
        Strategy::Uniform => "uniform",
        Strategy::Greedy => "greedy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested_is_enough() {
        for x in [0.10549, 2.6351e-4, 1.0, 123.456, 7e-10] {
            let up = rounded_up(x);
            assert!(up >= x && up <= x * 1.002, "{x}: {up}");
        }
        assert_eq!(rounded_up(0.10549).to_string(), "0.1055");
    }
}
