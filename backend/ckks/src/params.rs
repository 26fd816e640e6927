//! Parameters are the prime chain and the canonical scales that follow from it, behind the security gate.

use crate::bootstrap::{MAX_FAILURE, failure};
use crate::error::{CkksError, Digest, Result};
use crate::packing::{bits_of, packed_limb_len};
use crate::sample::Seed;
use crate::security;
use fhec_ring::{Modulus, nearest_ntt_prime};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a chain is built from. The same spec gives the same primes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSpec {
    /// Base-two logarithm of the ring degree N, 10..=17.
    pub log_n: u32,
    /// Bits of the lowest prime: `first_bits - scale_bits - 1` bits is the largest magnitude at level 0.
    pub first_bits: u32,
    /// Bits of the canonical scale and of the primes of levels `1..=levels`.
    pub scale_bits: u32,
    /// Highest level L for programs: the number of rescalings a fresh ciphertext allows.
    pub levels: u32,
    /// Special primes, and most limbs of one key-switching digit.
    pub alpha: u32,
    /// Bits of the special primes; at least the bits of any other prime, at most 50.
    pub special_bits: u32,
    /// Adds the levels and primes of bootstrapping above `levels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapSpec>,
    /// Admits parameters below 128-bit security. For tests only; the mark stays with everything made under them.
    #[serde(default)]
    pub insecure: bool,
}

/// The circuit of bootstrapping and the primes it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapSpec {
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
    /// secret larger ones are likely are refused ([`MAX_FAILURE`]).
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

impl ParamSpec {
    /// The preset for programs with bootstrapping, `N = 2^16`, 128-bit security: `levels` levels of `scale_bits` (at most 45),
    /// [`BootstrapSpec::standard`], and as few key-switching digits as the security bound then leaves room for.
    ///
    /// ```
    /// let spec = fhec_ckks::ParamSpec::bootstrapping(10, 42)?;
    /// assert_eq!((spec.alpha, spec.bootstrap.as_ref().map(|b| b.levels())), (6, Some(20)));
    /// # Ok::<(), fhec_ckks::CkksError>(())
    /// ```
    ///
    /// # Errors
    /// [`CkksError::Security`] where so many levels do not fit.
    pub fn bootstrapping(levels: u32, scale_bits: u32) -> Result<Self> {
        Self::with_bootstrap(levels, scale_bits, BootstrapSpec::standard(scale_bits))
    }

    /// [`bootstrapping`](Self::bootstrapping) with another circuit:
    ///
    /// ```
    /// use fhec_ckks::{BootstrapSpec, ParamSpec};
    /// let spec = ParamSpec::with_bootstrap(10, 42, BootstrapSpec::compact(42))?;
    /// assert_eq!((spec.alpha, spec.bootstrap.as_ref().map(|b| b.levels())), (9, Some(16)));
    /// # Ok::<(), fhec_ckks::CkksError>(())
    /// ```
    ///
    /// # Errors
    /// As [`bootstrapping`](Self::bootstrapping).
    pub fn with_bootstrap(levels: u32, scale_bits: u32, bootstrap: BootstrapSpec) -> Result<Self> {
        let limbs = levels + 1 + bootstrap.levels();
        let spec = |alpha: u32| Self {
            log_n: 16,
            first_bits: Modulus::MAX_BITS,
            scale_bits,
            levels,
            alpha,
            special_bits: Modulus::MAX_BITS,
            bootstrap: Some(bootstrap.clone()),
            insecure: false,
        };
        let mut refused = None;
        for alpha in (2..=limbs.min(24)).rev() {
            // The same number of digits with the fewest special primes.
            let fewest = limbs.div_ceil(limbs.div_ceil(alpha));
            if fewest < alpha {
                continue;
            }
            match Params::new(spec(alpha)) {
                Ok(_) => return Ok(spec(alpha)),
                Err(e) => refused = Some(e),
            }
        }
        Err(refused.unwrap_or_else(|| CkksError::Params("no levels".into())))
    }
}

