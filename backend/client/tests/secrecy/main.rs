//! What an attacker sees is random as it must be, and what hides it is drawn from the right distribution.
//!
//! Arithmetic tests pass as well without errors, without fresh uniform parts and with a secret of one coefficient. These
//! open ciphertexts and keys with the secret and look at what is inside. `tests/mutants` proves that each of them sees
//! what it is there for.

mod ciphertexts;
mod keys;
mod opened;
mod public_key;
mod publication;
mod secrets;
mod statistics;
