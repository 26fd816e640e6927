//! Encryption parameters: the smallest ring and chain of primes that run a program securely and precisely enough.
//!
//! Levels are those the program uses. The scale follows from the noise bound of `estimate`: six standard
//! deviations of the results' error stay below the precision asked for ([`Precision`]). The first prime holds the scale and the largest
//! result; the digits of key switching are as wide as the security bound allows where that saves time.

mod estimate;

use fhec_ir::ckks::{Ckks, CkksOp};
use fhec_ir::cost::{self, OpCounts};
use fhec_ir::{Issue, Module, ParamSpec, Port, Tensor};
use fhec_parameters::MAX_LEVELS;

pub use estimate::{Estimate, estimate};

use crate::lower::depth;
use crate::pass::PassError;
use crate::target::Target;

/// How large the error of a result may be: six standard deviations of what encryption adds to what the program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// At most `2^-bits`, whatever the results.
    Absolute(u32),
    /// At most `2^-bits` for results up to 16, and in proportion for larger ones: so many bits behind the point of a number
    /// with four before it.
    Scaled(u32),
}

impl Precision {
    /// Bits behind the point.
    pub fn bits(self) -> u32 {
        match self {
            Self::Absolute(bits) | Self::Scaled(bits) => bits,
        }
    }

    /// The largest error allowed of results up to `bound`.
    pub fn allows(self, bound: f64) -> f64 {
        let unit = match self {
            Self::Absolute(_) => 1.0,
            Self::Scaled(_) => (bound / LARGE_RESULT).max(1.0),
        };
        unit * (-f64::from(self.bits())).exp2()
    }
}

impl Default for Precision {
    fn default() -> Self {
        Self::Scaled(10)
    }
}

/// What parameters must achieve.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamOptions {
    /// How large the error of a result may be.
    pub precision: Precision,
    /// Largest magnitude of an input element.
    pub input_bound: f64,
    /// Largest magnitude of a result, if known from calibration; estimated from the weights otherwise.
    pub result_bound: Option<f64>,
    /// The ring degree to use instead of the smallest possible, as log2 N.
    pub log_n: Option<u32>,
    /// The scale to use instead of the one from the noise bound, in bits.
    pub scale_bits: Option<u32>,
    /// A few inputs, to measure magnitudes on; without, they are bounded from the weights.
    pub samples: Vec<Vec<Tensor>>,
    /// Accept a `log_n` below 128-bit security. The parameters carry the mark.
    pub insecure: bool,
}

impl Default for ParamOptions {
    fn default() -> Self {
        Self {
            precision: Precision::default(),
            input_bound: 1.0,
            result_bound: None,
            log_n: None,
            scale_bits: None,
            samples: Vec::new(),
            insecure: false,
        }
    }
}

/// Largest bit size of a prime.
const MOST_BITS: u32 = fhec_parameters::MAX_PRIME_BITS;
/// Results above this need no better precision relative to their size, unless it is asked for.
const LARGE_RESULT: f64 = 16.0;
/// Results up to this stay as they are; larger ones are divided, so that they need not stay at level 1 where no first prime holds
/// them beside their scale.
const LARGEST_UNDIVIDED: f64 = 64.0;
/// By at most this power of two, since weights that are divided lose as many bits of the scale that they are encoded with.
const MOST_EXPONENT: i32 = 10;
/// Below this the primes of a chain are too far apart for scales to stay together.
const LEAST_SCALE_BITS: u32 = 27;
/// Bits of the first prime beyond scale and result: the sign, and room for noise and values outside their estimate.
const MARGIN_BITS: u32 = 2;
/// More special primes than this never pay.
const MOST_SPECIAL: u32 = 8;
/// Numbers of levels for which a target is asked what its first prime and its scale are.
const LEVELS_TRIED: u32 = 24;
/// The engine's primes differ from their nominal size by a fraction of a bit, in sum by less than this.
const SLACK_BITS: u32 = 1;

pub(crate) const NAME: &str = "choose-parameters";

/// The power of two by which results up to `bound` are divided. What is left is beyond [`LARGE_RESULT`], so that the error allowed in
/// proportion is divided, too.
pub(crate) fn result_exponent(bound: Option<f64>) -> i32 {
    let large = bound.filter(|bound| *bound > LARGEST_UNDIVIDED);
    let exponent = large.map_or(0, |bound| (bound / LARGE_RESULT).log2().floor() as i32);
    if exponent <= MOST_EXPONENT { exponent } else { 0 }
}

