//! Encryption under a public key.
//!
//! `c1 = a v + e1` hides the mask v as it should. Two public keys that encrypt with the same stream of randomness lay it
//! open: the difference of both ciphertexts is `(a - a') v`, and with v at hand the errors are too.

use crate::opened::{CONTEXT, Opened, centred, phase, subtract_message};
use crate::statistics::{Uniform, assert_distinct, assert_errors, assert_independent, assert_ternary};
use fhec_client::{PublicKey, Randomness};

/// What a public-key encryption draws.
struct Drawn {
    mask: Vec<i64>,
    errors: [Vec<i64>; 2],
}

/// Opens the encryption of `slots` that `random` gives.
fn drawn(keys: &[PublicKey; 2], slots: &[f64], level: usize, random: impl Fn() -> Randomness) -> Drawn {
    let limb = CONTEXT.ring().limb(0);
    let m = limb.modulus();
    let encrypt = |key: &PublicKey| key.encrypt(&CONTEXT, slots, level, &mut random()).unwrap();
    let cts = keys.each_ref().map(encrypt);
    let halves = keys.each_ref().map(PublicKey::halves);
    let mut mask = vec![0; CONTEXT.params().n()];
    for (p, v) in mask.iter_mut().enumerate() {
        let c = m.sub(cts[0].parts()[1].limb(0)[p], cts[1].parts()[1].limb(0)[p]);
        let a = m.sub(halves[0][1].limb(0)[p], halves[1][1].limb(0)[p]);
        *v = m.mul(c, m.inv(a).unwrap());
    }
    let error = |part: usize| {
        let mut out = cts[0].parts()[part].limb(0).to_vec();
        let mut product = mask.clone();
        limb.mul_assign(&mut product, halves[0][part].limb(0));
        limb.sub_assign(&mut out, &product);
        if part == 0 {
            subtract_message(level, slots, &mut out);
        }
        centred(0, &mut out)
    };
    let errors = [error(0), error(1)];
    Drawn { mask: centred(0, &mut mask), errors }
}

fn keys(random: &mut Randomness) -> (Opened, [PublicKey; 2]) {
    let secret = Opened::generate(random);
    let keys = [(); 2].map(|()| PublicKey::generate(&CONTEXT, &secret.key, random).unwrap());
    (secret, keys)
}

#[test]
fn masks_are_ternary_and_errors_binomial() {
    let (_, keys) = keys(&mut Randomness::from_seed(&[8; 32]));
    let all: Vec<Drawn> = (0..4).map(|i| drawn(&keys, &[0.5; 64], 3, || Randomness::from_seed(&[9 + i; 32]))).collect();
    for drawn in &all {
        assert_ternary("a mask", &drawn.mask);
        for errors in &drawn.errors {
            assert_errors("an encryption under a public key", errors);
        }
    }
    let vectors = all.into_iter().flat_map(|d| [d.mask].into_iter().chain(d.errors));
    assert_independent("masks and errors", &vectors.collect::<Vec<_>>());
}

#[test]
fn public_keys_are_uniform_and_have_errors() {
    let (secret, keys) = keys(&mut Randomness::from_seed(&[10; 32]));
    let (mut masked, mut uniform, mut starts) = (Uniform::new(), Uniform::new(), Vec::new());
    let mut errors = Vec::new();
    for key in &keys {
        let [b, a] = key.halves();
        for (i, (b, a)) in b.limbs().zip(a.limbs()).enumerate() {
            let q = CONTEXT.params().q()[i];
            masked.add(q, b);
            uniform.add(q, a);
            starts.push(a[..4].to_vec());
            errors.push(centred(i, &mut phase(i, b, a, &secret.coefficients)));
        }
    }
    masked.assert("masked halves");
    uniform.assert("uniform halves");
    assert_distinct("uniform halves of public keys", starts);
    let limbs = errors.len() / keys.len();
    assert!(errors[..limbs].iter().all(|e| *e == errors[0]), "one error modulo all primes");
    let errors = [errors[0].clone(), errors[limbs].clone()];
    assert_errors("public keys", errors.iter().flatten());
    assert_independent("errors of public keys", &errors);
}

#[test]
fn every_encryption_is_uniform_and_masked_anew() {
    let mut random = Randomness::from_seed(&[11; 32]);
    let (_, keys) = keys(&mut random);
    let (mut uniform, mut differences) = (Uniform::new(), Uniform::new());
    let cts: Vec<_> = (0..6).map(|_| keys[0].encrypt(&CONTEXT, &[0.25; 512], 3, &mut random).unwrap()).collect();
    for (ct, next) in cts.iter().zip(&cts[1..]) {
        for part in 0..2 {
            let limb = CONTEXT.ring().limb(0);
            uniform.add(limb.modulus().value(), ct.parts()[part].limb(0));
            // Under the same mask twice, errors alone would differ.
            let mut difference = ct.parts()[part].limb(0).to_vec();
            limb.sub_assign(&mut difference, next.parts()[part].limb(0));
            limb.inverse(&mut difference);
            differences.add(limb.modulus().value(), &difference);
        }
    }
    uniform.assert("encryptions under a public key");
    differences.assert("differences of encryptions of one message");
}
