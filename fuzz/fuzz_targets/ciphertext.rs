//! Ciphertext files, as they come and edited behind their hashes. Ciphertexts that are read are computed on and decrypted.
#![no_main]

use std::sync::{Arc, LazyLock};

use fhec_ckks::{Evaluator, KeySet, ciphertexts_from_bytes, ciphertexts_to_bytes};
use fhec_client::SecretKey;
use fhec_fuzz::files::{CONTEXT, FILES};
use fhec_fuzz::{Base, write_seeds};
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<Base> = LazyLock::new(|| Base::of(&FILES.ciphertexts));
static SECRET: LazyLock<SecretKey> =
    LazyLock::new(|| SecretKey::from_bytes(&CONTEXT, "secret", &FILES.secret).expect("a secret key"));
static EVALUATOR: LazyLock<Evaluator> = LazyLock::new(|| {
    let keys = KeySet::from_bytes(CONTEXT.params(), "keys", &FILES.keys).expect("keys");
    Evaluator::new(CONTEXT.clone(), Arc::new(keys)).expect("an evaluator")
});

/// The file behind all edits is itself one that is read.
fn check_base() {
    let base = BASE.edited(&[]).expect("a file without edits");
    ciphertexts_from_bytes(&CONTEXT, "base", &base).expect("a valid file");
}

fuzz_target!(init: { check_base(); write_seeds(BASE.seeds()) }, |data: &[u8]| {
    let _ = ciphertexts_from_bytes(&CONTEXT, "raw", data);
    let Some(bytes) = BASE.edited(data) else { return };
    let Ok((ciphertexts, extra)) = ciphertexts_from_bytes(&CONTEXT, "edited", &bytes) else { return };
    let again = ciphertexts_to_bytes(&CONTEXT, &ciphertexts, extra).expect("ciphertexts can be written");
    let (again, _) = ciphertexts_from_bytes(&CONTEXT, "again", &again).expect("what was written can be read");
    assert_eq!(again.len(), ciphertexts.len());
    for ct in &ciphertexts {
        let _ = SECRET.decrypt(&CONTEXT, ct);
        let _ = EVALUATOR.add(ct, &ciphertexts[0]);
        let _ = EVALUATOR.mul(ct, &ciphertexts[0]);
        let _ = EVALUATOR.rescale(ct);
        let _ = EVALUATOR.rotate(ct, 3);
    }
});
