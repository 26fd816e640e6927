//! Generates evaluation keys.

use crate::random::Randomness;
use crate::secret::{SecretKey, evaluate};
use crate::wiped::Wiped;
use fhec_ckks::{CkksError, Context, KeyName, KeyRequest, KeySet, KeySetWriter, Result, SwitchingKey, Verdict};
use fhec_container::Destination;
use zeroize::Zeroizing;

/// How far key generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyProgress {
    /// Keys done.
    pub done: usize,
    /// Keys in all.
    pub total: usize,
    /// The key just done.
    pub key: KeyName,
    /// Bytes of the keys done.
    pub bytes: usize,
}

/// Makes the evaluation keys of one secret.
pub struct KeyGenerator<'a> {
    ctx: &'a Context,
    secret: &'a SecretKey,
    random: &'a mut Randomness,
    /// The ephemeral secret of bootstrapping in evaluation form, once it is needed.
    sparse: Option<Wiped>,
}

impl<'a> KeyGenerator<'a> {
    /// A generator for `secret`.
    ///
    /// # Errors
    /// A secret of other parameters.
    pub fn new(ctx: &'a Context, secret: &'a SecretKey, random: &'a mut Randomness) -> Result<Self> {
        secret.check(ctx)?;
        Ok(Self { ctx, secret, random, sparse: None })
    }

    /// Makes one key.
    ///
    /// # Errors
    /// A level the parameters do not have, or a bootstrapping key without bootstrapping parameters.
    pub fn key(&mut self, request: KeyRequest) -> Result<SwitchingKey> {
        let (ctx, ring, n) = (self.ctx, self.ctx.ring(), self.ctx.params().n());
        let request = match request.name {
            // The sparse secret may only meet the smallest modulus.
            KeyName::ToSparse => KeyRequest { level: 0, ..request },
            _ => request,
        };
        if matches!(request.name, KeyName::ToSparse | KeyName::FromSparse) && self.sparse.is_none() {
            let weight = ctx.params().spec().bootstrap.as_ref().map_or(0, |b| b.circuit.sparse_weight);
            if weight == 0 {
                let reason = format!("{} needs parameters with an ephemeral sparse secret", request.name);
                return Err(CkksError::Params(reason));
            }
            self.sparse = Some(evaluate(ctx, &self.secret.sparse(ctx, weight as usize)));
        }
        let sparse = |index: usize| self.sparse.as_ref().map_or(&[][..], |s| s.limb(index));
        let automorphism = ring.automorphism(ctx.automorphism_exponent(request.name))?;
        let alpha = ctx.params().key_alpha(request.level.min(ctx.params().top_level()));
        let digits = (request.level + 1).div_ceil(alpha);
        let errors: Vec<Zeroizing<Vec<i64>>> = (0..digits).map(|_| self.random.errors(n)).collect();
        let seed = self.random.seed();
        let product = || Zeroizing::new(vec![0; n]);
        SwitchingKey::generate(ctx, request, seed, product, |buffer, row, index, a, b| {
            let limb = ring.limb(index);
            // The secret the rows are encrypted under, and the one they carry.
            let under = if request.name == KeyName::ToSparse { sparse(index) } else { self.secret.limb(index) };
            limb.reduce_signed(&errors[row], b);
            limb.forward(b);
            limb.mul(a, under, buffer);
            limb.sub_assign(b, buffer);
            if index > request.level || index / alpha != row {
                return;
            }
            match request.name {
                KeyName::Relin => limb.mul(self.secret.limb(index), self.secret.limb(index), buffer),
                KeyName::Conj | KeyName::Rotation(_) => automorphism.apply(self.secret.limb(index), buffer),
                KeyName::ToSparse => buffer.copy_from_slice(self.secret.limb(index)),
                KeyName::FromSparse => buffer.copy_from_slice(sparse(index)),
            }
            let m = limb.modulus();
            let p = ctx.params().p()[..alpha].iter().fold(1, |acc, &p| m.mul(acc, m.reduce_u64(p)));
            limb.mul_scalar_add(b, buffer, p);
        })
    }

    /// Makes a key set in memory.
    ///
    /// # Errors
    /// As [`key`](Self::key), or when `progress` says to stop.
    pub fn generate<V: Verdict>(
        &mut self,
        requests: &[KeyRequest],
        mut progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<KeySet> {
        let mut set = KeySet::new(self.ctx, self.secret.id());
        self.each(requests, &mut |p| progress(p).goes_on(), |key| {
            set.insert(key);
            Ok(())
        })?;
        Ok(set)
    }

    /// Makes a key file, one key in memory at a time.
    ///
    /// # Errors
    /// As [`generate`](Self::generate), or a failed write.
    pub fn write<V: Verdict>(
        &mut self,
        to: impl Into<Destination>,
        requests: &[KeyRequest],
        mut progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<()> {
        let mut writer = KeySetWriter::create(self.ctx, to, self.secret.id())?;
        self.each(requests, &mut |p| progress(p).goes_on(), |key| writer.push(&key))?;
        writer.finish()
    }

    /// Makes the bytes of a key file.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn to_bytes<V: Verdict>(
        &mut self,
        requests: &[KeyRequest],
        mut progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<Vec<u8>> {
        let mut writer = KeySetWriter::in_memory(self.ctx, self.secret.id())?;
        self.each(requests, &mut |p| progress(p).goes_on(), |key| writer.push(&key))?;
        writer.into_bytes()
    }

    /// Makes a key set in a file without a name, one key in memory at a time.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn generate_on_disk<V: Verdict>(
        &mut self,
        requests: &[KeyRequest],
        mut progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<KeySet> {
        let mut writer = KeySetWriter::scratch(self.ctx, self.secret.id())?;
        self.each(requests, &mut |p| progress(p).goes_on(), |key| writer.push(&key))?;
        writer.into_keys(self.ctx)
    }

    /// Makes every key once for every level it is asked for.
    fn each(
        &mut self,
        requests: &[KeyRequest],
        progress: &mut dyn FnMut(KeyProgress) -> bool,
        mut sink: impl FnMut(SwitchingKey) -> Result<()>,
    ) -> Result<()> {
        let _span = tracing::debug_span!("keygen", keys = requests.len()).entered();
        let distinct: std::collections::BTreeSet<KeyRequest> = requests.iter().copied().collect();
        let (total, mut bytes) = (distinct.len(), 0);
        for (i, request) in distinct.into_iter().enumerate() {
            let key = self.key(request)?;
            bytes += self.ctx.params().stored_key_bytes(key.level());
            tracing::debug!(key = %request.name, level = key.level(), "made");
            sink(key)?;
            if !progress(KeyProgress { done: i + 1, total, key: request.name, bytes }) {
                return Err(CkksError::Cancelled);
            }
        }
        Ok(())
    }
}
