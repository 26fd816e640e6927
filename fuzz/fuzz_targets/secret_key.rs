//! Secret key files, as they come and edited behind their hashes.
#![no_main]

use std::sync::LazyLock;

use fhec_client::SecretKey;
use fhec_fuzz::files::{CONTEXT, FILES};
use fhec_fuzz::{Base, write_seeds};
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<Base> = LazyLock::new(|| Base::of(&FILES.secret));

/// The file behind all edits is itself one that is read.
fn check_base() {
    let base = BASE.edited(&[]).expect("a file without edits");
    SecretKey::from_bytes(&CONTEXT, "base", &base).expect("a valid file");
}

fuzz_target!(init: { check_base(); write_seeds(BASE.seeds()) }, |data: &[u8]| {
    let _ = SecretKey::from_bytes(&CONTEXT, "raw", data);
    if let Some(bytes) = BASE.edited(data) {
        let _ = SecretKey::from_bytes(&CONTEXT, "edited", &bytes);
    }
});
