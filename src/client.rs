//! The side that owns the data: secret key, encryption, decryption.

mod publication;

pub use publication::{Published, Remains};

use std::path::Path;
use std::sync::Arc;

use fhec_ckks::{Context, KeySet};
use fhec_client::{KeyGenerator, Progress, Randomness, SecretKey};
use fhec_files::Destination;
use fhec_ir::Tensor;
use fhec_runtime::{Plan, context, pack_inputs, runs_of, unpack_outputs};
use zeroize::Zeroizing;

use crate::ciphertexts::{Content, Encrypted};
use crate::error::Error;

/// A secret key for one plan.
pub struct Client<'p> {
    plan: &'p Plan,
    context: Arc<Context>,
    secret: SecretKey,
    random: Randomness,
}

impl<'p> Client<'p> {
    /// A client with a new secret key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(plan: &'p Plan) -> Result<Self, Error> {
        let context = context(plan)?;
        let mut random = Randomness::system()?;
        let secret = SecretKey::generate(&context, &mut random)?;
        Ok(Self { plan, context, secret, random })
    }

    /// A client with the secret key in a file.
    ///
    /// # Errors
    /// A damaged file, or a key for other parameters.
    pub fn load(plan: &'p Plan, path: &Path) -> Result<Self, Error> {
        let context = context(plan)?;
        let secret = SecretKey::read(&context, path)?;
        Ok(Self { plan, context, secret, random: Randomness::system()? })
    }

    /// Writes the secret key to a file that only its owner may read. It replaces no file: the key in it would be lost.
    ///
    /// # Errors
    /// A file that cannot be written, or one that is there.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), Error> {
        Ok(self.secret.write(&self.context, to)?)
    }

    /// The engine's tables.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The evaluation keys the plan needs, in memory.
    ///
    /// # Errors
    /// When the engine refuses the plan's key list.
    pub fn evaluation_keys(&mut self, progress: impl FnMut(Progress)) -> Result<Arc<KeySet>, Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(Arc::new(generator.generate(&requests, progress)?))
    }

    /// The evaluation keys the plan needs, in a file for the server.
    ///
    /// # Errors
    /// As [`Client::evaluation_keys`], or a file that cannot be written.
    pub fn write_evaluation_keys(
        &mut self,
        to: impl Into<Destination>,
        progress: impl FnMut(Progress),
    ) -> Result<(), Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(generator.write(to, &requests, progress)?)
    }

    /// The evaluation keys the plan needs, in a file without a name: for one process that has little memory.
    ///
    /// # Errors
    /// As [`Client::write_evaluation_keys`].
    pub fn evaluation_keys_on_disk(&mut self, progress: impl FnMut(Progress)) -> Result<Arc<KeySet>, Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(Arc::new(generator.generate_on_disk(&requests, progress)?))
    }

    /// Encrypts images, each the tensors of all inputs; as many of them in one ciphertext as the plan takes at a time.
    ///
    /// # Errors
    /// Tensors that do not fit the plan.
    pub fn encrypt(&mut self, images: &[Vec<Tensor>]) -> Result<Encrypted, Error> {
        let func = &self.plan.module().func;
        let levels: Vec<usize> = func.params().iter().map(|&p| func.ty(p).level as usize).collect();
        let mut runs = Vec::new();
        for run in runs_of(self.plan, images)? {
            let slots = Zeroizing::new(pack_inputs(self.plan, &run)?);
            let encrypt = |(slots, &level): (&Vec<f64>, &usize)| {
                self.secret.encrypt(&self.context, slots, level, &mut self.random)
            };
            runs.push(slots.iter().zip(&levels).map(encrypt).collect::<Result<_, _>>()?);
        }
        Ok(Encrypted { content: Content::Inputs, runs, images: images.len() })
    }

    /// Whether these ciphertexts are under this client's key.
    pub fn owns(&self, ciphertexts: &Encrypted) -> bool {
        ciphertexts.runs.iter().flatten().all(|ct| self.secret.owns(ct))
    }

    /// Decrypts the results of images. Under another client's key they are noise; [`Client::owns`] tells.
    ///
    /// # Errors
    /// Ciphertexts that are no results of the plan.
    pub fn decrypt(&self, results: &Encrypted) -> Result<Vec<Vec<Tensor>>, Error> {
        results.expect(Content::Outputs)?;
        let decrypt = |run: &Vec<fhec_ckks::Ciphertext>| Ok(unpack_outputs(self.plan, &self.slots(run)?)?);
        let runs = results.runs.iter().map(decrypt).collect::<Result<Vec<_>, Error>>()?;
        Ok(fhec_ir::images(&runs, self.plan.batch(), results.images))
    }

    /// The slots of the ciphertexts of a run.
    fn slots(&self, run: &[fhec_ckks::Ciphertext]) -> Result<Zeroizing<Vec<Vec<f64>>>, Error> {
        let mut slots = Zeroizing::new(Vec::with_capacity(run.len()));
        for ct in run {
            slots.push(std::mem::take(&mut *self.secret.decrypt(&self.context, ct)?.re));
        }
        Ok(slots)
    }
}
