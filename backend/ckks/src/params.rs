//! Parameters are the prime chain and the canonical scales that follow from it, behind the security gate.

use crate::bootstrap::{MAX_FAILURE, failure};
use crate::error::{CkksError, Result, ShortDigest};
use crate::packing::{bits_of, packed_limb_len};
use crate::sample::Seed;
use crate::security;
use fhec_parameters::{BootstrapSpec, Circuit, MAX_LEVELS, MAX_PRIME_BITS, ParamSpec};
use fhec_ring::{Modulus, nearest_ntt_prime};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

// The kernels of the ring bound the primes that compilers may ask for.
const _: () = assert!(MAX_PRIME_BITS == Modulus::MAX_BITS);

#[derive(Debug, PartialEq)]
struct PrimeChain {
    spec: ParamSpec,
    /// `q_0..`, programs' levels first, then those of bootstrapping.
    q: Vec<u64>,
    p: Vec<u64>,
    /// Canonical scale per level.
    scales: Vec<f64>,
    digest: ShortDigest,
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
    inner: Arc<PrimeChain>,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Params").field("spec", &self.inner.spec).field("digest", &self.inner.digest).finish()
    }
}

impl Params {
    /// The preset for programs with bootstrapping, `N = 2^16`, 128-bit security: `levels` levels of `scale_bits` (at most 45),
    /// [`Circuit::standard`], and as few key-switching digits as the security bound then leaves room for.
    ///
    /// ```
    /// let params = fhec_ckks::Params::bootstrapping(10, 42)?;
    /// assert_eq!((params.p().len(), params.max_level(), params.top_level()), (6, 10, 30));
    /// # Ok::<(), fhec_ckks::CkksError>(())
    /// ```
    ///
    /// # Errors
    /// [`CkksError::Security`] where so many levels do not fit.
    pub fn bootstrapping(levels: u32, scale_bits: u32) -> Result<Self> {
        Self::with_bootstrap(levels, scale_bits, Circuit::standard(scale_bits))
    }