impl ParamOptions {
    /// The options for a program whose results, `outputs`, are parts of what they stand for.
    #[must_use]
    pub(crate) fn of_parts(&self, outputs: &[Port]) -> Self {
        let layouts = outputs.iter().filter_map(|port| port.layout.as_ref());
        let exponent = layouts.map(|layout| layout.exponent).max().unwrap_or(0);
        let precision = match self.precision {
            Precision::Absolute(bits) => Precision::Absolute(bits.saturating_add_signed(exponent)),
            scaled @ Precision::Scaled(_) => scaled,
        };
        let result_bound = self.result_bound.map(|bound| bound / f64::from(exponent).exp2());
        Self { precision, result_bound, ..self.clone() }
    }
}

/// Bits of the first prime that results of magnitude `bound` need at level 0.
fn first_bits(scale_bits: u32, bound: f64) -> u32 {
    // A bound that no number holds needs more bits than there are.
    scale_bits.saturating_add(bound.max(1.0).log2().ceil() as u32).saturating_add(MARGIN_BITS)
}

/// The scale in bits that keeps the results' error below the target with `slots` slots in a ring of degree `2^log_n`.
fn scale_bits(estimate: &Estimate, options: &ParamOptions, slots: usize, log_n: u32) -> u32 {
    options.scale_bits.unwrap_or_else(|| {
        // Six standard deviations, in units of sqrt(2nN)/S.
        let error = 6.0 * estimate.deviation;
        let allowed = options.precision.allows(options.result_bound.unwrap_or(estimate.result_bound));
        let unit = (f64::from(log_n) + (2.0 * slots as f64).log2()) / 2.0;
        let bits = unit + (error / allowed).log2();
        (bits.ceil().max(0.0) as u32).max(LEAST_SCALE_BITS)
    })
}

/// Relative time of the program's key switches with `special` special primes, in transforms of one limb: at a level of m
/// limbs in d digits, m·(d + 3) for the ciphertext and special·(d + 2) for the special primes.
fn key_switch_time(switches: &[(u32, usize)], special: u32) -> f64 {
    switches
        .iter()
        .map(|&(level, count)| {
            let limbs = f64::from(level + 1);
            let digits = f64::from((level + 1).div_ceil(special));
            count as f64 * (limbs * (digits + 3.0) + f64::from(special) * (digits + 2.0))
        })
        .sum()
}

/// The key switches of a program by level.
pub(crate) fn key_switches(module: &Module<Ckks>) -> Vec<(u32, usize)> {
    let slots = cost::slots(module).unwrap_or(1);
    let mut by_level = std::collections::BTreeMap::new();
    for (_, node) in module.func.iter() {
        let mut counts = OpCounts::default();
        counts.add(node, &module.consts, slots);
        if counts.key_switches > 0 {
            *by_level.entry(node.ty.level).or_insert(0) += counts.key_switches as usize;
        }
    }
    by_level.into_iter().collect()
}

/// Relative time of the whole program under `spec`: transforms of one limb times N·log2 N.
pub(crate) fn predicted_time(module: &Module<Ckks>, spec: &ParamSpec) -> f64 {
    let diagonals: f64 = module
        .func
        .iter()
        .map(|(_, node)| match &node.op {
            // Encoding a diagonal transforms it at every limb of the extended basis.
            CkksOp::Linear { rotations, at, .. } => rotations.len() as f64 * f64::from(at + 1 + spec.special),
            _ => 0.0,
        })
        .sum();
    let n = f64::from(spec.log_n) * f64::from(1u32 << spec.log_n);
    n * (diagonals + key_switch_time(&key_switches(module), spec.special))
}

/// Whether the results fit the first prime alone in every ring that may be chosen; otherwise they may have to stay at level 1.
/// A larger ring needs a larger scale.
pub(crate) fn fits_level_zero(estimate: &Estimate, options: &ParamOptions, slots: usize) -> bool {
    let bound = options.result_bound.unwrap_or(estimate.result_bound);
    let largest = fhec_parameters::rings().map(|(log_n, _)| log_n).max().unwrap_or(0);
    first_bits(scale_bits(estimate, options, slots, options.log_n.unwrap_or(largest)), bound) <= MOST_BITS
}

/// Whether the results fit the first prime of the parameters that `target` bootstraps under.
pub(crate) fn bootstrapped_fits_level_zero(estimate: &Estimate, options: &ParamOptions, target: &dyn Target) -> bool {
    let bound = options.result_bound.unwrap_or(estimate.result_bound);
    let spec = (1..=LEVELS_TRIED).find_map(|levels| target.bootstrapping(levels));
    spec.is_some_and(|spec| first_bits(spec.scale_bits, bound) <= spec.first_bits)
}

