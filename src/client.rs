//! The client owns the data: it holds the secret key, encrypts and decrypts.

mod publication;

pub use publication::{Published, Remains};

use std::path::Path;
use std::sync::Arc;

use fhec_ckks::{Ciphertext, Context, KeySet, Verdict};
use fhec_client::{KeyGenerator, KeyProgress, Passphrase, PassphraseError, Randomness, SecretKey, SecretKeyFile};
use fhec_files::Destination;
use fhec_ir::Tensor;
use fhec_ir::text::to_hex;
use fhec_runtime::{ClientPlan, pack_inputs, runs_of, unpack_outputs};
use zeroize::Zeroizing;

use crate::ciphertexts::{Content, Encrypted};
use crate::error::Error;
use crate::heads;
use crate::request::RequestId;

/// What the evaluation keys of a plan may take in a file unless [`ClientOptions::key_bytes`] says otherwise: 8 GiB, three times
/// those of a ResNet-20.
pub const DEFAULT_KEY_BYTES: u64 = 8 << 30;

/// A secret key for one plan, of which it knows what a [`ClientPlan`] says.
///
/// It makes the evaluation keys that a [`Server`](crate::Server) needs, encrypts inputs and decrypts results.
/// [`ClientOptions`] says how it is made.
///
/// ```no_run
/// use fhec::{Client, ClientPlan, Encrypted, data};
///
/// let plan = ClientPlan::load("client.fhe")?;
/// let mut client = Client::generate(&plan)?;
/// client.save("client.key")?;
/// client.write_evaluation_keys("server.key", |_| ())?;
///
/// let images = data::read_samples("x.npy".as_ref(), &plan.image_inputs())?;
/// client.encrypt(&images)?.save(client.context(), "x.ct")?;
/// // … the server turns x.ct into y.ct …
/// let results = Encrypted::load(&plan, client.context(), "y.ct".as_ref())?;
/// data::write_samples("logits.npy", &plan.image_outputs(), &client.decrypt(&results)?)?;
/// # Ok::<(), fhec::Error>(())
/// ```
pub struct Client {
    plan: ClientPlan,
    context: Arc<Context>,
    secret: SecretKey,
    random: Randomness,
}

/// How a [`Client`] is made. Whoever sends the plan chooses its parameters and how many keys it needs: parameters that are
/// marked insecure are refused unless they are allowed, and so are more keys than [`DEFAULT_KEY_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    insecure: bool,
    key_bytes: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { insecure: false, key_bytes: DEFAULT_KEY_BYTES }
    }
}

impl ClientOptions {
    /// Allows plans whose parameters are marked insecure, for tests with data that may be read.
    #[must_use]
    pub fn allow_insecure(self) -> Self {
        Self { insecure: true, ..self }
    }

    /// Bytes that the evaluation keys of the plan may take in a file.
    #[must_use]
    pub fn key_bytes(self, key_bytes: u64) -> Self {
        Self { key_bytes, ..self }
    }

    /// A client with a new secret key.
    ///
    /// # Errors
    /// A plan marked insecure that is not allowed, one whose evaluation keys take too many bytes, or when the system gives no
    /// randomness.
    pub fn generate(self, plan: &ClientPlan) -> Result<Client, Error> {
        let context = self.context(plan)?;
        let mut random = Randomness::system()?;
        let secret = SecretKey::generate(&context, &mut random)?.for_plan(plan.plan_digest());
        Ok(Client { plan: plan.clone(), context, secret, random })
    }

    /// A client with the secret key in a file.
    ///
    /// # Errors
    /// A plan that is refused as by [`ClientOptions::generate`], a damaged file, an encrypted one, or a key that was made for
    /// another plan.
    pub fn load(self, plan: &ClientPlan, path: &Path) -> Result<Client, Error> {
        let file = key_file(plan, path)?;
        if file.is_encrypted() {
            return Err(Error::Passphrase {
                file: path.display().to_string(),
                reason: "the secret key is encrypted, and no passphrase was given".into(),
                repair: "give its passphrase: `--passphrase` asks for it, `--passphrase-file FILE` reads it; in the library \
                         `ClientOptions::load_with_passphrase` takes it"
                    .into(),
            });
        }
        self.with_key(plan, |context| Ok(file.read(context)?))
    }

    /// A client with the secret key in a file that is encrypted with this passphrase.
    ///
    /// # Errors
    /// As [`ClientOptions::load`], another passphrase, or a key that is not encrypted.
    pub fn load_with_passphrase(
        self,
        plan: &ClientPlan,
        path: &Path,
        passphrase: &Passphrase,
    ) -> Result<Client, Error> {
        let file = key_file(plan, path)?;
        let refused = |error: PassphraseError| {
            let repair = match error {
                PassphraseError::Engine(e) => return Error::Engine(e),
                PassphraseError::Wrong => "give the passphrase that `fhec keygen` was given with this file",
                PassphraseError::NotEncrypted => "leave the passphrase out, or give the key file that it belongs to",
            };
            Error::Passphrase { file: path.display().to_string(), reason: error.to_string(), repair: repair.into() }
        };
        self.with_key(plan, |context| file.decrypt(context, passphrase).map_err(refused))
    }

