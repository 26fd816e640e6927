//! Seeds of secret keys are encrypted under a passphrase.
//!
//! scrypt (RFC 7914) makes a key of the passphrase and a salt, ChaCha20-Poly1305 (RFC 8439) encrypts the seed under it. What
//! the file says in the clear, the salt among it, is authenticated with the seed.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use fhec_ckks::{CkksError, Result, Seed, ShortDigest};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::random::Randomness;

/// Work of a new file: 2^17 blocks, which takes 128 MiB and some tenths of a second.
const LOG_N: u8 = 17;
/// The most work that a file may ask for: 1 GiB and a few seconds.
const MAX_LOG_N: u8 = 20;
/// scrypt's block size, in units of 128 bytes.
const R: u32 = 8;
/// scrypt's parallelism.
const P: u32 = 1;
const TAG_BYTES: usize = 16;
/// A seed and its tag.
pub(crate) const SEALED_BYTES: usize = size_of::<Seed>() + TAG_BYTES;

/// What a secret key's file is encrypted with: bytes of which there is at least one. Wiped from memory when dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// The passphrase of these bytes, taken as they are; `None` if there are none.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self(bytes))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passphrase").finish_non_exhaustive()
    }
}

/// Two passphrases are compared when one is typed twice, by the person who knows both.
impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Why an encrypted key file gives no key.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PassphraseError {
    /// The file holds its key in the clear.
    #[error("the secret key is not encrypted, and a passphrase was given")]
    NotEncrypted,
    /// Another passphrase than the file was written with, or a file that was changed.
    #[error("the passphrase is wrong, or the file was changed")]
    Wrong,
    /// The key, whatever the passphrase.
    #[error(transparent)]
    Engine(#[from] CkksError),
}

/// How the passphrase of one file becomes a key, as its manifest says it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scrypt {
    salt: ShortDigest,
    log_n: u8,
}

impl Scrypt {
    /// Of a new file.
    pub fn new() -> Result<Self> {
        Ok(Self { salt: ShortDigest(Randomness::system()?.nonce()), log_n: LOG_N })
    }

    /// What is wrong with the work that it asks for, if anything is.
    pub fn refusal(&self) -> Option<String> {
        let Self { log_n, .. } = *self;
        let refused = !(1..=MAX_LOG_N).contains(&log_n);
        refused.then(|| format!("it asks for 2^{log_n} blocks of scrypt, and 2^1 to 2^{MAX_LOG_N} are accepted"))
    }

    /// The seed encrypted, with its tag; `clear` is authenticated with it.
    pub fn seal(&self, passphrase: &Passphrase, clear: &[u8], seed: &Seed) -> Result<[u8; SEALED_BYTES]> {
        let mut out = Zeroizing::new([0; SEALED_BYTES]);
        let (body, end) = out.split_at_mut(size_of::<Seed>());
        body.copy_from_slice(seed);
        let cipher = self.cipher(passphrase)?;
        let tag = cipher.encrypt_inout_detached(&nonce(), clear, body.into()).map_err(unusable)?;
        end.copy_from_slice(&tag);
        Ok(*out)
    }

    /// The seed of [`Scrypt::seal`].
    pub fn open(
        &self,
        passphrase: &Passphrase,
        clear: &[u8],
        sealed: &[u8; SEALED_BYTES],
    ) -> std::result::Result<Zeroizing<Seed>, PassphraseError> {
        let (body, end) = sealed.split_at(size_of::<Seed>());
        let mut seed = Zeroizing::new(Seed::default());
        seed.copy_from_slice(body);
        let tag = Tag::try_from(end).map_err(unusable)?;
        let cipher = self.cipher(passphrase)?;
        match cipher.decrypt_inout_detached(&nonce(), clear, (&mut seed[..]).into(), &tag) {
            Ok(()) => Ok(seed),
            Err(_) => Err(PassphraseError::Wrong),
        }
    }

    fn cipher(&self, passphrase: &Passphrase) -> Result<ChaCha20Poly1305> {
        let params = scrypt::Params::new(self.log_n, R, P).map_err(unusable)?;
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(&passphrase.0, &self.salt.0, &params, &mut key[..]).map_err(unusable)?;
        ChaCha20Poly1305::new_from_slice(&key[..]).map_err(unusable)
    }
}

/// The salt makes a key that encrypts one seed and nothing else: its nonce need not differ from any other.
fn nonce() -> Nonce {
    Nonce::default()
}

fn unusable(e: impl std::fmt::Display) -> CkksError {
    CkksError::Format { what: "passphrase", reason: e.to_string() }
}
