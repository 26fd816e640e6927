//! Values of options are checked while the command line is read; for a wrong one a sentence says what is possible.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

#[cfg(feature = "compiler")]
use fhec::passes::approx::MAX_DEGREE;
#[cfg(feature = "compiler")]
use fhec::passes::pipeline::MOST_SLOTS;

/// More threads than this are a slip: no machine has as many cores.
const MOST_THREADS: usize = 1024;
/// More plans of one generation than this are a slip: each takes seconds.
#[cfg(feature = "compiler")]
const MOST_PLANS: usize = 10_000;
/// Rings of the engine, as log2 of their degree.
#[cfg(feature = "client")]
const LOG_N: RangeInclusive<u32> = 10..=17;
/// Limbs of a ciphertext; a key switch has a digit for one of them at least.
#[cfg(feature = "client")]
const MOST_LIMBS: u32 = 81;
/// Bits of precision that may be asked for: more than any number here has.
#[cfg(feature = "compiler")]
const MOST_BITS: u32 = 64;

/// A number in this range.
fn within<T: FromStr + PartialOrd + Display>(text: &str, what: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let number: Option<T> = text.trim().parse().ok();
    let (least, most) = (range.start(), range.end());
    number.filter(|n| range.contains(n)).ok_or_else(|| format!("{what} is a number from {least} to {most}"))
}

/// How many of something: at least one.
pub fn count(text: &str) -> Result<usize, String> {
    text.trim().parse().ok().filter(|&n| n > 0).ok_or_else(|| "at least one is needed".into())
}

/// Plans of a generation: children have two parents.
#[cfg(feature = "compiler")]
pub fn population(text: &str) -> Result<usize, String> {
    within(text, "the number of plans", 2..=MOST_PLANS)
}

/// A number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    within(text, "the number of threads", 1..=MOST_THREADS)
}

/// The ring degree, as log2.
#[cfg(feature = "client")]
pub fn log_n(text: &str) -> Result<u32, String> {
    within(text, "log2 of the ring degree", LOG_N)
}

/// The limbs of a ciphertext.
#[cfg(feature = "client")]
pub fn limbs(text: &str) -> Result<u32, String> {
    within(text, "the number of limbs", 2..=MOST_LIMBS)
}

/// The digits of a key switch.
#[cfg(feature = "client")]
pub fn digits(text: &str) -> Result<u32, String> {
    within(text, "the number of digits", 1..=MOST_LIMBS)
}

/// The degree of a polynomial.
#[cfg(feature = "compiler")]
pub fn degree(text: &str) -> Result<usize, String> {
    within(text, "the degree of a polynomial", 1..=MAX_DEGREE)
}

/// The share of a time that is to be saved: some of it, not all.
#[cfg(feature = "compiler")]
pub fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number.filter(|n| *n > 0.0 && *n < 1.0).ok_or_else(|| "a share is a number between 0 and 1".into())
}

/// A number of slots, or of what lies in them.
#[cfg(feature = "compiler")]
pub fn slots(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.trim().parse().ok();
    let possible = |n: &usize| n.is_power_of_two() && *n <= MOST_SLOTS;
    number.filter(possible).ok_or_else(|| format!("it is a power of two, at most {MOST_SLOTS}"))
}

/// How much longer intervals are than what was seen.
#[cfg(feature = "compiler")]
pub fn margin(text: &str) -> Result<f64, String> {
    within(text, "intervals hold what was seen in calibration: a margin", 1.0..=fhec::MOST_MARGIN)
}

/// A share in per cent.
#[cfg(feature = "compiler")]
pub fn percent(text: &str) -> Result<f64, String> {
    within(text, "a share in per cent", 0.0..=100.0)
}

/// Bits of precision.
#[cfg(feature = "compiler")]
pub fn bits(text: &str) -> Result<u32, String> {
    within(text, "a precision", 1..=MOST_BITS)
}

/// Bits of a message space of TFHE.
#[cfg(feature = "compiler")]
pub fn message_bits(text: &str) -> Result<u32, String> {
    let number: Option<u32> = text.trim().parse().ok();
    number.filter(|bits| [2, 4, 6, 8].contains(bits)).ok_or_else(|| "message spaces have 2, 4, 6 or 8 bits".into())
}

/// A limit.
#[cfg(feature = "compiler")]
pub fn limit(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number.filter(|n| n.is_finite() && *n > 0.0).ok_or_else(|| "a limit is a positive number".into())
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        assert_eq!(degree("15"), Ok(15));
        assert_eq!(margin("1.3"), Ok(1.3));
        for text in ["0", "500", "-1", "x", ""] {
            assert_eq!(degree(text), Err("the degree of a polynomial is a number from 1 to 255".into()), "{text}");
        }
        for text in ["nan", "0", "-1", "inf", "0.9"] {
            assert!(margin(text).is_err(), "{text}");
            assert!(limit("nan").is_err() && limit("0").is_err() && limit("-2").is_err());
        }
        assert!(bits("0").is_err() && bits("65").is_err() && bits("60").is_ok());
        assert!(threads("0").is_err() && threads("1000000").is_err() && threads("2").is_ok());
        assert!(count("0").is_err() && count("1").is_ok());
    }
}
