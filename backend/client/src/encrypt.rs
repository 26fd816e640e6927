//! Encrypts with the secret key, which takes half the bytes, or with a public key.

use crate::random::Randomness;
use crate::secret::SecretKey;
use fhec_ckks::{Ciphertext, CkksError, Context, Plaintext, Result, Role, Seed, ShortDigest};
use fhec_ring::RnsPoly;
use rayon::prelude::*;
use zeroize::Zeroizing;

impl SecretKey {
    /// Encrypts real slots (a power of two of them, up to N/2) at `level`. The uniform part is a seed.
    ///
    /// # Errors
    /// What [`Context::encode`] refuses, or a key of other parameters.
    pub fn encrypt(&self, ctx: &Context, slots: &[f64], level: usize, random: &mut Randomness) -> Result<Ciphertext> {
        self.encrypt_plain(ctx, &ctx.encode(slots, Role::Term { level, sd: 1 })?, random)
    }

    /// Encrypts a plaintext encoded as [`Role::Term`] of scale degree 1.
    ///
    /// # Errors
    /// A plaintext encoded for something else, or a key of other parameters.
    pub fn encrypt_plain(&self, ctx: &Context, plain: &Plaintext, random: &mut Randomness) -> Result<Ciphertext> {
        self.check(ctx)?;
        let level = term_level(plain)?;
        let (ring, n) = (ctx.ring(), ctx.params().n());
        let (seed, errors) = (random.seed(), random.errors(n));
        let mut c0 = RnsPoly::unspecified(n, level + 1);
        c0.par_limbs_mut().enumerate().for_each(|(i, out)| {
            let limb = ring.limb(i);
            // It will hold the message, and the uniform part times the secret.
            let mut buffer = Zeroizing::new(vec![0; n]);
            limb.reduce_signed(&errors, out);
            limb.forward(out);
            limb.add_assign(out, ctx.plain_limb(plain, i, &mut buffer));
            ctx.expand_limb(&seed, 0, i, &mut buffer);
            limb.mul_assign(&mut buffer, self.limb(i));
            limb.sub_assign(out, &buffer);
        });
        Ciphertext::from_seeded(ctx, c0, seed, plain.slots(), self.id())
    }
}

fn term_level(plain: &Plaintext) -> Result<usize> {
    match plain.role() {
        Role::Term { level, sd: 1 } => Ok(level),
        Role::Term { sd, .. } => Err(CkksError::ScaleDegree { op: "encrypt", found: sd, wanted: 1 }),
        Role::Factor { .. } => {
            Err(CkksError::Format { what: "encrypt", reason: "the plaintext was encoded as a factor".into() })
        }
    }
}

/// Lets others encrypt for the owner of the secret key.
#[derive(Debug, Clone)]
pub struct PublicKey {
    b: RnsPoly,
    a: RnsPoly,
    params: ShortDigest,
    id: ShortDigest,
}

impl PublicKey {
    /// A public key for encryption at levels up to the highest of programs.
    ///
    /// # Errors
    /// A secret key of other parameters.
    pub fn generate(ctx: &Context, secret: &SecretKey, random: &mut Randomness) -> Result<Self> {
        secret.check(ctx)?;
        let seed: Seed = random.seed();
        let errors = random.errors(ctx.params().n());
        let (ring, n, limbs) = (ctx.ring(), ctx.params().n(), ctx.params().max_level() + 1);
        let (mut a, mut b) = (RnsPoly::unspecified(n, limbs), RnsPoly::unspecified(n, limbs));
        a.par_limbs_mut().zip(b.par_limbs_mut()).enumerate().for_each(|(i, (a, b))| {
            let limb = ring.limb(i);
            ctx.expand_limb(&seed, 0, i, a);
            limb.reduce_signed(&errors, b);
            limb.forward(b);
            let mut product = Zeroizing::new(a.to_vec());
            limb.mul_assign(&mut product, secret.limb(i));
            limb.sub_assign(b, &product);
        });
        Ok(Self { b, a, params: ctx.params().digest(), id: secret.id() })
    }

    /// Its polynomials `(b, a)`, of which `b + a s` is a small error: modulo the primes of programs, in evaluation form.
    pub fn halves(&self) -> [&RnsPoly; 2] {
        [&self.b, &self.a]
    }

    /// Encrypts real slots at `level`.
    ///
    /// # Errors
    /// As [`SecretKey::encrypt`].
    pub fn encrypt(&self, ctx: &Context, slots: &[f64], level: usize, random: &mut Randomness) -> Result<Ciphertext> {
        if self.params != ctx.params().digest() {
            let (found, expected) = (self.params, ctx.params().digest());
            return Err(CkksError::ParamsMismatch { what: "the public key", found, expected });
        }
        let plain = ctx.encode(slots, Role::Term { level, sd: 1 })?;
        let (ring, n) = (ctx.ring(), ctx.params().n());
        let mask = random.ternary(n);
        let errors = [random.errors(n), random.errors(n)];
        let parts = [&self.b, &self.a].into_iter().zip(&errors).enumerate().map(|(part, (key, errors))| {
            let mut out = RnsPoly::unspecified(n, level + 1);
            out.par_limbs_mut().enumerate().for_each(|(i, out)| {
                let limb = ring.limb(i);
                // It will hold an error, and the message.
                let mut buffer = Zeroizing::new(vec![0; n]);
                limb.reduce_signed(&mask, out);
                limb.forward(out);
                limb.mul_assign(out, key.limb(i));
                limb.reduce_signed(errors, &mut buffer);
                limb.forward(&mut buffer);
                limb.add_assign(out, &buffer);
                if part == 0 {
                    limb.add_assign(out, ctx.plain_limb(&plain, i, &mut buffer));
                }
            });
            out
        });
        Ciphertext::from_parts(ctx, parts.collect(), 1, plain.slots(), self.id)
    }
}
