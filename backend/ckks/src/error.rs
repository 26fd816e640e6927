//! Says what the engine refuses, and why.

use fhec_ring::RingError;
use miette::Diagnostic;
use thiserror::Error;

/// Short for results of this crate.
pub type Result<T> = std::result::Result<T, CkksError>;

/// An operation that would give a wrong or insecure result, or a file that is not what it says it is.
#[derive(Debug, Clone, PartialEq, Error, Diagnostic)]
pub enum CkksError {
    /// A parameter is outside what the engine supports.
    #[error("parameters: {0}")]
    #[diagnostic(help("take parameters within these limits; `fhec compile` chooses such"))]
    Params(String),
    /// The modulus is too large for 128-bit security at this ring degree.
    #[error(
        "insecure parameters: log2(QP) = {log_qp:.1} bits at N = 2^{log_n}, but 128-bit security allows at most {limit} \
         bits there"
    )]
    #[diagnostic(help("take N = 2^{needed} or fewer levels, or mark the parameters insecure for a test"))]
    Security {
        /// log2 of the ring degree.
        log_n: u32,
        /// log2 of the whole modulus with the special primes.
        log_qp: f64,
        /// The admitted bits at this degree.
        limit: u32,
        /// The smallest admitted log2 of a degree.
        needed: u32,
    },
    /// EvalMod's interval is too short for the weight of the secret that ciphertexts are raised under.
    #[error(
        "bootstrapping: k = {k} is too small for a secret of {}: one bootstrap of all slots would fail with a probability of \
         up to 2^{log2:.1}, the limit is 2^{limit}",
        weight_in_words(*weight)
    )]
    #[diagnostic(help("take k = {least_k} or more"))]
    Failure {
        /// The bound on the multiples of q_0 that EvalMod removes.
        k: u32,
        /// Non-zero coefficients of the ephemeral secret; 0 for the main one.
        weight: u32,
        /// log2 of the probability.
        log2: f64,
        /// log2 of the largest probability admitted.
        limit: f64,
        /// The least `k` that is admitted.
        least_k: u32,
    },
    /// The ring refused the moduli.
    #[error(transparent)]
    #[diagnostic(help("take other sizes of primes or another ring degree; `fhec compile` chooses such"))]
    Ring(#[from] RingError),
    /// A level that the operand or the parameters do not have.
    #[error("{op}: level {level} is outside 0..={max}")]
    #[diagnostic(help("ask for a level up to {max}, or take parameters of more levels"))]
    Level {
        /// The operation.
        op: &'static str,
        /// The level asked for.
        level: usize,
        /// The highest possible one.
        max: usize,
    },
    /// Two operands at different levels.
    #[error("{op}: operands are at levels {left} and {right}")]
    #[diagnostic(help("drop the higher one first"))]
    LevelMismatch {
        /// The operation.
        op: &'static str,
        /// Level of the left operand.
        left: usize,
        /// Level of the right operand.
        right: usize,
    },
    /// Operands whose scale degrees do not fit the operation.
    #[error("{op}: scale degree is {found}, but must be {wanted}")]
    #[diagnostic(help("rescale (or multiply) first"))]
    ScaleDegree {
        /// The operation.
        op: &'static str,
        /// The degree found.
        found: u8,
        /// The degree wanted.
        wanted: u8,
    },
    /// A ciphertext with the wrong number of parts.
    #[error("{op}: ciphertext has {found} parts, but must have {wanted}")]
    #[diagnostic(help("relinearise first"))]
    Parts {
        /// The operation.
        op: &'static str,
        /// Parts found.
        found: usize,
        /// Parts wanted.
        wanted: usize,
    },
    /// A slot count that is no power of two, exceeds N/2, or differs from the operand's.
    #[error("{op}: {found} slots do not fit; wanted {wanted}")]
    #[diagnostic(help("give a vector, or a ciphertext, of so many slots"))]
    Slots {
        /// The operation.
        op: &'static str,
        /// Slots given.
        found: usize,
        /// What would have been right.
        wanted: String,
    },
    /// A value that does not fit the encoding.
    #[error(
        "encode: slot {slot} is {value:e}, which at scale 2^{log_scale:.1} does not fit the 62 bits of a coefficient"
    )]
    #[diagnostic(help("divide the values by a constant, or take a smaller scale"))]
    Encode {
        /// A slot at fault (the largest one).
        slot: usize,
        /// Its magnitude.
        value: f64,
        /// log2 of the scale.
        log_scale: f64,
    },
    /// An evaluation key that the key set lacks.
    #[error("no evaluation key for {0}")]
    #[diagnostic(help("generate the key set from this plan's key list: `fhec keygen` with this plan"))]
    MissingKey(KeyName),
    /// An evaluation key that was made for a lower level.
    #[error("the evaluation key for {name} was made for level {have}, but is used at level {need}")]
    #[diagnostic(help("generate it at level {need}: `fhec keygen` with this plan"))]
    KeyLevel {
        /// Which key.
        name: KeyName,
        /// Its level.
        have: usize,
        /// The level of use.
        need: usize,
    },
    /// Material made under other parameters.
    #[error("{what} was made under other parameters (digest {found}, expected {expected})")]
    #[diagnostic(help("take plan, keys and ciphertexts that belong together: make them anew with this plan"))]
    ParamsMismatch {
        /// What does not fit.
        what: &'static str,
        /// Its parameter digest.
        found: ShortDigest,
        /// The digest of the parameters in use.
        expected: ShortDigest,
    },
    /// A ciphertext and evaluation keys of different secrets.
    #[error("{what} belongs to another secret key (key id {found}, expected {expected})")]
    #[diagnostic(help("use the keys of the ciphertext's owner"))]
    KeyMismatch {
        /// What does not fit.
        what: &'static str,
        /// Its key id.
        found: ShortDigest,
        /// The id expected.
        expected: ShortDigest,
    },
    /// A file or message that is damaged, truncated, too large or of another kind.
    #[error("{what}: {reason}")]
    #[diagnostic(help("copy the file again from where it was written, or write it anew"))]
    Format {
        /// Which object was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused randomness or a file.
    #[error("{0}")]
    #[diagnostic(help("check the path, the permission, the free space and the limits of this process"))]
    System(String),
    /// A callback that hears of progress said to stop.
    #[error("the work was cancelled")]
    #[diagnostic(help("start it again: what was done is lost, nothing else is"))]
    Cancelled,
}