    /// [`bootstrapping`](Self::bootstrapping) with another circuit:
    ///
    /// ```
    /// let params = fhec_ckks::Params::with_bootstrap(10, 42, fhec_ckks::Circuit::compact(42))?;
    /// assert_eq!((params.p().len(), params.top_level()), (9, 26));
    /// # Ok::<(), fhec_ckks::CkksError>(())
    /// ```
    ///
    /// # Errors
    /// As [`bootstrapping`](Self::bootstrapping).
    pub fn with_bootstrap(levels: u32, scale_bits: u32, circuit: Circuit) -> Result<Self> {
        let bootstrap = BootstrapSpec::from(circuit);
        let limbs = levels + 1 + bootstrap.levels;
        let spec = |special: u32| ParamSpec {
            log_n: 16,
            first_bits: Modulus::MAX_BITS,
            scale_bits,
            levels,
            special_bits: Modulus::MAX_BITS,
            special,
            bootstrap: Some(bootstrap.clone()),
            insecure: false,
        };
        let mut refused = None;
        for special in (2..=limbs.min(24)).rev() {
            // The same number of digits with the fewest special primes.
            let fewest = limbs.div_ceil(limbs.div_ceil(special));
            if fewest < special {
                continue;
            }
            match Self::new(spec(special)) {
                Ok(params) => return Ok(params),
                Err(e) => refused = Some(e),
            }
        }
        Err(refused.unwrap_or_else(|| CkksError::Params("no levels".into())))
    }

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
            for l in 0..b.levels {
                let bits = if l < b.circuit.stc_levels { b.circuit.stc_bits } else { b.circuit.mod_bits };
                q.push(take(2f64.powi(bits as i32))?);
                // Bootstrapping tracks its own scales; what a program would see there is never used.
                scales.push(target);
            }
        }
        let p = (0..spec.special).map(|_| take(2f64.powi(spec.special_bits as i32))).collect::<Result<Vec<_>>>()?;
        let largest = q.iter().copied().max().unwrap_or(0);
        if p.iter().any(|&p| (p as f64) < largest as f64 * 0.98) {
            return Err(CkksError::Params("special primes must not be smaller than the other primes".into()));
        }
        let log2 = |primes: &[u64]| primes.iter().map(|&q| (q as f64).log2()).sum::<f64>();
        if !spec.insecure {
            security::check(spec.log_n, log2(&q) + log2(&p))?;
            let weight = spec.bootstrap.as_ref().map_or(0, |b| b.circuit.sparse_weight);
            if weight > 0 {
                security::check_sparse(spec.log_n, weight, log2(&q[..1]) + log2(&p[..1]))?;
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
            let c = &b.circuit;
            for field in [c.cts_levels, c.stc_levels, c.k, c.degree, c.double_angle, c.arcsine_degree, c.sparse_weight]
            {
                hasher.update(&field.to_le_bytes());
            }
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Ok(Self { inner: Arc::new(PrimeChain { spec, q, p, scales, digest: ShortDigest(digest) }) })
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
    /// let params = fhec_ckks::Params::bootstrapping(10, 42)?;
    /// assert!(params.bootstrap_failure(20, 1 << 14).is_some_and(|log2| log2 < fhec_ckks::MAX_FAILURE));
    /// # Ok::<(), fhec_ckks::CkksError>(())
    /// ```
    pub fn bootstrap_failure(&self, bootstraps: u64, slots: usize) -> Option<f64> {
        let circuit = &self.inner.spec.bootstrap.as_ref()?.circuit;
        // EvalMod runs once, on as many coefficients as there are slots.
        Some(failure::bound(circuit, self.n(), bootstraps as f64 * slots as f64))
    }

    /// Whether the parameters were admitted below 128-bit security.
    pub fn is_insecure(&self) -> bool {
        self.inner.spec.insecure
    }

    /// Digest of everything that decides whether two objects can meet in one operation.
    pub fn digest(&self) -> ShortDigest {
        self.inner.digest
    }

    /// Special primes (and limbs per digit) of a key made for `level`: the `level + 1` limbs are split into as few
    /// digits as [`ParamSpec::special`] allows, of nearly equal size.
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
    pub(crate) fn check_digest(&self, what: &'static str, found: ShortDigest) -> Result<()> {
        if found == self.digest() {
            Ok(())
        } else {
            Err(CkksError::ParamsMismatch { what, found, expected: self.digest() })
        }
    }
}

fn within(name: &str, value: u32, low: u32, high: u32) -> Result<()> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(CkksError::Params(format!("{name} is {value}, but must be in {low}..={high}")))
    }
}

fn validate(spec: &ParamSpec) -> Result<()> {
    within("log_n", spec.log_n, if spec.insecure { 4 } else { 10 }, 17)?;
    // Below 20 bits no precision is left; a scale above 49 bits leaves no prime near it.
    within("scale_bits", spec.scale_bits, 20, 49)?;
    within("first_bits", spec.first_bits, spec.scale_bits, Modulus::MAX_BITS)?;
    within("levels", spec.levels, 0, MAX_LEVELS)?;
    within("special", spec.special, 1, 24)?;
    within("special_bits", spec.special_bits, spec.first_bits, Modulus::MAX_BITS)?;
    spec.bootstrap.as_ref().map_or(Ok(()), |bootstrap| validate_bootstrap(spec, bootstrap))
}