impl BootstrapSpec {
    /// What [`ParamSpec::bootstrapping`] uses. `|I| > k` for fewer than one coefficient in 2^98; errors are below 2^-20
    /// for full slots at N = 2^16 (rms 2^-25), smaller for fewer slots.
    pub fn standard(scale_bits: u32) -> Self {
        Self {
            cts_levels: 3,
            stc_levels: 3,
            stc_bits: scale_bits.max(42),
            mod_bits: Modulus::MAX_BITS,
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
    /// 2^-13.3 for a constant vector of ones, which loses most ([`Distortion`](crate::Distortion)).
    pub fn compact(scale_bits: u32) -> Self {
        let ratio_bits = Modulus::MAX_BITS.saturating_sub(scale_bits).min(8);
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
    pub(crate) fn steps(&self) -> [usize; 3] {
        let arcsine = match self.arcsine_degree {
            1 => 0,
            3 => 2,
            _ => 3,
        };
        // The cosine is even: one squaring, then a polynomial of half the degree.
        let interpolant = 1 + (self.degree / 2 + 1).next_power_of_two().trailing_zeros() as usize;
        [interpolant, self.double_angle as usize, arcsine]
    }

    /// Primes divided out after every product of EvalMod, the last product first, when the primes from `lowest` up have
    /// these bits. The scale after the last one is `2^end`; every earlier one follows from `scale^2 / primes`.
    pub(crate) fn drops(&self, end: f64, mut bits: impl FnMut(usize) -> f64, lowest: usize) -> (Vec<usize>, f64) {
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
            while count == 0 || (scale + dropped) / 2.0 < f64::from(least) {
                dropped += bits(level + count);
                count += 1;
            }
            level += count;
            scale = (scale + dropped) / 2.0;
            drops.push(count);
        }
        (drops, scale)
    }

    /// log2 of the scale at which EvalMod ends.
    pub(crate) fn end_bits(&self) -> f64 {
        f64::from(self.mod_bits)
    }

    /// Primes that EvalMod consumes.
    pub fn mod_primes(&self) -> u32 {
        self.drops(self.end_bits(), |_| f64::from(self.mod_bits), 0).0.iter().sum::<usize>() as u32
    }

    /// All levels that a bootstrap consumes above its output level.
    pub fn levels(&self) -> u32 {
        self.cts_levels + self.mod_primes() + self.stc_levels
    }
}

#[derive(Debug, PartialEq)]
struct Inner {
    spec: ParamSpec,
    /// `q_0..`, programs' levels first, then those of bootstrapping.
    q: Vec<u64>,
    p: Vec<u64>,
    /// Canonical scale per level.
    scales: Vec<f64>,
    digest: Digest,
}

/// A prime chain with its canonical scales. Cheap to clone.
///
/// A ciphertext at level `l` has the limbs `q_0..=q_l`. Scale `S_L = 2^scale_bits` at the top level `L` of programs,
/// `S_(l-1) = S_l^2 / q_l` below it, with `q_l` the unused prime nearest to `S_l^2 / 2^scale_bits`: every scale stays
/// next to `2^scale_bits` and a product rescaled is exactly at the scale of its new level (Kim, Papadimitriou,
/// Polyakov, Approximate Homomorphic Encryption with Reduced Approximation Error, 2022, with the primes chosen from
/// the top).
#[derive(Clone, PartialEq)]
pub struct Params {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Params").field("spec", &self.inner.spec).field("digest", &self.inner.digest).finish()
    }
}

impl Params {
    /// Chooses the primes of `spec` and passes them through the security gate.
    ///
    /// # Errors
    /// A field out of range, too few primes of the wanted size, or [`CkksError::Security`].
    pub fn new(spec: ParamSpec) -> Result<Self> {
        validate(&spec)?;
        let mut used = Vec::new();
        let mut take = |target: f64| -> Result<u64> {
            let q = nearest_ntt_prime(spec.log_n, target.round() as u64, &used)?;
            used.push(q);
            Ok(q)
        };
        let target = 2f64.powi(spec.scale_bits as i32);
        let levels = spec.levels as usize;
        let (mut q, mut scales) = (vec![0; levels + 1], vec![target; levels + 1]);
        for l in (1..=levels).rev() {
            q[l] = take(scales[l] * scales[l] / target)?;
            scales[l - 1] = scales[l] * scales[l] / q[l] as f64;
        }
        q[0] = take(2f64.powi(spec.first_bits as i32))?;
        if let Some(b) = &spec.bootstrap {
            for l in 0..b.levels() {
                let bits = if l < b.stc_levels { b.stc_bits } else { b.mod_bits };
                q.push(take(2f64.powi(bits as i32))?);
                // Bootstrapping tracks its own scales; what a program would see there is never used.
                scales.push(target);
            }
        }
        let p = (0..spec.alpha).map(|_| take(2f64.powi(spec.special_bits as i32))).collect::<Result<Vec<_>>>()?;
        let largest = q.iter().copied().max().unwrap_or(0);
        if p.iter().any(|&p| (p as f64) < largest as f64 * 0.98) {
            return Err(CkksError::Params("special primes must not be smaller than the other primes".into()));
        }
        let log2 = |primes: &[u64]| primes.iter().map(|&q| (q as f64).log2()).sum::<f64>();
        if !spec.insecure {
            security::check(spec.log_n, log2(&q) + log2(&p))?;
            if let Some(b) = spec.bootstrap.as_ref().filter(|b| b.sparse_weight > 0) {
                security::check_sparse(spec.log_n, b.sparse_weight, log2(&q[..1]) + log2(&p[..1]))?;
            }
        }
        let mut hasher = blake3::Hasher::new_derive_key("fhec-ckks parameters v1");
        for number in
            [u64::from(spec.log_n), u64::from(spec.scale_bits), u64::from(spec.insecure), u64::from(spec.levels)]
        {
            hasher.update(&number.to_le_bytes());
        }
        for primes in [&q, &p] {
            hasher.update(&(primes.len() as u64).to_le_bytes());
            primes.iter().for_each(|q| {
                hasher.update(&q.to_le_bytes());
            });
        }
        if let Some(b) = &spec.bootstrap {
            for field in [b.cts_levels, b.stc_levels, b.k, b.degree, b.double_angle, b.arcsine_degree, b.sparse_weight]
            {
                hasher.update(&field.to_le_bytes());
            }
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Ok(Self { inner: Arc::new(Inner { spec, q, p, scales, digest: Digest(digest) }) })
    }

    /// What the chain was built from.
    pub fn spec(&self) -> &ParamSpec {
        &self.inner.spec
    }

    /// Base-two logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.inner.spec.log_n
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        1 << self.inner.spec.log_n
    }

