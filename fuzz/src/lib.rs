//! What the fuzz targets share: valid files, and files edited behind their hashes.
//!
//! A container refuses any byte that does not match its hash, so mutated files alone never reach the deserialisers behind
//! it. [`Base`] takes a valid file apart, applies edits read from the fuzzer's bytes to its manifest and sections, and
//! seals the result again.

mod base;
pub mod files;

pub use base::Base;

/// Whether making the keys of a plan and encrypting for it takes milliseconds.
pub fn small(plan: &fhec_runtime::ClientPlan) -> bool {
    const KEY_BYTES: u64 = 1 << 20;
    plan.params().log_n() <= 5 && plan.params().top_level() <= 8 && plan.keys().stored_bytes(plan.params()) <= KEY_BYTES
}

/// Writes seed inputs into the folder that `FHEC_FUZZ_SEEDS` names, if it is set.
pub fn write_seeds(seeds: impl IntoIterator<Item = Vec<u8>>) {
    if let Some(folder) = std::env::var_os("FHEC_FUZZ_SEEDS") {
        std::fs::create_dir_all(&folder).expect("the folder of seeds can be made");
        for (i, seed) in seeds.into_iter().enumerate() {
            let path = std::path::Path::new(&folder).join(format!("seed-{i}"));
            std::fs::write(path, seed).expect("a seed can be written");
        }
    }
}
