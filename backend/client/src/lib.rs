//! The client side holds secret keys, generates keys, encrypts and decrypts.
//!
//! ```
//! use fhec_ckks::{Context, Evaluator, KeyName, KeyRequest, ParamSpec, Params};
//! use fhec_client::{KeyGenerator, Randomness, SecretKey};
//!
//! let params = Params::new(ParamSpec {
//!     log_n: 12, first_bits: 40, scale_bits: 30, levels: 1, special: 1, special_bits: 40, bootstrap: None, insecure: true,
//! })?;
//! let ctx = Context::new(params)?;
//! let mut random = Randomness::system()?;
//! let secret = SecretKey::generate(&ctx, &mut random)?;
//! let requests = [KeyRequest { name: KeyName::Relin, level: 1 }];
//! let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
//!
//! let x = secret.encrypt(&ctx, &[0.5, -2.0], 1, &mut random)?;
//! let eval = Evaluator::new(ctx.clone(), keys.into())?;
//! let y = eval.mul_rescale(&x, &x)?;
//! let slots = secret.decrypt(&ctx, &y)?.re;
//! assert!((slots[0] - 0.25).abs() < 1e-4 && (slots[1] - 4.0).abs() < 1e-4);
//! # Ok::<(), fhec_ckks::CkksError>(())
//! ```

mod decrypt;
mod encrypt;
mod generate;
mod passphrase;
mod publish;
mod random;
mod secret;
mod wiped;

pub use decrypt::Decrypted;
pub use encrypt::PublicKey;
pub use generate::{KeyGenerator, KeyProgress};
pub use passphrase::{Passphrase, PassphraseError};
pub use publish::{Flooding, Publication, PublicationError};
pub use random::Randomness;
pub use secret::{SecretKey, SecretKeyFile};
