//! Encodes and decodes vectors of slots, and defines the compact plaintext.

use super::reverse;
use crate::context::Context;
use crate::error::{CkksError, Result};
use fhec_ring::RnsPoly;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What a plaintext is encoded for; it decides the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A factor for a ciphertext at level `operand` and scale degree 1, the product made at level `at <= operand`:
    /// scale `S_at^2 / S_operand`.
    Factor {
        /// Level of the ciphertext.
        operand: usize,
        /// Level of the product.
        at: usize,
    },
    /// A term for a ciphertext at `level` with scale degree `sd`: scale `S_level^sd`.
    Term {
        /// Level of the ciphertext.
        level: usize,
        /// Its scale degree, 1 or 2.
        sd: u8,
    },
}

/// An encoded vector in compact form: the small signed coefficients of a polynomial in `X^(N/2n)` for `n` slots.
///
/// It is brought to residues where it is used, at the level of use: 16 bytes per slot instead of 8 N bytes per limb.
/// Cheap to clone. The coefficients are wiped with the last clone: they may be a message.
#[derive(Debug, Clone)]
pub struct Plaintext {
    pub(crate) role: Role,
    pub(crate) slots: usize,
    /// The polynomial is `coefficients * 2^shift`.
    pub(crate) shift: u32,
    pub(crate) coefficients: Arc<Zeroizing<Vec<i64>>>,
    /// Evaluation form modulo `q_0..` of the level of use, where it was asked for.
    pub(crate) evaluated: Option<Arc<RnsPoly>>,
}

impl Plaintext {
    /// What it was encoded for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Slots of the vector; it repeats where the ciphertext has more.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        self.coefficients.len() * 8 + self.evaluated.as_ref().map_or(0, |e| e.as_slice().len() * 8)
    }

    /// Keeps the evaluation form beside the coefficients: products with it then need no transform, for 8 N bytes per
    /// limb of the level of use.
    pub fn evaluate(mut self, ctx: &Context) -> Self {
        let level = match self.role {
            Role::Factor { at, .. } => at,
            Role::Term { level, .. } => level,
        };
        let mut evaluated = RnsPoly::unspecified(ctx.params().n(), level + 1);
        crate::eval::for_limbs(&mut evaluated, |i, limb| {
            ctx.plain_limb(&self, i, limb);
        });
        self.evaluated = Some(Arc::new(evaluated));
        self
    }
}

/// Real and imaginary parts of slots, wiped when dropped.
pub type Decoded = (Zeroizing<Vec<f64>>, Zeroizing<Vec<f64>>);

/// Coefficients stay below `2^COEFFICIENT_BITS`.
const COEFFICIENT_BITS: i32 = 62;

impl Context {
    /// The exact scale of `role`.
    pub fn plain_scale(&self, role: Role) -> Result<f64> {
        let params = self.params();
        let scale = |op, level: usize| {
            if level > params.max_level() {
                Err(CkksError::Level { op, level, max: params.max_level() })
            } else {
                Ok(params.scale(level))
            }
        };
        match role {
            Role::Factor { operand, at } => {
                let operand_scale = scale("encode", operand)?;
                if at > operand {
                    return Err(CkksError::Level { op: "encode", level: at, max: operand });
                }
                let at_scale = scale("encode", at)?;
                Ok(at_scale * at_scale / operand_scale)
            }
            Role::Term { level, sd } => match sd {
                1 => scale("encode", level),
                2 => scale("encode", level).map(|s| s * s),
                _ => Err(CkksError::ScaleDegree { op: "encode", found: sd, wanted: 1 }),
            },
        }
    }

    /// Encodes real slots; their number is a power of two up to N/2.
    ///
    /// # Errors
    /// A bad number of slots, a level that does not exist, a value that is not finite or too large for the scale.
    pub fn encode(&self, slots: &[f64], role: Role) -> Result<Plaintext> {
        self.encode_complex(slots, &[], role)
    }

