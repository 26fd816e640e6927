//! The bootstraps that plans use are tested at the ring degree they use, because smaller rings cannot tell their
//! precision.

use fhec_ckks::{Bootstrapper, Circuit, Context, Distortion, Evaluator, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use std::sync::Arc;

/// Seeds of random vectors.
const SEEDS: u64 = 10;
/// By slots: the bits that a random vector keeps in its worst slot, and constant ones of 1 and -1, to which the sine costs
/// most (2^-13.3), and with them any vector in [-1, 1].
const PROMISED: [(usize, f64, f64); 2] = [(1 << 14, 16.0, 13.0), (1 << 15, 15.0, 12.8)];

/// Reproducible values in [-1, 1].
fn vector(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Bits that the worst slot keeps, and the root of the mean square.
fn bits(found: &[f64], expected: &[f64]) -> [f64; 2] {
    let errors = || found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let square = errors().map(|e| e * e).sum::<f64>() / found.len() as f64;
    [-errors().fold(0.0, f64::max).log2(), -square.sqrt().log2()]
}

#[test]
#[ignore = "minutes, and 4.5 GB of memory: in release, in the full tier"]
fn the_compact_circuit_keeps_what_it_promises() {
    for (slots, random_bits, constant_bits) in PROMISED {
        let params = Params::with_bootstrap(10, 40, Circuit::compact(40)).unwrap();
        let distortion = Distortion::new(params.spec(), slots).unwrap();
        let ctx = Context::new(params).unwrap();
        assert_eq!((ctx.params().log_n(), ctx.params().is_insecure()), (16, false));
        let mut random = Randomness::from_seed(&[slots.trailing_zeros() as u8; 32]);
        let secret = SecretKey::generate(&ctx, &mut random).unwrap();
        let boot = Bootstrapper::new(&ctx, slots, 10).unwrap();
        let requests = Bootstrapper::keys(ctx.params(), slots, 10).unwrap();
        let keys = KeyGenerator::new(&ctx, &secret, &mut random).unwrap().generate(&requests, |_| ()).unwrap();
        keys.set_memory_bound(1 << 30);
        let eval = Evaluator::new(ctx.clone(), Arc::new(keys)).unwrap();
        let constants = [1.0, -1.0].map(|v| (format!("constant {v}"), vec![v; slots], constant_bits));
        let seeds = (1..=SEEDS).map(|seed| (format!("seed {seed}"), vector(slots, seed), random_bits));
        for (name, values, least) in constants.into_iter().chain(seeds) {
            let x = secret.encrypt(&ctx, &values, 0, &mut random).unwrap();
            let found = secret.decrypt(&ctx, &boot.apply(&eval, &x).unwrap()).unwrap().re;
            let [worst, rms] = bits(&found, &values);
            let mut noiseless = values;
            distortion.apply(&mut noiseless);
            let [noise, rms_noise] = bits(&found, &noiseless);
            println!(
                "{slots} slots, {name}: worst {worst:.1} bits, rms {rms:.1}; without the sine's error worst {noise:.1}, rms \
                 {rms_noise:.1}"
            );
            assert!(worst > least, "{slots} slots, {name}: {worst:.1} bits");
            assert!(noise > random_bits, "{slots} slots, {name}: {noise:.1} bits of noise");
        }
    }
}