    /// N/2, the most slots of a ciphertext.
    pub fn max_slots(&self) -> usize {
        self.n() / 2
    }

    /// The highest level L of programs.
    pub fn max_level(&self) -> usize {
        self.inner.spec.levels as usize
    }

    /// The highest level of the chain: [`max_level`](Self::max_level) plus the levels of bootstrapping.
    pub fn top_level(&self) -> usize {
        self.inner.q.len() - 1
    }

    /// `q_0..=q_top`.
    pub fn q(&self) -> &[u64] {
        &self.inner.q
    }

    /// The special primes.
    pub fn p(&self) -> &[u64] {
        &self.inner.p
    }

    /// The canonical scale of `level`.
    ///
    /// # Panics
    /// When `level` exceeds [`max_level`](Self::max_level).
    pub fn scale(&self, level: usize) -> f64 {
        assert!(level <= self.max_level(), "canonical scales end at the highest program level");
        self.inner.scales[level]
    }

    /// log2 of the product of all primes with the special ones.
    pub fn log_qp(&self) -> f64 {
        self.inner.q.iter().chain(&self.inner.p).map(|&q| (q as f64).log2()).sum()
    }

    /// log2 of a bound on the probability that one of `bootstraps` bootstraps of `slots` slots removes the wrong multiple of
    /// `q_0` from a coefficient, after which all slots are garbage; `None` without bootstrapping. At most 0; what cannot
    /// happen is given as -1000.
    ///
    /// ```
    /// let params = fhec_ckks::Params::new(fhec_ckks::ParamSpec::bootstrapping(10, 42)?)?;
    /// assert!(params.bootstrap_failure(20, 1 << 14).is_some_and(|log2| log2 < fhec_ckks::MAX_FAILURE));
    /// # Ok::<(), fhec_ckks::CkksError>(())
    /// ```
    pub fn bootstrap_failure(&self, bootstraps: u64, slots: usize) -> Option<f64> {
        let spec = self.inner.spec.bootstrap.as_ref()?;
        // EvalMod runs once, on as many coefficients as there are slots.
        Some(failure::bound(spec, self.n(), bootstraps as f64 * slots as f64))
    }

    /// Whether the parameters were admitted below 128-bit security.
    pub fn is_insecure(&self) -> bool {
        self.inner.spec.insecure
    }