/// The parameters for `module`, with `estimate` made from the slot module it was lowered from.
///
/// # Errors
/// When no ring of at most 2^17 coefficients (or the one asked for) offers enough levels, slots and precision.
pub fn choose(
    module: &Module<Ckks>,
    slots: usize,
    estimate: &Estimate,
    options: &ParamOptions,
) -> Result<ParamSpec, PassError> {
    let result_level = module.func.results().iter().map(|&r| module.func.ty(r).level).min().unwrap_or(0);
    let demand = Demand { levels: depth(module), result_level, slots, switches: key_switches(module) };
    demand.parameters(estimate, options).map_err(|why| {
        let repair = "lower the degrees of the activations, ask for less precision, or take a model with fewer layers";
        let issue = Issue::of_network(why.join("; "), repair);
        PassError { pass: NAME, issues: vec![issue] }
    })
}

/// The parameters for programs of `levels` levels that keep their results at `result_level`, before there is one: as if it
/// switched keys as often at each level.
pub(crate) fn of_levels(
    levels: u32,
    result_level: u32,
    slots: usize,
    estimate: &Estimate,
    options: &ParamOptions,
) -> Option<ParamSpec> {
    let switches = (1..=levels).map(|level| (level, 1)).collect();
    Demand { levels, result_level, slots, switches }.parameters(estimate, options).ok()
}

/// What a program needs of its parameters.
struct Demand {
    levels: u32,
    result_level: u32,
    slots: usize,
    /// Key switches by level.
    switches: Vec<(u32, usize)>,
}

impl Demand {
    /// The smallest ring, with the number of special primes that is fastest in it.
    ///
    /// # Errors
    /// For each ring, why it does not do.
    fn parameters(&self, estimate: &Estimate, options: &ParamOptions) -> Result<ParamSpec, Vec<String>> {
        let &Self { levels, result_level, slots, ref switches } = self;
        let needed = slots.trailing_zeros() + 1;
        let rings: Vec<(u32, u32)> = fhec_parameters::rings()
            .filter(|&(log_n, _)| log_n >= needed && options.log_n.is_none_or(|asked| asked == log_n))
            .collect();
        let rings = match options.log_n {
            Some(asked) if rings.is_empty() && options.insecure && asked >= needed => vec![(asked, 0)],
            _ => rings,
        };
        let mut why = Vec::new();
        if levels > MAX_LEVELS {
            why.push(format!("it needs {levels} levels, and parameters have at most {MAX_LEVELS}"));
            return Err(why);
        }
        for &(log_n, limit) in &rings {
            let scale_bits = scale_bits(estimate, options, slots, log_n);
            let bound = options.result_bound.unwrap_or(estimate.result_bound);
            let wanted = first_bits(scale_bits, bound);
            let first_bits = if result_level > 0 { wanted.min(MOST_BITS) } else { wanted };
            if scale_bits >= MOST_BITS || first_bits > MOST_BITS {
                why.push(format!(
                    "N = 2^{log_n}: a scale of {scale_bits} bits and results up to {bound:.3} need a first prime of \
                     {wanted} bits, the largest has {MOST_BITS}"
                ));
                continue;
            }
            let spec = |special: u32| ParamSpec {
                log_n,
                first_bits,
                scale_bits,
                levels,
                special_bits: first_bits,
                special,
                bootstrap: None,
                insecure: false,
            };
            let secure = |special: &u32| spec(*special).log_qp() + SLACK_BITS <= limit;
            let counts = 1..=MOST_SPECIAL.min(levels + 1);
            let time = |special: &u32| key_switch_time(switches, *special);
            let by_time = |a: &u32, b: &u32| time(a).total_cmp(&time(b));
            if let Some(special) = counts.clone().filter(secure).min_by(by_time) {
                return Ok(spec(special));
            }
            if options.insecure && options.log_n.is_some() {
                let special = counts.min_by(by_time).unwrap_or(1);
                return Ok(ParamSpec { insecure: true, ..spec(special) });
            }
            why.push(format!(
                "N = 2^{log_n}: {levels} levels of {scale_bits} bits need log QP = {}, 128-bit security allows {limit}",
                spec(1).log_qp() + SLACK_BITS
            ));
        }
        if why.is_empty() {
            why.push(format!("{slots} slots need N = 2^{needed} or more"));
        }
        Err(why)
    }
}
