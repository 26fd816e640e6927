//! Ciphertexts and their bytes.

mod bytes;

pub use bytes::{
    CiphertextFile, CiphertextInfo, ciphertexts_from_bytes, ciphertexts_to_bytes, read_ciphertexts, write_ciphertexts,
};

use crate::context::Context;
use crate::error::{CkksError, Result, ShortDigest};
use crate::sample::Seed;
use fhec_ring::RnsPoly;
use rayon::prelude::*;

/// An encrypted vector: `parts[0] + parts[1] s (+ parts[2] s^2)` decrypts to the message at the scale of its level.
///
/// The parts are in evaluation form with `level + 1` limbs. The scale is `S_level^sd`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ciphertext {
    pub(crate) parts: Vec<RnsPoly>,
    pub(crate) level: usize,
    pub(crate) sd: u8,
    pub(crate) slots: usize,
    pub(crate) params: ShortDigest,
    pub(crate) key: ShortDigest,
    /// The seed of `parts[1]`, as long as nothing was computed on a fresh ciphertext.
    pub(crate) seed: Option<Seed>,
}

impl Ciphertext {
    /// A fresh ciphertext at `level`: the masked message `c0` in evaluation form, the uniform part given by its seed.
    ///
    /// # Errors
    /// When `c0` has not `level + 1` limbs of N residues.
    pub fn from_seeded(ctx: &Context, c0: RnsPoly, seed: Seed, slots: usize, key: ShortDigest) -> Result<Self> {
        let level = check_parts(ctx, std::slice::from_ref(&c0))?;
        ctx.check_slots("encrypt", slots)?;
        let mut c1 = RnsPoly::unspecified(ctx.params().n(), level + 1);
        c1.par_limbs_mut().enumerate().for_each(|(i, limb)| ctx.expand_limb(&seed, 0, i, limb));
        let params = ctx.params().digest();
        Ok(Self { parts: vec![c0, c1], level, sd: 1, slots, params, key, seed: Some(seed) })
    }

    /// A ciphertext from its parts.
    ///
    /// # Errors
    /// When there are not 2 or 3 parts of equal size, or the scale degree or slots are not possible.
    pub fn from_parts(ctx: &Context, parts: Vec<RnsPoly>, sd: u8, slots: usize, key: ShortDigest) -> Result<Self> {
        let level = check_parts(ctx, &parts)?;
        ctx.check_slots("ciphertext", slots)?;
        if !(2..=3).contains(&parts.len()) {
            return Err(CkksError::Parts { op: "ciphertext", found: parts.len(), wanted: 2 });
        }
        if !(1..=2).contains(&sd) {
            return Err(CkksError::ScaleDegree { op: "ciphertext", found: sd, wanted: 1 });
        }
        Ok(Self { parts, level, sd, slots, params: ctx.params().digest(), key, seed: None })
    }

    /// The level.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Degree of the scale: the scale is `S_level^sd`.
    pub fn scale_degree(&self) -> u8 {
        self.sd
    }

    /// Slots it was encrypted for.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The polynomials.
    pub fn parts(&self) -> &[RnsPoly] {
        &self.parts
    }

    /// Digest of the parameters.
    pub fn params_digest(&self) -> ShortDigest {
        self.params
    }

    /// Id of the secret key it was made under.
    pub fn key_id(&self) -> ShortDigest {
        self.key
    }

    /// What a file would say of it.
    pub fn info(&self) -> CiphertextInfo {
        CiphertextInfo {
            key: self.key,
            level: self.level,
            sd: self.sd,
            slots: self.slots,
            parts: self.parts.len(),
            seeded: self.seed.is_some(),
        }
    }

    /// Bytes of its polynomials in memory.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|p| p.as_slice().len() * 8).sum()
    }
}

/// The level of polynomials of equal, possible size.
fn check_parts(ctx: &Context, parts: &[RnsPoly]) -> Result<usize> {
    let limbs = parts.first().map_or(0, RnsPoly::limb_count);
    if limbs == 0 || parts.iter().any(|p| p.limb_count() != limbs || p.n() != ctx.params().n()) {
        return Err(CkksError::Format { what: "ciphertext", reason: "parts of unequal or zero size".into() });
    }
    if limbs > ctx.params().q().len() {
        return Err(CkksError::Level { op: "ciphertext", level: limbs - 1, max: ctx.params().top_level() });
    }
    Ok(limbs - 1)
}
