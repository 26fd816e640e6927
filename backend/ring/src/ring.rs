//! The tables of one prime chain.

use crate::automorphism::Automorphism;
use crate::error::RingError;
use crate::isa::Isa;
use crate::limb::Limb;
use crate::modulus::Modulus;
use crate::ntt::Ntt;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// `Z_q[X]/(X^N + 1)` for every prime of a chain, with the transforms and automorphisms of one instruction set.
#[derive(Debug)]
pub struct Ring {
    log_n: u32,
    isa: Isa,
    moduli: Vec<Modulus>,
    ntts: Vec<Ntt>,
    automorphisms: RwLock<BTreeMap<u64, Arc<Automorphism>>>,
}

impl Ring {
    /// Largest supported `log_n`.
    pub const MAX_LOG_N: u32 = 17;

    /// Builds the tables of `primes` (distinct, `= 1 mod 2N`, below 2^50) for ring degree `N = 2^log_n`,
    /// `1 <= log_n <= 17`. An instruction set that this machine lacks is lowered to one it has.
    ///
    /// # Errors
    /// A degree out of range, a prime given twice, or a number that is no such prime.
    pub fn new(log_n: u32, primes: &[u64], isa: Isa) -> Result<Self, RingError> {
        if !(1..=Self::MAX_LOG_N).contains(&log_n) {
            return Err(RingError::Degree(log_n));
        }
        let isa = isa.supported();
        let mut seen = std::collections::BTreeSet::new();
        if let Some(&q) = primes.iter().find(|&&q| !seen.insert(q)) {
            return Err(RingError::DuplicatePrime(q));
        }
        let moduli = primes.iter().map(|&q| Modulus::new(q)).collect::<Result<Vec<_>, _>>()?;
        let ntts = {
            use rayon::prelude::*;
            moduli.par_iter().map(|&m| Ntt::new(log_n, m, isa)).collect::<Result<Vec<_>, _>>()?
        };
        Ok(Self { log_n, isa, moduli, ntts, automorphisms: RwLock::default() })
    }

    /// Base-two logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// The ring degree `N`.
    pub fn n(&self) -> usize {
        1 << self.log_n
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// All moduli of the chain, in the order given.
    pub fn moduli(&self) -> &[Modulus] {
        &self.moduli
    }

    /// Modulus `i`.
    pub fn modulus(&self, i: usize) -> Modulus {
        self.moduli[i]
    }

    /// The transform of prime `i`.
    pub fn ntt(&self, i: usize) -> &Ntt {
        &self.ntts[i]
    }

    /// All kernels of prime `i`.
    pub fn limb(&self, i: usize) -> Limb<'_> {
        Limb::new(&self.ntts[i])
    }

    /// The odd `e` such that position `position` of the evaluation form holds the value at `psi^e`.
    pub fn exponent(&self, position: usize) -> u64 {
        2 * (position.reverse_bits() >> (usize::BITS - self.log_n)) as u64 + 1
    }

    /// The position that holds the value at `psi^exponent` (odd; taken modulo `2N`).
    pub fn position(&self, exponent: u64) -> usize {
        let k = (exponent >> 1) as usize & (self.n() - 1);
        k.reverse_bits() >> (usize::BITS - self.log_n)
    }

    /// The automorphism `X -> X^g`, `g` odd (taken modulo `2N`); built once and kept.
    ///
    /// # Errors
    /// `g` is even.
    pub fn automorphism(&self, g: u64) -> Result<Arc<Automorphism>, RingError> {
        let g_reduced = g & (2 * self.n() as u64 - 1);
        if g_reduced.is_multiple_of(2) {
            return Err(RingError::AutomorphismExponent(g));
        }
        if let Some(a) = self.automorphisms.read().unwrap_or_else(PoisonError::into_inner).get(&g_reduced) {
            return Ok(a.clone());
        }
        let built = Arc::new(Automorphism::new(self, g_reduced));
        let mut cache = self.automorphisms.write().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.entry(g_reduced).or_insert(built).clone())
    }
}