    fn with_key(
        self,
        plan: &ClientPlan,
        read: impl FnOnce(&Context) -> Result<SecretKey, Error>,
    ) -> Result<Client, Error> {
        let context = self.context(plan)?;
        let secret = read(&context)?;
        Ok(Client { plan: plan.clone(), context, secret, random: Randomness::system()? })
    }

    /// The engine's tables of a plan that is admitted.
    fn context(self, plan: &ClientPlan) -> Result<Arc<Context>, Error> {
        if plan.security().bits == 0 && !self.insecure {
            return Err(Error::Insecure { plan: plan.model().to_string() });
        }
        let (bytes, limit) = (plan.keys().stored_bytes(plan.params()), self.key_bytes);
        if bytes > limit {
            return Err(Error::KeysTooLarge { bytes, limit });
        }
        Ok(Context::new(plan.params().clone())?)
    }
}

/// Opens the file of a key that was made for `plan`: known before the tables are made, which a plan can ask much memory for.
fn key_file(plan: &ClientPlan, path: &Path) -> Result<SecretKeyFile, Error> {
    let file = SecretKeyFile::open(path)?;
    let made_for = file.plan();
    if made_for == Some(plan.plan_digest()) {
        return Ok(file);
    }
    let short = |digest: [u8; 32]| to_hex(&digest)[..12].to_string();
    Err(Error::OtherPlan {
        file: path.display().to_string(),
        found: made_for.map_or_else(|| "that it does not name".into(), short),
        expected: short(plan.plan_digest()),
    })
}

impl Client {
    /// Options for a client, such as to allow a plan that is marked insecure.
    pub fn options() -> ClientOptions {
        ClientOptions::default()
    }

    /// A client with a new secret key, by the default options.
    ///
    /// # Errors
    /// As [`ClientOptions::generate`].
    pub fn generate(plan: &ClientPlan) -> Result<Self, Error> {
        Self::options().generate(plan)
    }

    /// A client with the secret key in a file, by the default options.
    ///
    /// # Errors
    /// As [`ClientOptions::load`].
    pub fn load(plan: &ClientPlan, path: &Path) -> Result<Self, Error> {
        Self::options().load(plan, path)
    }

