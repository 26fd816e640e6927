//! Encryption under the secret key.

use crate::opened::{CONTEXT, Opened};
use crate::statistics::{DEVIATIONS, Uniform, assert_distinct, assert_errors, assert_independent, sigma};
use fhec_ckks::Ciphertext;
use fhec_client::Randomness;

/// Encryptions of one message, over and over, at several levels and numbers of slots.
fn encryptions(secret: &Opened, random: &mut Randomness) -> Vec<(Ciphertext, Vec<f64>)> {
    let mut out = Vec::new();
    for (level, slots) in [(0, 512), (3, 512), (3, 512), (2, 16), (1, 64), (3, 512), (3, 512), (3, 512)] {
        let slots: Vec<f64> = (0..slots).map(|i| (i % 7) as f64 / 7.0).collect();
        out.push((secret.key.encrypt(&CONTEXT, &slots, level, random).unwrap(), slots));
    }
    out
}

#[test]
fn fresh_errors_are_binomial_and_independent() {
    let mut random = Randomness::from_seed(&[5; 32]);
    let secret = Opened::generate(&mut random);
    let encrypted = encryptions(&secret, &mut random);
    let errors: Vec<Vec<i64>> = encrypted.iter().map(|(ct, slots)| secret.error(ct, slots)).collect();
    assert_errors("fresh ciphertexts", errors.iter().flatten());
    assert_independent("errors of ciphertexts", &errors);
}

#[test]
fn errors_have_the_variance_of_all_their_coins() {
    let mut random = Randomness::from_seed(&[14; 32]);
    let secret = Opened::generate(&mut random);
    let message = [0.5; 512];
    let encrypt = |_| secret.error(&secret.key.encrypt(&CONTEXT, &message, 0, &mut random).unwrap(), &message);
    let errors: Vec<i64> = (0..64).flat_map(encrypt).collect();
    let n = errors.len() as f64;
    let mean = errors.iter().sum::<i64>() as f64 / n;
    assert!(mean.abs() < DEVIATIONS * sigma() / n.sqrt(), "mean {mean}");
    let variance = errors.iter().map(|e| (e * e) as f64).sum::<f64>() / n;
    let off = variance / sigma().powi(2) - 1.0;
    // One coin used on both sides would take 1 of 21.
    assert!(off.abs() < DEVIATIONS * (2.0 / n).sqrt(), "variance {variance}");
}

#[test]
fn every_ciphertext_has_a_uniform_part_of_its_own() {
    let mut random = Randomness::from_seed(&[6; 32]);
    let secret = Opened::generate(&mut random);
    let encrypted = encryptions(&secret, &mut random);
    let (mut masked, mut uniform, mut starts) = (Uniform::new(), Uniform::new(), Vec::new());
    for (ct, _) in &encrypted {
        for (i, (c0, c1)) in ct.parts()[0].limbs().zip(ct.parts()[1].limbs()).enumerate() {
            let q = CONTEXT.params().q()[i];
            masked.add(q, c0);
            uniform.add(q, c1);
            starts.push(c1[..4].to_vec());
        }
    }
    masked.assert("masked messages");
    uniform.assert("uniform parts");
    assert_distinct("uniform parts of ciphertexts", starts);
}

#[test]
fn keys_and_ciphertexts_share_no_uniform_part() {
    use fhec_ckks::{KeyName, KeyRequest};
    let mut random = Randomness::from_seed(&[7; 32]);
    let secret = Opened::generate(&mut random);
    let request = KeyRequest { name: KeyName::Relin, level: 3 };
    let mut generator = fhec_client::KeyGenerator::new(&CONTEXT, &secret.key, &mut random).unwrap();
    let key = generator.key(request).unwrap();
    let mut a = vec![0; CONTEXT.params().n()];
    CONTEXT.expand_limb(key.seed(), 0, 0, &mut a);
    for (ct, _) in encryptions(&secret, &mut random) {
        assert_ne!(ct.parts()[1].limb(0), a);
    }
}
