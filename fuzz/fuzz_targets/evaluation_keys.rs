//! Evaluation key files, as they come and edited behind their hashes; keys are read to the last residue.
#![no_main]

use std::sync::LazyLock;

use fhec_ckks::KeySet;
use fhec_fuzz::files::{CONTEXT, FILES};
use fhec_fuzz::{Base, write_seeds};
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<Base> = LazyLock::new(|| Base::of(&FILES.keys));

fn read(bytes: &[u8]) {
    if let Ok(set) = KeySet::from_bytes(CONTEXT.params(), "keys", bytes) {
        for key in set.infos() {
            let _ = set.get(&CONTEXT, key.name, 0);
            let _ = set.get(&CONTEXT, key.name, key.level);
        }
    }
}

/// The file behind all edits is itself one that is read.
fn check_base() {
    let base = BASE.edited(&[]).expect("a file without edits");
    KeySet::from_bytes(CONTEXT.params(), "base", &base).expect("a valid file");
}

fuzz_target!(init: { check_base(); write_seeds(BASE.seeds()) }, |data: &[u8]| {
    read(data);
    if let Some(bytes) = BASE.edited(data) {
        read(&bytes);
    }
});
