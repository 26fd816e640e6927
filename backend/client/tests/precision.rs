//! The presets are tested at their real size, N = 2^16. That takes minutes and up to 9 GB of memory, so only on request:
//! `cargo test --release -p fhec-client --test precision -- --ignored --nocapture`.
//!
//! A seed varies the slots, the level they come from and the errors of their encryption. The secret and its keys are
//! drawn once per number of slots: generating them takes as long as several bootstraps.

use fhec_ckks::{Bootstrapper, Context, Evaluator, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use std::sync::Arc;

/// Output level.
const TARGET: usize = 10;

/// Worst and root mean square error over ten vectors of values in [-1, 1], in bits.
fn errors_of_ten(ctx: &Arc<Context>, slots: usize) -> (f64, f64) {
    let boot = Bootstrapper::new(ctx, slots, TARGET).unwrap();
    let mut random = Randomness::from_seed(&[slots.trailing_zeros() as u8; 32]);
    let secret = SecretKey::generate(ctx, &mut random).unwrap();
    let wanted = Bootstrapper::keys(ctx.params(), slots, TARGET).unwrap();
    let keys = KeyGenerator::new(ctx, &secret, &mut random).unwrap().generate(&wanted, |_| ()).unwrap();
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys)).unwrap();
    let (mut worst, mut square) = (0f64, 0f64);
    for seed in 1..=10u64 {
        let mut state = seed;
        let values: Vec<f64> = (0..slots)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect();
        let x = secret.encrypt(ctx, &values, (seed % 3) as usize, &mut random).unwrap();
        let y = boot.apply(&eval, &x).unwrap();
        assert_eq!((y.level(), y.scale_degree()), (TARGET, 1));
        let out = secret.decrypt(ctx, &y).unwrap().re;
        let errors = out.iter().zip(&values).map(|(a, b)| (a - b).abs());
        worst = errors.clone().fold(worst, f64::max);
        square += errors.map(|e| e * e).sum::<f64>() / (10 * slots) as f64;
    }
    let bits = (-worst.log2(), -square.sqrt().log2());
    eprintln!("{slots} slots: worst {:.2} bits, rms {:.2} bits", bits.0, bits.1);
    bits
}

/// One test for all, full and sparse: two at a time would need twice the memory.
#[test]
#[ignore = "minutes and 9 GB"]
fn full_and_sparse_slots_keep_twenty_bits() {
    let params = Params::bootstrapping(TARGET as u32, 42).unwrap();
    assert!(!params.is_insecure() && params.log_n() == 16);
    let ctx = Context::new(params).unwrap();
    for log_slots in [15, 14, 10] {
        let (worst, _) = errors_of_ten(&ctx, 1 << log_slots);
        assert!(worst >= 20.0, "2^{log_slots} slots: worst {worst:.2} bits");
    }
}
