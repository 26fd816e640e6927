//! The secret key.

use crate::random::Randomness;
use crate::wiped::Wiped;
use fhec_ckks::{CkksError, Context, Digest, Result, Seed};
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
    params: Digest,
    id: Digest,
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
struct Manifest {
    params: Digest,
    insecure: bool,
    id: Digest,
    /// Digest of the plan, as two halves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<[Digest; 2]>,
}

impl Manifest {
    fn plan(&self) -> Option<[u8; 32]> {
        let [low, high] = self.plan?;
        [low.0, high.0].concat().try_into().ok()
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
        let mut id = Digest::default();
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
    pub fn id(&self) -> Digest {
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
        self.check(ctx)?;
        let mut writer = Writer::create(to.into().secret(), KIND, VERSION).map_err(format)?;
        writer.section("seed", Dtype::U8, &self.seed[..], Codec::Raw).map_err(format)?;
        let half = |bytes: &[u8]| bytes.try_into().map(Digest).unwrap_or_default();
        let plan = self.plan.map(|plan| [half(&plan[..16]), half(&plan[16..])]);
        let manifest = Manifest { params: self.params, insecure: ctx.params().is_insecure(), id: self.id, plan };
        writer.finish(&manifest).map_err(format)?;
        Ok(())
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Anything but a whole key file of the same parameters.
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
    manifest: Manifest,
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
        let manifest = reader.manifest().map_err(format)?;
        Ok(Self { reader, manifest })
    }

    /// The digest of the plan that the key was made for, where the file says.
    pub fn plan(&self) -> Option<[u8; 32]> {
        self.manifest.plan()
    }

    /// Reads the key.
    ///
    /// # Errors
    /// A key of other parameters, or a damaged one.
    pub fn read(&self, ctx: &Context) -> Result<SecretKey> {
        let Self { reader, manifest } = self;
        let expected = ctx.params().digest();
        if manifest.params != expected {
            return Err(CkksError::ParamsMismatch { what: "the secret key file", found: manifest.params, expected });
        }
        reader.expect_raw("seed", size_of::<Seed>() as u64).map_err(format)?;
        let section = reader.section("seed").map_err(format)?;
        let seed = Zeroizing::new(Seed::try_from(&section[..]).map_err(|_| format("the seed has not 32 bytes"))?);
        let mut key = SecretKey::of_seed(ctx, seed);
        key.plan = manifest.plan();
        if key.id != manifest.id {
            return Err(format("the seed does not belong to the id of the file"));
        }
        Ok(key)
    }
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
