//! Decryption.

use crate::secret::SecretKey;
use crate::wiped::Wiped;
use fhec_ckks::{Ciphertext, CkksError, Context, Result, Role};
use zeroize::Zeroizing;

/// The slots of a decrypted ciphertext, wiped when dropped.
///
/// They carry the noise of the computation, which depends on the secret key: who publishes decrypted values to others
/// should round them first (Li and Micciancio, On the Security of Homomorphic Encryption on Approximate Numbers, 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Decrypted {
    /// Real parts.
    pub re: Zeroizing<Vec<f64>>,
    /// Imaginary parts; for real data, noise alone.
    pub im: Zeroizing<Vec<f64>>,
}

impl SecretKey {
    /// Decrypts. The ciphertext of another secret gives noise, not an error; [`owns`](Self::owns) tells.
    ///
    /// # Errors
    /// A ciphertext or key of other parameters.
    pub fn decrypt(&self, ctx: &Context, ct: &Ciphertext) -> Result<Decrypted> {
        self.check(ctx)?;
        if ct.params_digest() != ctx.params().digest() {
            let (found, expected) = (ct.params_digest(), ctx.params().digest());
            return Err(CkksError::ParamsMismatch { what: "the ciphertext", found, expected });
        }
        let scale = ctx.plain_scale(Role::Term { level: ct.level(), sd: ct.scale_degree() })?;
        // The message is far below the product of these limbs.
        let limbs = (ct.level() + 1).min(1 + usize::from(ct.scale_degree()));
        let (ring, n) = (ctx.ring(), ctx.params().n());
        let mut message = Wiped::zero(n, limbs);
        for (i, out) in message.limbs_mut().enumerate() {
            let limb = ring.limb(i);
            // Horner: c_0 + s (c_1 + s c_2).
            for part in ct.parts().iter().rev() {
                limb.mul_assign(out, self.limb(i));
                limb.add_assign(out, part.limb(i));
            }
            limb.inverse(out);
        }
        let limbs: Vec<&[u64]> = message.limbs().collect();
        let (re, im) = ctx.decode(&limbs, ct.slots(), scale)?;
        Ok(Decrypted { re, im })
    }

    /// Whether a ciphertext was made under this secret.
    pub fn owns(&self, ct: &Ciphertext) -> bool {
        ct.key_id() == self.id()
    }
}
