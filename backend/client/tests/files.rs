//! Damaged files end in an error, never in a panic or a different object.

use fhec_ckks::{
    Context, KeyName, KeyRequest, KeySet, ParamSpec, Params, ciphertexts_from_bytes, ciphertexts_to_bytes,
};
use fhec_client::{KeyGenerator, Passphrase, PassphraseError, Randomness, SecretKey, SecretKeyFile};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

struct Files {
    ctx: Arc<Context>,
    ciphertexts: Vec<u8>,
    secret: Vec<u8>,
    keys: Vec<u8>,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let spec = ParamSpec {
        log_n: 6,
        first_bits: 45,
        scale_bits: 35,
        levels: 2,
        special: 2,
        special_bits: 45,
        bootstrap: None,
        insecure: true,
    };
    let ctx = Context::new(Params::new(spec).unwrap()).unwrap();
    let mut random = Randomness::from_seed(&[1; 32]);
    let secret = SecretKey::generate(&ctx, &mut random).unwrap();
    let fresh = secret.encrypt(&ctx, &[1.0, 2.0], 2, &mut random).unwrap();
    let negated = fhec_ckks::Evaluator::new(ctx.clone(), Arc::new(KeySet::new(&ctx, secret.id()))).unwrap();
    let cts = [negated.mul(&fresh, &fresh).unwrap(), fresh];
    let ciphertexts = ciphertexts_to_bytes(&ctx, &cts, serde_json::json!({ "shape": [2] })).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (secret_path, key_path) = (dir.path().join("s"), dir.path().join("e"));
    secret.write(&ctx, &secret_path).unwrap();
    let requests = [KeyName::Relin, KeyName::Rotation(3)].map(|name| KeyRequest { name, level: 2 });
    KeyGenerator::new(&ctx, &secret, &mut random).unwrap().write(&key_path, &requests, |_| ()).unwrap();
    let (secret, keys) = (std::fs::read(secret_path).unwrap(), std::fs::read(key_path).unwrap());
    Files { ctx, ciphertexts, secret, keys }
});

/// Reads all three kinds from `bytes`; true when one of them succeeds, keys read to the last residue.
fn reads(bytes: &[u8]) -> bool {
    let ctx = &FILES.ctx;
    let keys = KeySet::from_bytes(ctx.params(), "x", bytes)
        .is_ok_and(|set| set.infos().iter().all(|k| set.get(ctx, k.name, 0).is_ok()));
    keys || ciphertexts_from_bytes(ctx, "x", bytes).is_ok() || SecretKey::from_bytes(ctx, "x", bytes).is_ok()
}

#[test]
fn whole_files_are_read_back() {
    let f = &*FILES;
    let (cts, extra) = ciphertexts_from_bytes(&f.ctx, "x", &f.ciphertexts).unwrap();
    assert_eq!(extra["shape"][0], 2);
    assert_eq!(ciphertexts_to_bytes(&f.ctx, &cts, extra).unwrap(), f.ciphertexts);
    let secret = SecretKey::from_bytes(&f.ctx, "x", &f.secret).unwrap();
    let slots = secret.decrypt(&f.ctx, &cts[0]).unwrap().re;
    assert!((slots[0] - 1.0).abs() < 1e-4 && (slots[1] - 4.0).abs() < 1e-4);
    // A fresh ciphertext stores one part and a seed, packed: 3 limbs of 45 and 35 bits.
    let fresh = ciphertexts_to_bytes(&f.ctx, &cts[1..], serde_json::Value::Null).unwrap();
    let product = ciphertexts_to_bytes(&f.ctx, &cts[..1], serde_json::Value::Null).unwrap();
    assert!(product.len() > fresh.len() + 1700, "{} {}", product.len(), fresh.len());
    for whole in [&f.ciphertexts, &f.secret, &f.keys] {
        assert!(reads(whole));
    }
}

