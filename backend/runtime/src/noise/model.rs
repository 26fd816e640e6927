//! The noise model says how much error every operation adds to a slot.
//!
//! Errors of polynomial coefficients are taken as independent with variance v. A program on vectors of n slots, which repeat
//! through a ciphertext, has its messages in every (N/2n)-th coefficient; decryption reads these 2n alone, and no operation
//! brings errors of others there. The real part of a slot, a sum of 2n coefficients times cosines, then has variance v·n,
//! divided by the square of the scale. The secret is dense ternary (coefficients of variance 2/3), errors have standard
//! deviation σ = 3.2, rounding errors variance 1/12. A bootstrap adds noise, and an error that the message decides.

use std::sync::Arc;

use fhec_ckks::Distortion;
use fhec_ir::ParamSpec;
use fhec_ir::ckks::CtTy;

/// Standard deviation of the error of fresh encryptions and keys.
const SIGMA: f64 = 3.2;
/// Variance of a coefficient of the secret.
const SECRET: f64 = 2.0 / 3.0;
/// Variance of a rounding error.
const ROUNDING: f64 = 1.0 / 12.0;
/// Standard deviation, in slots, of the error of a bootstrap of values in [-1, 1] where nothing better is known: twice what
/// the engine's compact circuit measures for 2^14 slots; its standard circuit is far better.
const BOOTSTRAP: f64 = 1.0 / (1u64 << 17) as f64;

/// Standard deviations of the errors in the real part of a slot.
#[derive(Clone, Debug)]
pub struct NoiseModel {
    spec: ParamSpec,
    /// Ring degree.
    n: f64,
    /// Slots of the program's vectors.
    slots: f64,
    /// log2 of the scale.
    scale: f64,
    /// Deviation of a bootstrap's error.
    bootstrap: f64,
    /// What a bootstrap does to its message besides, where that shows.
    distortion: Option<Arc<Distortion>>,
}

impl NoiseModel {
    /// The model of a program on vectors of `slots` slots under these parameters, with bootstraps of deviation 2^-17.
    pub fn new(spec: &ParamSpec, slots: usize) -> Self {
        let (n, scale) = (f64::from(spec.log_n).exp2(), f64::from(spec.scale_bits));
        let distortion = Distortion::new(spec, slots).map(Arc::new);
        let model = Self { spec: spec.clone(), n, slots: slots as f64, scale, bootstrap: BOOTSTRAP, distortion: None };
        let shows = distortion.filter(|d| d.largest() >= model.visible());
        Self { distortion: shows, ..model }
    }

    /// The model with bootstraps whose error has this standard deviation in the slots, for values in [-1, 1].
    pub fn with_bootstrap(self, deviation: f64) -> Self {
        Self { bootstrap: deviation, ..self }
    }

    /// The numeric scale of a ciphertext. All canonical scales are within 2^-20 of 2^scale_bits.
    fn scale(&self, sd: u8) -> f64 {
        (f64::from(sd) * self.scale).exp2()
    }

    fn slot(&self, coefficient_variance: f64, scale: f64) -> f64 {
        (coefficient_variance * self.slots).sqrt() / scale
    }

    /// A fresh encryption under the secret key, encoding included.
    pub fn fresh(&self) -> f64 {
        self.slot(SIGMA * SIGMA + ROUNDING, self.scale(1))
    }

    /// The rounding of an encoded vector of `slots` slots at the scale of degree `sd`. Fewer slots are encoded into fewer
    /// coefficients.
    pub fn encode(&self, slots: usize, sd: u8) -> f64 {
        (ROUNDING * slots as f64).sqrt() / self.scale(sd)
    }

    /// The rounding of one encoded number.
    pub fn encode_scalar(&self, sd: u8) -> f64 {
        ROUNDING.sqrt() / self.scale(sd)
    }

    /// The rounding of a division by a prime (or by the special primes) that leaves a ciphertext of `parts` parts at
    /// scale degree `sd`: r_0 + r_1·s + r_2·s².
    fn rounding(&self, parts: u8, sd: u8) -> f64 {
        // In a slot |s|² has mean N·2/3 and |s²|² mean 2·(N·2/3)².
        let s2 = self.n * SECRET;
        let powers = [1.0, s2, 2.0 * s2 * s2];
        self.slot(ROUNDING * powers.iter().take(usize::from(parts)).sum::<f64>(), self.scale(sd))
    }

    /// A rescale to a ciphertext of `parts` parts.
    pub fn rescale(&self, parts: u8) -> f64 {
        self.rounding(parts, 1)
    }

    /// A key switch of a ciphertext of this type: rotation, conjugation, relinearisation.
    pub fn key_switch(&self, ty: CtTy) -> f64 {
        let limbs = ty.level + 1;
        let digits = limbs.div_ceil(self.spec.special.max(1));
        let per_digit = limbs.div_ceil(digits);
        // The first prime may be larger than the others; count the largest digit.
        let digit = f64::from((per_digit - 1) * self.spec.scale_bits + self.spec.first_bits);
        let special = f64::from(per_digit * self.spec.special_bits);
        let digits_by_errors = f64::from(digits) * self.n * ROUNDING * SIGMA * SIGMA * (2.0 * (digit - special)).exp2();
        self.slot(digits_by_errors, self.scale(ty.sd)).hypot(self.rounding(2, ty.sd))
    }

    /// The relative error of a level drop: the factor round(S'·q/S) is off by at most one half.
    pub fn level_drop_factor(&self) -> f64 {
        self.encode_scalar(1)
    }

    /// A bootstrap's noise.
    pub fn bootstrap(&self) -> f64 {
        self.bootstrap
    }

    /// The part of a bootstrap's error that follows from the message, where it is large enough to show.
    pub fn distortion(&self) -> Option<&Distortion> {
        self.distortion.as_deref()
    }

    /// Deviations below this do not show in single precision beside the error of a rescale. Products are at the square of
    /// the scale until a rescale, and so are errors beside them, which is why most key switches leave nothing.
    pub fn visible(&self) -> f64 {
        self.rescale(2) * f64::from(f32::EPSILON) / 2.0
    }

    /// The largest magnitude that a ciphertext of this type can hold. Coefficients are no larger than the largest slot.
    pub fn capacity(&self, ty: CtTy) -> f64 {
        let bits = self.spec.first_bits + ty.level * self.spec.scale_bits;
        (f64::from(bits) - 1.0 - f64::from(ty.sd) * self.scale).exp2()
    }
}
