//! The secret key.

use crate::passphrase::{Passphrase, PassphraseError, SEALED_BYTES, Scrypt};
use crate::random::Randomness;
use crate::wiped::Wiped;
use fhec_ckks::{CkksError, Context, Result, Seed, ShortDigest};
use fhec_container::{Codec, Destination, Dtype, Reader, Writer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

const KIND: &str = "secret-key";
const VERSION: u32 = 1;

/// A dense ternary secret, stored as the 32-byte seed it is drawn from. Wiped from memory when dropped.
pub struct SecretKey {
    seed: Zeroizing<Seed>,
    /// Evaluation form modulo all primes of the ring, the special ones last.
    values: Wiped,
    params: ShortDigest,
    id: ShortDigest,
    /// Digest of the plan that it was made for.
    plan: Option<[u8; 32]>,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretKeyManifest {
    params: ShortDigest,
    insecure: bool,
    id: ShortDigest,
    /// Digest of the plan, as two halves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<[ShortDigest; 2]>,
    /// How a passphrase becomes the key that the seed is encrypted with, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scrypt: Option<Scrypt>,
}

impl SecretKeyManifest {
    fn plan(&self) -> Option<[u8; 32]> {
        let [low, high] = self.plan?;
        [low.0, high.0].concat().try_into().ok()
    }

    /// What is authenticated with an encrypted seed: all that the file says in the clear.
    fn clear(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(format)
    }
}

fn format(e: impl std::fmt::Display) -> CkksError {
    CkksError::Format { what: "secret key file", reason: e.to_string() }
}

impl SecretKey {
    /// Draws a new secret.
    ///
    /// # Errors
    /// None today; kept for sources of randomness that can fail.
    pub fn generate(ctx: &Context, random: &mut Randomness) -> Result<Self> {
        Ok(Self::of_seed(ctx, random.secret_seed()))
    }

    /// The secret of a seed: whoever knows the seed has the secret.
    #[cfg(feature = "deterministic")]
    pub fn from_seed(ctx: &Context, seed: Seed) -> Self {
        Self::of_seed(ctx, Zeroizing::new(seed))
    }

    fn of_seed(ctx: &Context, seed: Zeroizing<Seed>) -> Self {
        let coefficients = Self::domain(&seed, "fhec secret key coefficients v1").ternary(ctx.params().n());
        let mut id = ShortDigest::default();
        id.0.copy_from_slice(&derived(&seed, "fhec secret key id v1")[..16]);
        Self { values: evaluate(ctx, &coefficients), seed, params: ctx.params().digest(), id, plan: None }
    }

    /// The same key for the plan of this digest only: its file says so.
    pub fn for_plan(self, digest: [u8; 32]) -> Self {
        let mut key = self;
        key.plan = Some(digest);
        key
    }

    /// Digest of the plan that it was made for, where it says.
    pub fn plan(&self) -> Option<[u8; 32]> {
        self.plan
    }

    /// A tag that only this secret can make of a message; it tells nothing about the secret.
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        *self.mac(message).as_bytes()
    }

    /// Whether `tag` is the tag of `message` under this secret; in constant time.
    pub fn made_tag(&self, message: &[u8], tag: &[u8; 32]) -> bool {
        self.mac(message) == *tag
    }

    fn mac(&self, message: &[u8]) -> blake3::Hash {
        let key = derived(&self.seed, "fhec secret key tag v1");
        blake3::keyed_hash(&key, message)
    }

    fn domain(seed: &Seed, context: &str) -> Randomness {
        Randomness::of_seed(&derived(seed, context))
    }

    /// The ephemeral sparse secret of bootstrapping that belongs to this key.
    pub(crate) fn sparse(&self, ctx: &Context, weight: usize) -> Zeroizing<Vec<i64>> {
        Self::domain(&self.seed, "fhec ephemeral secret v1").sparse_ternary(ctx.params().n(), weight)
    }

    /// The id that ciphertexts and evaluation keys of this secret carry; it tells nothing about the secret.
    pub fn id(&self) -> ShortDigest {
        self.id
    }

    /// The secret modulo prime `index` of the ring, in evaluation form.
    pub(crate) fn limb(&self, index: usize) -> &[u64] {
        self.values.limb(index)
    }

    /// Refuses a context of other parameters.
    pub(crate) fn check(&self, ctx: &Context) -> Result<()> {
        if self.params == ctx.params().digest() {
            return Ok(());
        }
        let (found, expected) = (self.params, ctx.params().digest());
        Err(CkksError::ParamsMismatch { what: "the secret key", found, expected })
    }

    /// Writes the key to a file that only its owner may read. It replaces no file: the key in it would be lost.
    ///
    /// # Errors
    /// A file that cannot be written, or one that is there.
    pub fn write(&self, ctx: &Context, to: impl Into<Destination>) -> Result<()> {
        let manifest = self.manifest(ctx, None)?;
        write_file(to.into(), "seed", &self.seed[..], &manifest)
    }

    /// As [`write`](Self::write), the seed encrypted with a passphrase: whoever has the file alone has no key.
    ///
    /// # Errors
    /// As [`write`](Self::write), or when the system gives no randomness for the salt.
    pub fn write_encrypted(&self, ctx: &Context, to: impl Into<Destination>, passphrase: &Passphrase) -> Result<()> {
        let scrypt = Scrypt::new()?;
        let manifest = self.manifest(ctx, Some(scrypt))?;
        let sealed = scrypt.seal(passphrase, &manifest.clear()?, &self.seed)?;
        write_file(to.into(), "encrypted seed", &sealed, &manifest)
    }

    fn manifest(&self, ctx: &Context, scrypt: Option<Scrypt>) -> Result<SecretKeyManifest> {
        self.check(ctx)?;
        let half = |bytes: &[u8]| bytes.try_into().map(ShortDigest).unwrap_or_default();
        let plan = self.plan.map(|plan| [half(&plan[..16]), half(&plan[16..])]);
        Ok(SecretKeyManifest { params: self.params, insecure: ctx.params().is_insecure(), id: self.id, plan, scrypt })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Anything but a whole key file of the same parameters, in the clear.
    pub fn read(ctx: &Context, path: impl AsRef<Path>) -> Result<Self> {
        SecretKeyFile::open(path)?.read(ctx)
    }

    /// Reads a key file from bytes; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(ctx: &Context, name: &str, bytes: &[u8]) -> Result<Self> {
        SecretKeyFile::over(Reader::from_bytes(name, bytes).map_err(format)?)?.read(ctx)
    }
}

/// An open key file, whose key is not read yet: what it is for can be told before any table is made.
pub struct SecretKeyFile {
    reader: Reader,
    manifest: SecretKeyManifest,
}

impl SecretKeyFile {
    /// Opens a key file.
    ///
    /// # Errors
    /// Anything but a key file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::over(Reader::open(path).map_err(format)?)
    }

    fn over(reader: Reader) -> Result<Self> {
        let reader = reader.expect(KIND, VERSION).map_err(format)?;
        let manifest: SecretKeyManifest = reader.manifest().map_err(format)?;
        if let Some(refusal) = manifest.scrypt.and_then(|scrypt| scrypt.refusal()) {
            return Err(format(format_args!("{}: {refusal}", reader.file())));
        }
        Ok(Self { reader, manifest })
    }

    /// Whether the key is encrypted with a passphrase.
    pub fn is_encrypted(&self) -> bool {
        self.manifest.scrypt.is_some()
    }

    /// The digest of the plan that the key was made for, where the file says.
    pub fn plan(&self) -> Option<[u8; 32]> {
        self.manifest.plan()
    }

    /// Reads a key in the clear.
    ///
    /// # Errors
    /// A key of other parameters, a damaged or an encrypted one.
    pub fn read(&self, ctx: &Context) -> Result<SecretKey> {
        if self.is_encrypted() {
            return Err(format(format_args!("{}: it is encrypted with a passphrase", self.reader.file())));
        }
        self.check(ctx)?;
        let seed = Zeroizing::new(self.bytes("seed")?);
        self.key(ctx, seed)
    }

    /// Reads an encrypted key. This takes some tenths of a second and 128 MiB, or what else the file says, up to 1 GiB.
    ///
    /// # Errors
    /// Another passphrase, a key in the clear, one of other parameters, or a damaged one.
    pub fn decrypt(&self, ctx: &Context, passphrase: &Passphrase) -> std::result::Result<SecretKey, PassphraseError> {
        let Some(scrypt) = self.manifest.scrypt else { return Err(PassphraseError::NotEncrypted) };
        self.check(ctx)?;
        let sealed = self.bytes::<SEALED_BYTES>("encrypted seed")?;
        let seed = scrypt.open(passphrase, &self.manifest.clear()?, &sealed)?;
        Ok(self.key(ctx, seed)?)
    }

    /// Refuses a context of other parameters.
    fn check(&self, ctx: &Context) -> Result<()> {
        let (found, expected) = (self.manifest.params, ctx.params().digest());
        if found == expected {
            return Ok(());
        }
        Err(CkksError::ParamsMismatch { what: "the secret key file", found, expected })
    }

    /// A section of `N` bytes.
    fn bytes<const N: usize>(&self, section: &str) -> Result<[u8; N]> {
        self.reader.expect_raw(section, N as u64).map_err(format)?;
        let bytes = self.reader.section(section).map_err(format)?;
        <[u8; N]>::try_from(&bytes[..]).map_err(|_| format(format_args!("the {section} has not {N} bytes")))
    }

    fn key(&self, ctx: &Context, seed: Zeroizing<Seed>) -> Result<SecretKey> {
        let mut key = SecretKey::of_seed(ctx, seed);
        key.plan = self.manifest.plan();
        if key.id != self.manifest.id {
            return Err(format("the seed does not belong to the id of the file"));
        }
        Ok(key)
    }
}

fn write_file(to: Destination, section: &str, bytes: &[u8], manifest: &SecretKeyManifest) -> Result<()> {
    let mut writer = Writer::create(to.secret(), KIND, VERSION).map_err(format)?;
    writer.section(section, Dtype::U8, bytes, Codec::Raw).map_err(format)?;
    writer.finish(manifest).map_err(format)?;
    Ok(())
}

/// What BLAKE3 derives from a seed in the domain `context`; the state of the hash is wiped too.
fn derived(seed: &Seed, context: &str) -> Zeroizing<Seed> {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(seed);
    let mut hash = hasher.finalize();
    let out = Zeroizing::new(*hash.as_bytes());
    hash.zeroize();
    hasher.zeroize();
    out
}

/// Small coefficients modulo all primes of the ring, in evaluation form.
pub(crate) fn evaluate(ctx: &Context, coefficients: &[i64]) -> Wiped {
    let ring = ctx.ring();
    let mut out = Wiped::zero(ring.n(), ring.moduli().len());
    out.par_limbs_mut().enumerate().for_each(|(i, limb)| {
        ring.limb(i).reduce_signed(coefficients, limb);
        ring.limb(i).forward(limb);
    });
    out
}