    /// Encodes complex slots, given as real parts and imaginary parts (empty: all zero).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_complex(&self, re: &[f64], im: &[f64], role: Role) -> Result<Plaintext> {
        let scale = self.plain_scale(role)?;
        // A product's scale leaves the 62 bits of a coefficient: half of it is put back by a shift.
        let shift = if matches!(role, Role::Term { sd: 2, .. }) { self.params().spec().scale_bits } else { 0 };
        let coefficients = self.encode_coefficients(re, im, scale / 2f64.powi(shift as i32))?;
        Ok(Plaintext { role, slots: re.len(), shift, coefficients: Arc::new(coefficients), evaluated: None })
    }

    /// The rounded coefficients of `scale` times the vector: `2n` of them, in `X^(N/2n)`.
    pub(crate) fn encode_coefficients(&self, re: &[f64], im: &[f64], scale: f64) -> Result<Zeroizing<Vec<i64>>> {
        let n = re.len();
        self.check_slots("encode", n)?;
        if !im.is_empty() && im.len() != n {
            return Err(CkksError::Slots { op: "encode", found: im.len(), wanted: format!("{n} imaginary parts") });
        }
        // Slots are looked for by value only once they are refused.
        let all = || re.iter().chain(im);
        let nan = all().fold(false, |nan, v| nan | v.is_nan());
        let largest = if nan { f64::NAN } else { all().fold(0.0, |m: f64, v| m.max(v.abs())) };
        // Every coefficient is at most the mean of the slots' magnitudes, at most sqrt(2) times the largest part.
        let bound = largest * scale * 1.5;
        if bound.is_nan() || bound >= 2f64.powi(COEFFICIENT_BITS) {
            let slot = all().position(|v| v.is_nan() || v.abs() == largest).map_or(0, |j| j % n);
            return Err(CkksError::Encode { slot, value: largest, log_scale: scale.log2() });
        }
        let mut fold = Zeroizing::new(vec![0.0; 2 * n]);
        let (fre, fim) = fold.split_at_mut(n);
        fre.copy_from_slice(re);
        if !im.is_empty() {
            fim.copy_from_slice(im);
        }
        self.fft().slots_to_coefficients(fre, fim);
        let (factor, bits) = (scale / n as f64, n.trailing_zeros());
        let mut out = Zeroizing::new(vec![0i64; 2 * n]);
        let (low, high) = out.split_at_mut(n);
        for (p, (r, i)) in fre.iter().zip(&*fim).enumerate() {
            let k = reverse(p, bits);
            low[k] = round(r * factor);
            high[k] = round(i * factor);
        }
        Ok(out)
    }

    /// Slots of the polynomial with the folded coefficients of `2n` numbers (in `X^(N/2n)`), divided by `scale`.
    pub(crate) fn decode_coefficients(&self, coefficients: &[f64], scale: f64) -> Decoded {
        let n = coefficients.len() / 2;
        let bits = n.trailing_zeros();
        let pick = |half: &[f64]| Zeroizing::new((0..n).map(|p| half[reverse(p, bits)] / scale).collect::<Vec<f64>>());
        let (mut re, mut im) = (pick(&coefficients[..n]), pick(&coefficients[n..]));
        self.fft().coefficients_to_slots(&mut re, &mut im);
        (re, im)
    }

    /// Decodes a decrypted polynomial, given as coefficients modulo the lowest primes `q_0..` (as many limbs as given),
    /// into `slots` complex slots: real parts and imaginary parts, wiped when dropped.
    ///
    /// The value is taken as the representative of least magnitude; three limbs are enough for any scale degree.
    ///
    /// # Errors
    /// A bad number of slots or of limbs.
    pub fn decode(&self, limbs: &[&[u64]], slots: usize, scale: f64) -> Result<Decoded> {
        self.check_slots("decode", slots)?;
        let (n, moduli) = (self.params().n(), self.ring().moduli());
        if limbs.is_empty() || limbs.len() > self.params().q().len() || limbs.iter().any(|l| l.len() != n) {
            return Err(CkksError::Format { what: "plaintext", reason: format!("{} limbs", limbs.len()) });
        }
        let gap = n / (2 * slots);
        // Centred mixed-radix digits: x = v_0 + q_0 (v_1 + q_1 (v_2 + ..)), every |v_i| < q_i / 2. Small values have
        // zero high digits, so nothing cancels and the float sum is exact to its last bit.
        let inverses: Vec<Vec<u64>> = (0..limbs.len())
            .map(|i| {
                let inverse = |j: usize| {
                    let m = moduli[i];
                    m.inv(m.reduce_u64(moduli[j].value())).ok_or(CkksError::Params("primes coincide".into()))
                };
                (0..i).map(inverse).collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        let mut digits = Zeroizing::new(vec![0i64; limbs.len()]);
        let decoded = (0..2 * slots).map(|k| {
            for i in 0..limbs.len() {
                let m = moduli[i];
                let mut v = limbs[i][k * gap];
                for j in 0..i {
                    v = m.mul(m.sub(v, m.reduce_i64(digits[j])), inverses[i][j]);
                }
                digits[i] = m.centre(v);
            }
            digits.iter().zip(moduli).rev().fold(0.0, |acc, (&v, m)| acc * m.value() as f64 + v as f64)
        });
        let coefficients = Zeroizing::new(decoded.collect::<Vec<f64>>());
        Ok(self.decode_coefficients(&coefficients, scale))
    }

    /// Refuses slot counts other than powers of two up to N/2.
    pub(crate) fn check_slots(&self, op: &'static str, slots: usize) -> Result<()> {
        self.params().check_slots(op, slots)
    }
}

/// To the nearest integer, ties to even; `|x| < 2^62`. Without a branch or a call that may have one: it may be a message.
fn round(x: f64) -> i64 {
    // Adding 1.5 * 2^52 pushes the fraction out of the mantissa, which then holds the integer.
    const PUSH: f64 = 6_755_399_441_055_744.0;
    const HALF: i32 = 26;
    let small = |x: f64| (x + PUSH).to_bits().wrapping_sub(PUSH.to_bits()) as i64;
    // What is left of x without a multiple of 2^26 near it is small, and exact.
    let high = small(x * (1.0 / (1u64 << HALF) as f64));
    (high << HALF) + small(x - high as f64 * (1u64 << HALF) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn coefficients_are_rounded_to_nearest_even(mantissa in -1.0f64..1.0, bits in 0i32..62, half in -1i64 << 50..1 << 50) {
            for x in [mantissa * 2f64.powi(bits), half as f64 / 2.0, mantissa.round() * 2f64.powi(bits)] {
                prop_assert_eq!(round(x), x.round_ties_even() as i64, "{}", x);
            }
        }
    }
}