    /// Digest of everything that decides whether two objects can meet in one operation.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// Special primes (and limbs per digit) of a key made for `level`: the `level + 1` limbs are split into as few
    /// digits as [`ParamSpec::alpha`] allows, of nearly equal size.
    pub fn key_alpha(&self, level: usize) -> usize {
        let limbs = level + 1;
        let digits = limbs.div_ceil(self.inner.p.len());
        limbs.div_ceil(digits)
    }

    /// Bytes of a key for `level` in memory (both halves expanded).
    pub fn key_bytes(&self, level: usize) -> usize {
        let alpha = self.key_alpha(level);
        (level + 1).div_ceil(alpha) * (level + 1 + alpha) * self.n() * 16
    }

    /// Bytes of a key for `level` in a file: one half, every residue in the bits of its prime, and the seed of the other.
    pub fn stored_key_bytes(&self, level: usize) -> usize {
        let alpha = self.key_alpha(level);
        let primes = self.q()[..=level].iter().chain(&self.p()[..alpha]);
        let row: usize = primes.map(|&q| packed_limb_len(bits_of(q), self.n())).sum();
        (level + 1).div_ceil(alpha) * row + size_of::<Seed>()
    }

    /// Refuses slot counts other than powers of two up to N/2.
    pub(crate) fn check_slots(&self, op: &'static str, slots: usize) -> Result<()> {
        if slots.is_power_of_two() && slots <= self.max_slots() {
            return Ok(());
        }
        Err(CkksError::Slots { op, found: slots, wanted: format!("a power of two up to {}", self.max_slots()) })
    }

    /// Refuses a digest that is not this one's.
    pub(crate) fn check_digest(&self, what: &'static str, found: Digest) -> Result<()> {
        if found == self.digest() {
            Ok(())
        } else {
            Err(CkksError::ParamsMismatch { what, found, expected: self.digest() })
        }
    }
}

fn validate(spec: &ParamSpec) -> Result<()> {
    let within = |name: &str, value: u32, low: u32, high: u32| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(CkksError::Params(format!("{name} is {value}, but must be in {low}..={high}")))
        }
    };
    within("log_n", spec.log_n, if spec.insecure { 4 } else { 10 }, 17)?;
    // Below 20 bits no precision is left; a scale above 49 bits leaves no prime near it.
    within("scale_bits", spec.scale_bits, 20, 49)?;
    within("first_bits", spec.first_bits, spec.scale_bits, Modulus::MAX_BITS)?;
    within("levels", spec.levels, 0, 80)?;
    within("alpha", spec.alpha, 1, 24)?;
    within("special_bits", spec.special_bits, spec.first_bits, Modulus::MAX_BITS)?;
    if let Some(b) = &spec.bootstrap {
        within("cts_levels", b.cts_levels, 1, 6)?;
        within("stc_levels", b.stc_levels, 1, 6)?;
        within("stc_bits", b.stc_bits, 30, spec.special_bits)?;
        within("mod_bits", b.mod_bits, 30, spec.special_bits)?;
        within("mod_scale_bits", b.mod_scale_bits, 30, 80)?;
        within("sum_scale_bits", b.sum_scale_bits, 30, 80)?;
        within("k", b.k, 2, 1024)?;
        within("degree", b.degree, 6, 254)?;
        within("ratio_bits", b.ratio_bits, 2, spec.first_bits - spec.scale_bits)?;
        within("double_angle", b.double_angle, 0, 6)?;
        within("sparse_weight", b.sparse_weight, 0, 1 << spec.log_n)?;
        if ![1, 3, 7].contains(&b.arcsine_degree) || !b.degree.is_multiple_of(2) {
            return Err(CkksError::Params("arcsine_degree must be 1, 3 or 7, and degree even".into()));
        }
        // A bootstrap that fails is garbage, so no mark admits it.
        let n = 1usize << spec.log_n;
        let log2 = failure::bound(b, n, n as f64 / 2.0);
        if log2 > MAX_FAILURE {
            let (k, weight, least_k) = (b.k, b.sparse_weight, failure::least_k(b, n));
            return Err(CkksError::Failure { k, weight, log2, limit: MAX_FAILURE, least_k });
        }
    }
    Ok(())
}

/// The stored form: the spec, and the primes it gave when it was written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    spec: ParamSpec,
    q: Vec<u64>,
    p: Vec<u64>,
}

