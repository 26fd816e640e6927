//! The owner of the secret key.
//!
//! Keys are held here, in memory that is wiped, and the crate `tfhe` sees them as views: its own key types are not wiped.

use std::path::Path;

use fhec_container::{Codec, ContainerError, Destination, Dtype, Reader, Writer};
use fhec_ir::text::{from_hex, to_hex};
use fhec_ir::{Digest, Tensor};
use serde::{Deserialize, Serialize};
use tfhe::core_crypto::commons::math::random::{CompressionSeed, DynamicDistribution, Seed};
use tfhe::core_crypto::prelude::{
    CiphertextModulus, DecompositionBaseLog, DecompositionLevelCount, DefaultRandomGenerator, GlweDimension,
    GlweSecretKey, LweCiphertext, LweCiphertextCount, LweDimension, LweSecretKey, PlaintextList, PolynomialSize,
    SecretRandomGenerator, SeededLweBootstrapKey, SeededLweCiphertextList, SeededLweKeyswitchKey,
    decrypt_lwe_ciphertext, generate_binary_lwe_secret_key, generate_seeded_lwe_keyswitch_key,
    par_encrypt_seeded_lwe_ciphertext_list, par_generate_seeded_lwe_bootstrap_key,
};
use tfhe::core_crypto::seeders::new_seeder;
use tfhe::shortint::ClassicPBSParameters;
use zeroize::Zeroizing;

use crate::ciphertexts::{Content, Elements, Encrypted};
use crate::client_plan::{ClientPlan, Decoding};
use crate::error::TfheError;
use crate::evaluation_keys::EvaluationKeys;
use crate::parameters::delta;
use crate::seeded::{Seeded, id_from_hex, id_to_hex};
use crate::server::classic;

/// Kind of a secret key file.
pub const SECRET_KEY_KIND: &str = "tfhe-secret-key";
/// Version of its format.
const VERSION: u32 = 1;

/// Makes keys, encrypts inputs and decrypts results of one plan. Its secrets are wiped when it is dropped.
pub struct Client {
    plan: ClientPlan,
    id: u128,
    /// Binary keys, a word per bit: that of ciphertexts, and the short one that is switched to before a bootstrap.
    long: Zeroizing<Vec<u64>>,
    short: Zeroizing<Vec<u64>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretKeyManifest {
    /// Digest of the plan, in hexadecimal.
    plan: String,
    id: String,
    message_bits: u32,
}

/// Fresh randomness of the system.
fn random() -> u128 {
    new_seeder().seed().0
}

impl Client {
    /// Draws a secret key.
    pub fn generate(plan: &ClientPlan) -> Self {
        let mut generator = SecretRandomGenerator::<DefaultRandomGenerator>::new(Seed(random()));
        let mut draw = |len: usize| {
            let mut bits = Zeroizing::new(vec![0u64; len]);
            generate_binary_lwe_secret_key(&mut LweSecretKey::from_container(&mut bits[..]), &mut generator);
            bits
        };
        let (short, long) = (draw(plan.set.lwe_dimension), draw(plan.set.mask()));
        Self { plan: plan.clone(), id: random(), long, short }
    }

    /// The plan it is for.
    pub fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// Writes the secret key to a file that only its owner may read. It replaces no file.
    ///
    /// # Errors
    /// A file that cannot be written, or one that is there.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), TfheError> {
        let to: Destination = to.into();
        let bits = self.short.iter().chain(self.long.iter());
        let mut bytes = Zeroizing::new(vec![0u8; (self.short.len() + self.long.len()).div_ceil(8)]);
        bits.enumerate().for_each(|(i, &bit)| bytes[i / 8] |= (bit as u8 & 1) << (i % 8));
        let mut writer = Writer::create(to.secret(), SECRET_KEY_KIND, VERSION)?;
        writer.section("key", Dtype::U8, &bytes[..], Codec::Raw)?;
        let id = id_to_hex(self.id);
        writer.finish(&SecretKeyManifest { plan: to_hex(&self.plan.plan), id, message_bits: self.plan.set.bits })?;
        Ok(())
    }