/// Refuses a circuit that cannot be built, that consumes other levels than stated, or whose bootstraps would fail too often.
fn validate_bootstrap(spec: &ParamSpec, bootstrap: &BootstrapSpec) -> Result<()> {
    let c = &bootstrap.circuit;
    within("cts_levels", c.cts_levels, 1, 6)?;
    within("stc_levels", c.stc_levels, 1, 6)?;
    within("stc_bits", c.stc_bits, 30, spec.special_bits)?;
    within("mod_bits", c.mod_bits, 30, spec.special_bits)?;
    within("mod_scale_bits", c.mod_scale_bits, 30, 80)?;
    within("sum_scale_bits", c.sum_scale_bits, 30, 80)?;
    within("k", c.k, 2, 1024)?;
    within("degree", c.degree, 6, 254)?;
    within("ratio_bits", c.ratio_bits, 2, spec.first_bits - spec.scale_bits)?;
    within("double_angle", c.double_angle, 0, 6)?;
    within("sparse_weight", c.sparse_weight, 0, 1 << spec.log_n)?;
    if ![1, 3, 7].contains(&c.arcsine_degree) || !c.degree.is_multiple_of(2) {
        return Err(CkksError::Params("arcsine_degree must be 1, 3 or 7, and degree even".into()));
    }
    let (stated, consumed) = (bootstrap.levels, c.levels());
    if stated != consumed {
        return Err(CkksError::Params(format!("a bootstrap consumes {consumed} levels, {stated} are stated")));
    }
    // A bootstrap that fails is garbage, so no mark admits it.
    let n = 1usize << spec.log_n;
    let log2 = failure::bound(c, n, n as f64 / 2.0);
    if log2 > MAX_FAILURE {
        let (k, weight, least_k) = (c.k, c.sparse_weight, failure::least_k(c, n));
        return Err(CkksError::Failure { k, weight, log2, limit: MAX_FAILURE, least_k });
    }
    Ok(())
}

/// The stored form: what the chain was built from, and the primes it gave when it was written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    spec: StoredSpec,
    q: Vec<u64>,
    p: Vec<u64>,
}

/// A [`ParamSpec`] as files of this engine hold it: in this order, the special primes under the name of their number in the
/// literature, and a circuit without the levels that follow from it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSpec {
    log_n: u32,
    first_bits: u32,
    scale_bits: u32,
    levels: u32,
    alpha: u32,
    special_bits: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bootstrap: Option<Circuit>,
    #[serde(default)]
    insecure: bool,
}

impl From<&ParamSpec> for StoredSpec {
    fn from(spec: &ParamSpec) -> Self {
        let ParamSpec { log_n, first_bits, scale_bits, levels, special_bits, special: alpha, insecure, .. } = *spec;
        let bootstrap = spec.bootstrap.as_ref().map(|b| b.circuit.clone());
        Self { log_n, first_bits, scale_bits, levels, alpha, special_bits, bootstrap, insecure }
    }
}

impl From<StoredSpec> for ParamSpec {
    fn from(stored: StoredSpec) -> Self {
        let StoredSpec { log_n, first_bits, scale_bits, levels, alpha: special, special_bits, bootstrap, insecure } =
            stored;
        let bootstrap = bootstrap.map(BootstrapSpec::from);
        Self { log_n, first_bits, scale_bits, levels, special_bits, special, bootstrap, insecure }
    }
}

impl Serialize for Params {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let i = &*self.inner;
        Stored { spec: (&i.spec).into(), q: i.q.clone(), p: i.p.clone() }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let stored = Stored::deserialize(d)?;
        let params = Params::new(stored.spec.into()).map_err(serde::de::Error::custom)?;
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
            special: 3,
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
            matches!(error, CkksError::Security { log_n: 14, limit, needed: 15, .. } if Some(limit) == fhec_parameters::max_log_qp(14)),
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
        let params = Params::new(ParamSpec { special: 2, ..spec(13, 1) }).unwrap();
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
            let circuit = Circuit { k, sparse_weight, ..Circuit::compact(42) };
            Params::new(ParamSpec {
                log_n,
                scale_bits: 42,
                bootstrap: Some(circuit.into()),
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
        for circuit in [Circuit::standard(42), Circuit::compact(40), Circuit::compact(45)] {
            let params = Params::with_bootstrap(5, 40, circuit).unwrap();
            let whole = params.bootstrap_failure(1 << 10, 1 << 15).unwrap();
            assert!(whole < MAX_FAILURE, "a thousand bootstraps of full slots: 2^{whole:.1}");
        }
    }

    #[test]
    fn key_digits_are_balanced() {
        let params = Params::new(ParamSpec { special: 7, insecure: true, ..spec(12, 25) }).unwrap();
        assert_eq!([25, 13, 7, 5, 0].map(|l| params.key_alpha(l)), [7, 7, 4, 6, 1]);
    }
}