impl Serialize for Params {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let i = &*self.inner;
        Stored { spec: i.spec.clone(), q: i.q.clone(), p: i.p.clone() }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let stored = Stored::deserialize(d)?;
        let params = Params::new(stored.spec).map_err(serde::de::Error::custom)?;
        if (params.q(), params.p()) != (&stored.q[..], &stored.p[..]) {
            return Err(serde::de::Error::custom("the stored primes are not those of the stored spec"));
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn spec(log_n: u32, levels: u32) -> ParamSpec {
        ParamSpec {
            log_n,
            first_bits: 50,
            scale_bits: 40,
            levels,
            alpha: 3,
            special_bits: 50,
            bootstrap: None,
            insecure: false,
        }
    }

    #[test]
    fn scales_stay_next_to_the_target() {
        let params = Params::new(spec(15, 15)).unwrap();
        for l in 0..=15 {
            assert!((params.scale(l).log2() - 40.0).abs() < 2e-5, "{l}: {}", params.scale(l).log2());
            if l > 0 {
                assert_eq!(params.scale(l - 1), params.scale(l) * params.scale(l) / params.q()[l] as f64);
            }
        }
        let mut all: Vec<u64> = params.q().iter().chain(params.p()).copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 19);
    }

    #[test]
    fn the_gate_quotes_its_numbers() {
        let error = Params::new(spec(14, 15)).unwrap_err();
        assert!(
            matches!(error, CkksError::Security { log_n: 14, limit, needed: 15, .. } if Some(limit) == fhec_security::max_log_qp(14)),
            "{error}"
        );
        assert!(error.to_string().contains("800.0 bits at N = 2^14"), "{error}");
        let lifted = Params::new(ParamSpec { insecure: true, ..spec(14, 15) }).unwrap();
        assert!(lifted.is_insecure());
        let bad = ParamSpec { scale_bits: 50, ..spec(14, 3) };
        assert!(matches!(Params::new(bad), Err(CkksError::Params(_))));
    }

    #[test]
    fn stored_parameters_come_back_and_forged_primes_do_not() {
        let params = Params::new(ParamSpec { alpha: 2, ..spec(13, 1) }).unwrap();
        let text = serde_json::to_string(&params).unwrap();
        assert_eq!(serde_json::from_str::<Params>(&text).unwrap(), params);
        let forged = text.replace(&params.q()[1].to_string(), "12289");
        assert!(serde_json::from_str::<Params>(&forged).unwrap_err().to_string().contains("primes"));
        let lowered = text.replace("\"log_n\":13", "\"log_n\":12");
        assert!(serde_json::from_str::<Params>(&lowered).is_err());
    }

    #[test]
    fn an_interval_too_short_for_the_secret_is_refused() {
        let with = |k: u32, sparse_weight: u32, log_n: u32| {
            let bootstrap = BootstrapSpec { k, sparse_weight, ..BootstrapSpec::compact(42) };
            Params::new(ParamSpec {
                log_n,
                scale_bits: 42,
                bootstrap: Some(bootstrap),
                insecure: true,
                ..spec(log_n, 3)
            })
        };
        for (k, weight, log_n) in [(14, 32, 16), (14, 64, 16), (8, 32, 10), (40, 0, 10)] {
            let error = with(k, weight, log_n).unwrap_err();
            let CkksError::Failure { least_k, log2, .. } = error.clone() else { panic!("{error}") };
            assert!(log2 > MAX_FAILURE && error.to_string().contains(&format!("k = {k} is too small")), "{error}");
            assert!(with(least_k - 1, weight, log_n).is_err());
            assert!(with(least_k, weight, log_n).unwrap().bootstrap_failure(1, 1 << (log_n - 1)) <= Some(MAX_FAILURE));
        }
        for preset in [BootstrapSpec::standard(42), BootstrapSpec::compact(40), BootstrapSpec::compact(45)] {
            let params = Params::new(ParamSpec::with_bootstrap(5, 40, preset).unwrap()).unwrap();
            let whole = params.bootstrap_failure(1 << 10, 1 << 15).unwrap();
            assert!(whole < MAX_FAILURE, "a thousand bootstraps of full slots: 2^{whole:.1}");
        }
    }

    #[test]
    fn key_digits_are_balanced() {
        let params = Params::new(ParamSpec { alpha: 7, insecure: true, ..spec(12, 25) }).unwrap();
        assert_eq!([25, 13, 7, 5, 0].map(|l| params.key_alpha(l)), [7, 7, 4, 6, 1]);
    }
}