    /// Reads the secret key of a plan.
    ///
    /// # Errors
    /// A damaged file, and the key of another plan.
    pub fn load(plan: &ClientPlan, path: impl AsRef<Path>) -> Result<Self, TfheError> {
        Self::read(plan, &Reader::open(path)?.expect(SECRET_KEY_KIND, VERSION)?)
    }

    /// Reads the bytes of a key file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Client::load`].
    pub fn from_bytes(plan: &ClientPlan, name: &str, bytes: &[u8]) -> Result<Self, TfheError> {
        Self::read(plan, &Reader::from_bytes(name, bytes)?.expect(SECRET_KEY_KIND, VERSION)?)
    }

    fn read(plan: &ClientPlan, reader: &Reader) -> Result<Self, TfheError> {
        let manifest: SecretKeyManifest = reader.manifest()?;
        let set = plan.set;
        let made_for: Option<Digest> = from_hex(&manifest.plan);
        if made_for != Some(plan.plan) || manifest.message_bits != set.bits {
            return Err(TfheError::Mismatch {
                what: reader.file().into(),
                reason: "the secret key was made for another plan".into(),
                repair:
                    "give the plan, or the client plan, that `fhec keygen` made the key for; or make keys for this one"
                        .into(),
            });
        }
        let id =
            id_from_hex(&manifest.id).ok_or_else(|| ContainerError::malformed(reader.file(), "the key has no id"))?;
        let len = set.lwe_dimension + set.mask();
        reader.expect_raw("key", len.div_ceil(8) as u64)?;
        let bytes = reader.section("key")?;
        let bit = |i: usize| u64::from(bytes[i / 8] >> (i % 8) & 1);
        let short = Zeroizing::new((0..set.lwe_dimension).map(bit).collect());
        let long = Zeroizing::new((set.lwe_dimension..len).map(bit).collect());
        Ok(Self { plan: plan.clone(), id, long, short })
    }

    /// The keys that a server needs.
    pub fn evaluation_keys(&self) -> EvaluationKeys {
        let (set, classic, modulus) = (self.plan.set, classic(self.plan.set), CiphertextModulus::new_native());
        let mut seeder = new_seeder();
        let (short, long) =
            (LweSecretKey::from_container(&self.short[..]), LweSecretKey::from_container(&self.long[..]));
        let seed = seeder.seed();
        let mut switching = SeededLweKeyswitchKey::new(
            0u64,
            DecompositionBaseLog(set.ks_base_log),
            DecompositionLevelCount(set.ks_level),
            LweDimension(set.mask()),
            LweDimension(set.lwe_dimension),
            CompressionSeed::from(Seed(seed.0)),
            modulus,
        );
        generate_seeded_lwe_keyswitch_key(
            &long,
            &short,
            &mut switching,
            classic.lwe_noise_distribution,
            seeder.as_mut(),
        );
        let key_switching = Seeded { seed: seed.0, bodies: switching.into_container() };
        let seed = seeder.seed();
        let glwe = GlweSecretKey::from_container(&self.long[..], PolynomialSize(set.polynomial_size));
        let mut bootstrapping = SeededLweBootstrapKey::new(
            0u64,
            GlweDimension(set.glwe_dimension).to_glwe_size(),
            PolynomialSize(set.polynomial_size),
            DecompositionBaseLog(set.pbs_base_log),
            DecompositionLevelCount(set.pbs_level),
            LweDimension(set.lwe_dimension),
            CompressionSeed::from(Seed(seed.0)),
            modulus,
        );
        let noise = classic.glwe_noise_distribution;
        par_generate_seeded_lwe_bootstrap_key(&short, &glwe, &mut bootstrapping, noise, seeder.as_mut());
        let bootstrapping = Seeded { seed: seed.0, bodies: bootstrapping.into_container() };
        EvaluationKeys { plan: self.plan.plan, key: self.id, set, key_switching, bootstrapping }
    }