#[test]
fn a_passphrase_hides_the_seed_of_a_key() {
    let (ctx, seed) = (&FILES.ctx, [0x5a; 32]);
    let secret = SecretKey::from_seed(ctx, seed).for_plan([7; 32]);
    let passphrase = |text: &str| Passphrase::new(text.as_bytes().to_vec().into()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (clear, encrypted) = (dir.path().join("clear"), dir.path().join("encrypted"));
    secret.write(ctx, &clear).unwrap();
    secret.write_encrypted(ctx, &encrypted, &passphrase("right")).unwrap();
    let shows = |path| std::fs::read(path).unwrap().windows(8).any(|bytes| bytes == &seed[..8]);
    assert!(shows(&clear) && !shows(&encrypted));
    let again = secret.write_encrypted(ctx, &encrypted, &passphrase("other")).unwrap_err();
    assert!(again.to_string().contains("a secret key replaces nothing"), "{again}");

    let file = SecretKeyFile::open(&encrypted).unwrap();
    assert!(file.is_encrypted() && file.plan() == Some([7; 32]));
    let read = file.decrypt(ctx, &passphrase("right")).unwrap();
    assert_eq!((read.id(), read.plan(), read.tag(b"x")), (secret.id(), secret.plan(), secret.tag(b"x")));
    assert_eq!(file.decrypt(ctx, &passphrase("Right")).unwrap_err(), PassphraseError::Wrong);
    let error = SecretKey::read(ctx, &encrypted).unwrap_err().to_string();
    assert!(error.contains("encrypted: it is encrypted with a passphrase"), "{error}");
    let file = SecretKeyFile::open(&clear).unwrap();
    assert_eq!(file.decrypt(ctx, &passphrase("right")).unwrap_err(), PassphraseError::NotEncrypted);
    assert!(Passphrase::new(Vec::new().into()).is_none());
}

#[test]
fn other_parameters_are_refused_by_name() {
    let spec = ParamSpec { levels: 1, ..FILES.ctx.params().spec().clone() };
    let other = Context::new(Params::new(spec).unwrap()).unwrap();
    for error in [
        ciphertexts_from_bytes(&other, "x", &FILES.ciphertexts).unwrap_err(),
        SecretKey::from_bytes(&other, "x", &FILES.secret).unwrap_err(),
        KeySet::from_bytes(other.params(), "x", &FILES.keys).unwrap_err(),
    ] {
        assert!(error.to_string().contains("other parameters"), "{error}");
    }
}

proptest! {
    #[test]
    fn flipped_bits_are_found(kind in 0usize..3, at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = [&FILES.ciphertexts, &FILES.secret, &FILES.keys][kind].clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(!reads(&bytes), "bit {bit} of byte {at}");
    }

    #[test]
    fn truncations_are_found(kind in 0usize..3, at: prop::sample::Index) {
        let bytes = [&FILES.ciphertexts, &FILES.secret, &FILES.keys][kind];
        prop_assert!(!reads(&bytes[..at.index(bytes.len())]));
    }

    #[test]
    fn residues_beyond_their_prime_are_found(at in 0usize..64) {
        // A file written by a hostile client: hashes are right, contents are not.
        let f = &*FILES;
        let reader = fhec_container::Reader::from_bytes("x", &f.keys).unwrap();
        let mut writer = fhec_container::Writer::in_memory("evaluation-keys", reader.version()).unwrap();
        // All bits of one residue of the first limb are ones: more than its prime.
        let bits = 64 - f.ctx.params().q()[0].leading_zeros() as usize;
        for info in reader.sections() {
            let mut data = reader.section(&info.name).unwrap().to_vec();
            (at * bits..(at + 1) * bits).for_each(|bit| data[bit / 8] |= 1 << (bit % 8));
            writer.section(&info.name, info.dtype, &data, info.codec).unwrap();
        }
        let bytes = writer.into_bytes(&reader.manifest::<serde_json::Value>().unwrap()).unwrap();
        let keys = KeySet::from_bytes(f.ctx.params(), "x", &bytes).unwrap();
        for info in keys.infos() {
            let Err(error) = keys.get(&f.ctx, info.name, 0) else { panic!("{} was read", info.name) };
            prop_assert!(error.to_string().contains("not below their primes"), "{error}");
        }
    }
}
