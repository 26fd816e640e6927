//! The circuit of bootstrapping: CoeffsToSlots, EvalMod by a cosine with double angles and an arcsine, SlotsToCoeffs.

use serde::{Deserialize, Serialize};

use crate::spec::MAX_PRIME_BITS;

/// No circuit that can be built has more double angles, or a larger scale. Files may state any: their levels are counted up to
/// here, and engines refuse them.
const MAX_DOUBLE_ANGLE: u32 = 64;
const MAX_SCALE_BITS: u32 = 1024;

/// The circuit of bootstrapping and the primes it runs on.
///
/// ```
/// use fhec_parameters::Circuit;
/// assert_eq!([Circuit::standard(42), Circuit::compact(42)].map(|circuit| circuit.levels()), [20, 16]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// Levels (and factors) of CoeffsToSlots.
    pub cts_levels: u32,
    /// Levels (and factors) of SlotsToCoeffs.
    pub stc_levels: u32,
    /// Bits of the primes of SlotsToCoeffs.
    pub stc_bits: u32,
    /// Bits of the primes of EvalMod and CoeffsToSlots.
    pub mod_bits: u32,
    /// Least bits of the scale of EvalMod's input and of the Chebyshev polynomials in it. Where one prime per product
    /// would let the scale fall below, two are used.
    pub mod_scale_bits: u32,
    /// The same for the sums of Chebyshev polynomials and the double angles, whose errors are amplified less.
    pub sum_scale_bits: u32,
    /// EvalMod is right for `|I| <= k`, where the raised ciphertext decrypts to `m + q_0 I`. Parameters under whose ephemeral
    /// secret larger ones are likely are refused.
    pub k: u32,
    /// Degree of the Chebyshev interpolant of the cosine before double angles; even.
    pub degree: u32,
    /// Number of double-angle steps.
    pub double_angle: u32,
    /// Degree of the arcsine polynomial: 1 (none), 3 or 7.
    pub arcsine_degree: u32,
    /// Slots in [-1, 1] are brought to `2^-ratio_bits q_0` before the modulus is raised.
    pub ratio_bits: u32,
    /// Non-zero coefficients of the ephemeral sparse secret; 0 bootstraps under the main secret.
    pub sparse_weight: u32,
}

impl Circuit {
    /// The most precise circuit. `|I| > k` for fewer than one coefficient in 2^98; errors are below 2^-20
    /// for full slots at N = 2^16 (rms 2^-25), smaller for fewer slots.
    pub fn standard(scale_bits: u32) -> Self {
        Self {
            cts_levels: 3,
            stc_levels: 3,
            stc_bits: scale_bits.max(42),
            mod_bits: MAX_PRIME_BITS,
            mod_scale_bits: 55,
            sum_scale_bits: 55,
            k: 15,
            degree: 30,
            double_angle: 3,
            arcsine_degree: 7,
            ratio_bits: 5,
            sparse_weight: 32,
        }
    }

    /// A circuit of 16 levels where [`standard`](Self::standard) needs 20, for results that need no more than 12 bits:
    /// one prime for all products of EvalMod but one, no arcsine for scales up to 2^42, where messages are at most
    /// `2^-8 q_0`, and a fourth factor of CoeffsToSlots, whose fewer diagonals save more than its level costs.
    ///
    /// At N = 2^16 random vectors keep 16 bits in the worst of 2^14 slots and 15 of 2^15; any vector in [-1, 1] keeps 13 and
    /// 12.8. A coefficient `c` of the message, for example the mean of its slots, loses `(2 pi 2^-8 c)^2 / 6` of itself:
    /// 2^-13.3 for a constant vector of ones, which loses most.
    pub fn compact(scale_bits: u32) -> Self {
        let ratio_bits = MAX_PRIME_BITS.saturating_sub(scale_bits).min(8);
        Self {
            cts_levels: 4,
            mod_scale_bits: 52,
            sum_scale_bits: 49,
            arcsine_degree: if ratio_bits < 8 { 3 } else { 1 },
            ratio_bits,
            ..Self::standard(scale_bits)
        }
    }

    /// Levels of one product each: the interpolant, the double angles, the arcsine.
    pub fn steps(&self) -> [usize; 3] {
        let arcsine = match self.arcsine_degree {
            1 => 0,
            3 => 2,
            _ => 3,
        };
        // The cosine is even: one squaring, then a polynomial of half the degree.
        let interpolant = 1 + (self.degree / 2 + 1).next_power_of_two().trailing_zeros() as usize;
        [interpolant, self.double_angle.min(MAX_DOUBLE_ANGLE) as usize, arcsine]
    }

    /// Primes divided out after every product of EvalMod, the last product first, when the primes from `lowest` up have
    /// these bits. The scale after the last one is `2^end`; every earlier one follows from `scale^2 / primes`.
    pub fn drops(&self, end: f64, mut bits: impl FnMut(usize) -> f64, lowest: usize) -> (Vec<usize>, f64) {
        let [interpolant, double_angle, arcsine] = self.steps();
        let (mut scale, mut level, mut drops) = (end, lowest, Vec::new());
        for step in 0..interpolant + double_angle + arcsine {
            // Errors before the arcsine are amplified by what follows, each double angle by four; those in it hardly.
            let least = if step < arcsine {
                self.sum_scale_bits.min(46)
            } else if step <= arcsine + double_angle {
                self.sum_scale_bits
            } else {
                self.mod_scale_bits
            };
            let mut dropped = 0.0;
            let mut count = 0;
            while count == 0 || (scale + dropped) / 2.0 < f64::from(least.min(MAX_SCALE_BITS)) {
                // Primes of no bits would never suffice.
                dropped += bits(level + count).max(1.0);
                count += 1;
            }
            level += count;
            scale = (scale + dropped) / 2.0;
            drops.push(count);
        }
        (drops, scale)
    }

    /// log2 of the scale at which EvalMod ends.
    pub fn end_bits(&self) -> f64 {
        f64::from(self.mod_bits)
    }

    /// Primes that EvalMod consumes.
    pub fn mod_primes(&self) -> u32 {
        self.drops(self.end_bits(), |_| f64::from(self.mod_bits), 0).0.iter().sum::<usize>() as u32
    }

    /// All levels that a bootstrap consumes above its output level.
    pub fn levels(&self) -> u32 {
        self.cts_levels.saturating_add(self.mod_primes()).saturating_add(self.stc_levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_what_no_engine_builds_are_counted_too() {
        let most = u32::MAX;
        let circuit = Circuit { mod_bits: 0, mod_scale_bits: most, sum_scale_bits: most, ..Circuit::compact(40) };
        for degree in [0, most] {
            let circuit = Circuit { degree, double_angle: most, cts_levels: most, ..circuit.clone() };
            assert_eq!(circuit.levels(), most);
        }
    }
}