    /// Quantises and encrypts images, each a tensor per input of the plan.
    ///
    /// # Errors
    /// Tensors of other shapes.
    pub fn encrypt(&self, images: &[Vec<Tensor>]) -> Result<Encrypted, TfheError> {
        let key = LweSecretKey::from_container(&self.long[..]);
        let classic: ClassicPBSParameters = classic(self.plan.set);
        let noise: DynamicDistribution<u64> = classic.glwe_noise_distribution;
        let program = fhec_integer::Program { inputs: self.plan.inputs.clone(), ..Default::default() };
        let encrypt = |image: &Vec<Tensor>| -> Result<Vec<Elements>, TfheError> {
            let quantised = program.quantise(image)?;
            let tensors = quantised.iter().zip(&self.plan.input_bits).map(|(elements, &bits)| {
                let encoded: Zeroizing<Vec<u64>> =
                    Zeroizing::new(elements.iter().map(|&k| u64::from(k) * delta(bits)).collect());
                let mut seeder = new_seeder();
                let seed = seeder.seed();
                let mut list = SeededLweCiphertextList::new(
                    0u64,
                    LweDimension(self.plan.set.mask()).to_lwe_size(),
                    LweCiphertextCount(encoded.len()),
                    CompressionSeed::from(Seed(seed.0)),
                    CiphertextModulus::new_native(),
                );
                let encoded = PlaintextList::from_container(&encoded[..]);
                par_encrypt_seeded_lwe_ciphertext_list(&key, &mut list, &encoded, noise, seeder.as_mut());
                Elements::Seeded(Seeded { seed: seed.0, bodies: list.into_container() })
            });
            Ok(tensors.collect())
        };
        let images = images.iter().map(encrypt).collect::<Result<_, _>>()?;
        Ok(Encrypted { plan: self.plan.plan, content: Content::Inputs, key: self.id, request: random(), images })
    }

    /// Whether ciphertexts say that they are under this key.
    pub fn owns(&self, ciphertexts: &Encrypted) -> bool {
        ciphertexts.key == self.id
    }

    /// Decrypts results to the integer sums of every image and output.
    ///
    /// # Errors
    /// Ciphertexts of another key, and numbers that the sums of the outputs cannot be.
    pub fn decrypt_sums(&self, results: &Encrypted) -> Result<Vec<Vec<Vec<i64>>>, TfheError> {
        if !self.owns(results) || results.content != Content::Outputs {
            return Err(TfheError::Mismatch {
                what: "the results".into(),
                reason: "they were made under another secret key, or are inputs".into(),
                repair: "give the secret key that the input was encrypted with".into(),
            });
        }
        let image = |(at, tensors): (usize, &Vec<Elements>)| -> Result<Vec<Vec<i64>>, TfheError> {
            tensors
                .iter()
                .zip(&self.plan.outputs)
                .map(|(elements, decoding)| self.opened(at, elements, decoding))
                .collect()
        };
        results.images.iter().enumerate().map(image).collect()
    }

    /// Decrypts results.
    ///
    /// # Errors
    /// As [`Client::decrypt_sums`].
    pub fn decrypt(&self, results: &Encrypted) -> Result<Vec<Vec<Tensor>>, TfheError> {
        let value = |decoding: &Decoding, sums: &Vec<i64>| {
            let element = |r: usize| (decoding.shift[r] + decoding.scale[r] * sums[r] as f64) as f32;
            Tensor::private(decoding.port.shape.clone(), (0..sums.len()).map(element).collect())
        };
        let image = |sums: Vec<Vec<i64>>| self.plan.outputs.iter().zip(&sums).map(|(d, s)| value(d, s)).collect();
        Ok(self.decrypt_sums(results)?.into_iter().map(image).collect())
    }

    fn opened(&self, image: usize, elements: &Elements, decoding: &Decoding) -> Result<Vec<i64>, TfheError> {
        let noise = || TfheError::Noise { output: decoding.port.name.clone(), image };
        let Elements::Whole(words) = elements else { return Err(noise()) };
        let key = LweSecretKey::from_container(&self.long[..]);
        let ciphertexts = words.chunks_exact(self.plan.set.ciphertext_words());
        let spans = decoding.least.iter().zip(&decoding.most);
        let sum = |(words, (&least, &most)): (&[u64], (&i64, &i64))| {
            let ciphertext = LweCiphertext::from_container(words, CiphertextModulus::new_native());
            let phase = decrypt_lwe_ciphertext(&key, &ciphertext).0;
            let delta = delta(decoding.bits);
            let message = phase.wrapping_add(delta / 2) / delta;
            if message > most.abs_diff(least) { Err(noise()) } else { Ok(least + message as i64) }
        };
        ciphertexts.zip(spans).map(sum).collect()
    }
}