fn weight_in_words(weight: u32) -> String {
    match weight {
        0 => "uniform ternary coefficients".into(),
        _ => format!("{weight} non-zero coefficients"),
    }
}

/// Names an evaluation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyName {
    /// Squared secret to secret: after a product.
    Relin,
    /// Complex conjugation of the slots.
    Conj,
    /// Rotation to the left by this many slots, in `1..N/2`.
    Rotation(u32),
    /// Dense secret to the ephemeral sparse one, before a bootstrap's modulus raise.
    ToSparse,
    /// The ephemeral sparse secret back to the dense one, after it.
    FromSparse,
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Relin => f.write_str("relinearisation"),
            Self::Conj => f.write_str("conjugation"),
            Self::Rotation(r) => write!(f, "rotation by {r}"),
            Self::ToSparse => f.write_str("switching to the sparse secret"),
            Self::FromSparse => f.write_str("switching from the sparse secret"),
        }
    }
}

/// The first 16 bytes of a blake3 hash, printed in hex: what names parameters and keys. Whole contents have the 32 bytes of
/// a `fhec_ir::Digest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShortDigest(pub [u8; 16]);

impl ShortDigest {
    /// The digest of `bytes` in the domain `context` (a constant of the program).
    pub fn of(context: &str, bytes: &[u8]) -> Self {
        let mut out = [0; 16];
        out.copy_from_slice(&blake3::derive_key(context, bytes)[..16]);
        Self(out)
    }

    /// Reads 32 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(out))
    }
}

impl std::fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl serde::Serialize for ShortDigest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ShortDigest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a digest is 32 hex digits"))
    }
}