    /// Writes the secret key to a file that only its owner may read. It replaces no file: the key in it would be lost.
    ///
    /// # Errors
    /// A file that cannot be written, or one that is there.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), Error> {
        Ok(self.secret.write(&self.context, to)?)
    }

    /// As [`Client::save`], the secret key encrypted with a passphrase: [`ClientOptions::load_with_passphrase`] reads it.
    ///
    /// # Errors
    /// As [`Client::save`], or when the system gives no randomness.
    pub fn save_with_passphrase(&self, to: impl Into<Destination>, passphrase: &Passphrase) -> Result<(), Error> {
        Ok(self.secret.write_encrypted(&self.context, to, passphrase)?)
    }

    /// What it knows of the plan.
    pub fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// The engine's tables.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The evaluation keys the plan needs, in memory: for a [`Server`](crate::Server) in the same process.
    ///
    /// # Errors
    /// When the engine refuses the plan's key list, or `progress` says to stop ([`Verdict`]).
    pub fn evaluation_keys<V: Verdict>(
        &mut self,
        progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<Arc<KeySet>, Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(Arc::new(generator.generate(&requests, progress)?))
    }

    /// The evaluation keys the plan needs, in a file for the server.
    ///
    /// # Errors
    /// As [`Client::evaluation_keys`], or a file that cannot be written.
    pub fn write_evaluation_keys<V: Verdict>(
        &mut self,
        to: impl Into<Destination>,
        progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<(), Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(generator.write(to, &requests, progress)?)
    }

    /// The evaluation keys the plan needs, as the bytes of a file.
    ///
    /// # Errors
    /// As [`Client::evaluation_keys`].
    pub fn evaluation_key_bytes<V: Verdict>(
        &mut self,
        progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<Vec<u8>, Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(generator.to_bytes(&requests, progress)?)
    }

    /// The evaluation keys the plan needs, in a file without a name: for one process that has little memory.
    ///
    /// # Errors
    /// As [`Client::write_evaluation_keys`].
    pub fn evaluation_keys_on_disk<V: Verdict>(
        &mut self,
        progress: impl FnMut(KeyProgress) -> V,
    ) -> Result<Arc<KeySet>, Error> {
        let requests = self.plan.keys().requests();
        let mut generator = KeyGenerator::new(&self.context, &self.secret, &mut self.random)?;
        Ok(Arc::new(generator.generate_on_disk(&requests, progress)?))
    }

    /// Encrypts images, each the tensors of all inputs; as many of them in one ciphertext as the plan takes at a time.
    ///
    /// # Errors
    /// Tensors that do not fit the plan.
    pub fn encrypt(&mut self, images: &[Vec<Tensor>]) -> Result<Encrypted, Error> {
        let _span = tracing::debug_span!("encrypt", images = images.len()).entered();
        let (inputs, levels) = (self.plan.inputs(), self.plan.input_levels());
        let mut runs = Vec::new();
        for run in runs_of(&self.plan.image_inputs(), self.plan.batch(), images)? {
            let slots = Zeroizing::new(pack_inputs(&inputs, &run)?);
            let encrypt = |(slots, &level): (&Vec<f64>, &usize)| {
                self.secret.encrypt(&self.context, slots, level, &mut self.random)
            };
            runs.push(slots.iter().zip(&levels).map(encrypt).collect::<Result<_, _>>()?);
        }
        let request = self.new_request(images.len());
        Ok(Encrypted { plan: self.plan.plan_digest(), content: Content::Inputs, runs, images: images.len(), request })
    }

    fn new_request(&mut self, images: usize) -> RequestId {
        let nonce = self.random.nonce();
        RequestId { nonce, tag: self.secret.tag(&self.named(&nonce, images)) }
    }

    /// What the tag of a request is over.
    fn named(&self, nonce: &[u8; 16], images: usize) -> Vec<u8> {
        [&nonce[..], &self.plan.plan_digest(), &(images as u64).to_le_bytes()].concat()
    }

    /// Whether these ciphertexts are under this client's key.
    pub fn owns(&self, ciphertexts: &Encrypted) -> bool {
        ciphertexts.runs.iter().flatten().all(|ct| self.secret.owns(ct))
    }

    /// Decrypts the results of images. They are for the owner of the key alone: results that others may see come from
    /// [`Client::decrypt_for_publication`].
    ///
    /// # Errors
    /// Ciphertexts that are no results of the plan or are under another key, or results that answer no request of this key for
    /// as many images.
    pub fn decrypt(&self, results: &Encrypted) -> Result<Vec<Vec<Tensor>>, Error> {
        self.expect_answer(results)?;
        self.decrypt_any_key(results)
    }

    /// Refuses what is no result of the plan under this key for a request of this key.
    fn expect_answer(&self, results: &Encrypted) -> Result<(), Error> {
        results.expect(&self.plan, Content::Outputs)?;
        let refuse = |reason: &str, repair: &str| {
            Err(Error::Ciphertexts { file: "results".into(), reason: reason.into(), repair: repair.into() })
        };
        if !self.owns(results) {
            return refuse("made under another secret key", "give the secret key the input was encrypted with");
        }
        let RequestId { nonce, tag } = results.request;
        if !self.secret.made_tag(&self.named(&nonce, results.images), &tag) {
            return refuse(
                "they answer no request that was encrypted with this key",
                "ask the server for the result of your request again",
            );
        }
        Ok(())
    }

    /// Decrypts results whoever's request they answer. Under another client's key they are noise.
    ///
    /// # Errors
    /// Ciphertexts that are no results of the plan.
    pub fn decrypt_any_key(&self, results: &Encrypted) -> Result<Vec<Vec<Tensor>>, Error> {
        let _span = tracing::debug_span!("decrypt", images = results.images).entered();
        results.expect(&self.plan, Content::Outputs)?;
        let outputs = self.plan.outputs();
        let decrypt = |run: &Vec<Ciphertext>| Ok(unpack_outputs(&outputs, &self.slots(run)?)?);
        let runs = results.runs.iter().map(decrypt).collect::<Result<Vec<_>, Error>>()?;
        Ok(fhec_ir::images(&runs, self.plan.batch(), results.images))
    }

    /// What the plan leaves to the client, such as a softmax at the end of the network, applied to decrypted results: those of
    /// [`Client::decrypt`], or those of [`Client::decrypt_for_publication`], of which it reveals nothing more. The outputs then
    /// are those of [`heads::outputs`].
    ///
    /// # Errors
    /// When the plan leaves nothing, or a result does not fit its output.
    pub fn apply_heads(&self, images: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Error> {
        heads::apply(&self.plan.image_outputs(), images)
    }

    /// The slots of the ciphertexts of a run.
    fn slots(&self, run: &[Ciphertext]) -> Result<Zeroizing<Vec<Vec<f64>>>, Error> {
        // Room for all, so that none is moved and left behind.
        let mut slots = Zeroizing::new(Vec::with_capacity(run.len()));
        for ct in run {
            slots.push(std::mem::take(&mut *self.secret.decrypt(&self.context, ct)?.re));
        }
        Ok(slots)
    }
}
