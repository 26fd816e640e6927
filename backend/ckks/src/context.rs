//! The context holds everything that is computed once from the parameters.

use crate::encode::{Fft, Plaintext};
use crate::error::{CkksError, Result};
use crate::params::Params;
use fhec_ring::{Digits, Isa, KeySwitcher, ModDown, Ring, RingError, Scratch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Most sets of digits kept between operations.
const MAX_FREE: usize = 8;

/// The tables of one parameter set: transforms, encoding, key switching; and the arena of temporary buffers.
///
/// Shared by evaluators, encoders and the client. Work runs on the `rayon` pool the caller is in
/// (`ThreadPool::install`); results do not depend on its size.
#[derive(Debug)]
pub struct Context {
    params: Params,
    ring: Ring,
    fft: Fft,
    scratch: Scratch,
    subrings: Vec<OnceLock<std::result::Result<Ring, RingError>>>,
    digits: Mutex<Vec<Digits>>,
    switchers: Mutex<BTreeMap<(usize, usize), Arc<KeySwitcher>>>,
    rescalers: Vec<OnceLock<Arc<ModDown>>>,
}

impl Context {
    /// Builds the tables with the best kernels of this machine.
    ///
    /// # Errors
    /// As [`with_isa`](Self::with_isa).
    pub fn new(params: Params) -> Result<Arc<Self>> {
        Self::with_isa(params, Isa::detect())
    }

    /// Builds the tables for one instruction set (lowered to one the machine has).
    ///
    /// # Errors
    /// Primes over which no ring can be built.
    pub fn with_isa(params: Params, isa: Isa) -> Result<Arc<Self>> {
        let primes: Vec<u64> = params.q().iter().chain(params.p()).copied().collect();
        let ring = Ring::new(params.log_n(), &primes, isa)?;
        let fft = Fft::new(params.max_slots());
        let subrings = (0..params.log_n()).map(|_| OnceLock::new()).collect();
        let rescalers = (0..params.q().len()).map(|_| OnceLock::new()).collect();
        let (scratch, digits, switchers) = (Scratch::new(), Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { params, ring, fft, scratch, subrings, digits, switchers, rescalers }))
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The ring over `q_0..`, then the special primes.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The arena of temporary buffers.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    pub(crate) fn fft(&self) -> &Fft {
        &self.fft
    }

    /// Ring index of special prime `i`.
    pub fn special(&self, i: usize) -> usize {
        self.params.q().len() + i
    }

    /// Ring index of limb `limb` of a polynomial over the primes of `level` and the special primes.
    pub fn prime_index(&self, level: usize, limb: usize) -> usize {
        if limb <= level { limb } else { self.special(limb - level - 1) }
    }

    /// Tables for key switching at `level` with a key of `alpha` special primes.
    ///
    /// # Errors
    /// As [`KeySwitcher::new`].
    pub fn switcher(&self, level: usize, alpha: usize) -> Result<Arc<KeySwitcher>> {
        let mut cache = self.switchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache.get(&(level, alpha)) {
            return Ok(found.clone());
        }
        let special = self.special(0)..self.special(alpha);
        let built = Arc::new(KeySwitcher::new(&self.ring, level + 1, special, alpha)?);
        cache.insert((level, alpha), built.clone());
        Ok(built)
    }

    /// Tables to divide by `q_level`.
    pub(crate) fn rescaler(&self, level: usize) -> Result<&ModDown> {
        let slot = self.rescalers.get(level).filter(|_| level > 0).ok_or(CkksError::Level {
            op: "rescale",
            level,
            max: self.params.top_level(),
        })?;
        if let Some(found) = slot.get() {
            return Ok(found);
        }
        let keep: Vec<usize> = (0..level).collect();
        let built = Arc::new(ModDown::new(&self.ring, &keep, &[level])?);
        Ok(slot.get_or_init(|| built))
    }

    /// Digits to decompose into.
    pub(crate) fn take_digits(&self) -> Digits {
        self.digits.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Keeps digits for [`take_digits`](Self::take_digits).
    pub(crate) fn put_digits(&self, digits: Digits) {
        let mut free = self.digits.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE {
            free.push(digits);
        }
    }

    /// Residues of a plaintext modulo prime `index` of the ring, in evaluation form; `buffer` has N places.
    pub fn plain_limb<'a>(&self, plain: &'a Plaintext, index: usize, buffer: &'a mut [u64]) -> &'a [u64] {
        if let Some(evaluated) = plain.evaluated.as_ref().filter(|e| index < e.limb_count()) {
            return evaluated.limb(index);
        }
        self.coefficient_limb(&plain.coefficients, index, buffer);
        if plain.shift > 0 {
            let limb = self.ring.limb(index);
            let factor = limb.modulus().reduce_u64(1 << plain.shift);
            limb.mul_scalar_assign(buffer, factor);
        }
        buffer
    }

    /// Residues modulo prime `index`, in evaluation form, of the polynomial in `X^(N/len)` with these coefficients.
    ///
    /// Its values at the roots of `X^N + 1` are those at the roots of `Y^len + 1`, each `N/len` times in a row: the
    /// transform runs at the small size.
    pub(crate) fn coefficient_limb(&self, coefficients: &[i64], index: usize, out: &mut [u64]) {
        let gap = out.len() / coefficients.len();
        let small = self.ring_of(coefficients.len()).ok().filter(|_| gap > 1);
        if let Some(ring) = small {
            // In place, and spread from the end: coefficients may be a message, which must not stay in a lent buffer.
            let values = &mut out[..coefficients.len()];
            ring.limb(index).reduce_signed(coefficients, values);
            ring.limb(index).forward(values);
            for k in (0..coefficients.len()).rev() {
                let v = out[k];
                out[k * gap..(k + 1) * gap].fill(v);
            }
            return;
        }
        let limb = self.ring.limb(index);
        if gap == 1 {
            limb.reduce_signed(coefficients, out);
        } else {
            out.fill(0);
            let m = limb.modulus();
            for (slot, &c) in out.iter_mut().step_by(gap).zip(coefficients) {
                *slot = m.reduce_i64(c);
            }
        }
        limb.forward(out);
    }

    /// The same primes at ring degree `n`, a power of two up to N; built at first use.
    pub(crate) fn ring_of(&self, n: usize) -> Result<&Ring> {
        if n == self.ring.n() {
            return Ok(&self.ring);
        }
        let slot = self.subrings.get(n.trailing_zeros() as usize).filter(|_| n.is_power_of_two());
        let Some(slot) = slot else {
            return Err(CkksError::Params(format!("there is no subring of degree {n}")));
        };
        // A ring takes the least non-residue of every prime for its root, whatever its degree, so the roots of the
        // small ring are powers of those of the large one.
        let primes = || self.ring.moduli().iter().map(|m| m.value()).collect::<Vec<u64>>();
        if slot.get().is_none() {
            // Built outside the cell: building waits for other tasks of the pool, and one of them may come here too.
            let built = Ring::new(n.trailing_zeros(), &primes(), self.ring.isa());
            slot.get_or_init(|| built);
        }
        match slot.get() {
            Some(Ok(ring)) => Ok(ring),
            Some(Err(e)) => Err(e.clone().into()),
            None => Err(CkksError::Params(format!("there is no subring of degree {n}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_parameters::ParamSpec;

    #[test]
    fn sparse_polynomials_are_transformed_at_their_own_size() {
        let spec = ParamSpec {
            log_n: 8,
            first_bits: 45,
            scale_bits: 35,
            levels: 1,
            special: 1,
            special_bits: 50,
            bootstrap: None,
            insecure: true,
        };
        let ctx = Context::new(Params::new(spec).unwrap()).unwrap();
        for log in 1..=8 {
            let coefficients: Vec<i64> = (0..1 << log).map(|i| (i * i * 37 - 1000) % 777).collect();
            for index in 0..3 {
                let (mut found, mut expected) = (vec![1; 256], vec![0; 256]);
                ctx.coefficient_limb(&coefficients, index, &mut found);
                for (i, &c) in coefficients.iter().enumerate() {
                    expected[i << (8 - log)] = ctx.ring().modulus(index).reduce_i64(c);
                }
                ctx.ring().limb(index).forward(&mut expected);
                assert_eq!(found, expected, "{log} {index}");
            }
        }
    }
}
