//! Bootstrapping is compared with cleartext slots, at small N with the sizes of the real presets.

use fhec_ckks::{Bootstrapper, Circuit, CkksError, Context, Evaluator, KeyRequest, ParamSpec, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use fhec_ring::Isa;
use std::sync::Arc;

fn spec(log_n: u32) -> ParamSpec {
    let circuit = Circuit {
        cts_levels: 3,
        stc_levels: 2,
        stc_bits: 42,
        mod_bits: 50,
        mod_scale_bits: 55,
        sum_scale_bits: 55,
        k: 15,
        degree: 30,
        double_angle: 3,
        arcsine_degree: 7,
        ratio_bits: 5,
        sparse_weight: 32,
    };
    ParamSpec {
        log_n,
        first_bits: 50,
        scale_bits: 42,
        levels: 4,
        special: 5,
        special_bits: 50,
        bootstrap: Some(circuit.into()),
        insecure: true,
    }
}

struct Party {
    ctx: Arc<Context>,
    secret: SecretKey,
    random: Randomness,
}

impl Party {
    fn new(log_n: u32, isa: Isa) -> Self {
        Self::with_spec(spec(log_n), isa)
    }

    fn with_spec(spec: ParamSpec, isa: Isa) -> Self {
        let ctx = Context::with_isa(Params::new(spec).unwrap(), isa).unwrap();
        let mut random = Randomness::from_seed(&[3; 32]);
        let secret = SecretKey::generate(&ctx, &mut random).unwrap();
        Self { ctx, secret, random }
    }

    fn evaluator(&mut self, requests: &[KeyRequest]) -> Evaluator {
        let mut generator = KeyGenerator::new(&self.ctx, &self.secret, &mut self.random).unwrap();
        let keys = generator.generate(requests, |_| ()).unwrap();
        Evaluator::new(self.ctx.clone(), Arc::new(keys)).unwrap()
    }
}

/// Reproducible values in [-1, 1].
fn vector(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn worst_bits(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    -found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max).log2()
}

#[test]
fn precision_at_every_slot_count_and_target() {
    let mut p = Party::new(10, Isa::detect());
    for (slots, target) in [(512, 4), (512, 1), (256, 4), (16, 2), (1, 3)] {
        let boot = Bootstrapper::new(&p.ctx, slots, target).unwrap();
        let eval = p.evaluator(&Bootstrapper::keys(p.ctx.params(), boot.slots(), boot.target()).unwrap());
        let constant = vec![1.0; slots];
        let spike: Vec<f64> = (0..slots).map(|i| if i == slots / 3 { -1.0 } else { 0.0 }).collect();
        for (values, level) in [(vector(slots, 5), 0), (vector(slots, 6), 3), (constant, 1), (spike, 0)] {
            let x = p.secret.encrypt(&p.ctx, &values, level, &mut p.random).unwrap();
            let y = boot.apply(&eval, &x).unwrap();
            assert_eq!((y.level(), y.scale_degree(), y.parts().len()), (target, 1, 2));
            let bits = worst_bits(&p.secret.decrypt(&p.ctx, &y).unwrap().re, &values);
            eprintln!("{slots} slots to level {target}: {bits:.1} bits");
            assert!(bits > 20.0, "{slots} slots to level {target}: {bits:.1} bits");
        }
        assert_eq!(eval.counts().bootstraps, 4);
    }
}

#[test]
fn the_compact_circuit_keeps_thirteen_bits() {
    let circuit = Circuit { stc_levels: 2, ..Circuit::compact(42) };
    let mut p = Party::with_spec(ParamSpec { bootstrap: Some(circuit.into()), ..spec(10) }, Isa::detect());
    assert_eq!([Circuit::compact(42), Circuit::standard(42)].map(|b| b.levels()), [16, 20]);
    for (slots, target) in [(512, 4), (256, 1), (16, 2)] {
        let boot = Bootstrapper::new(&p.ctx, slots, target).unwrap();
        let eval = p.evaluator(&Bootstrapper::keys(p.ctx.params(), slots, target).unwrap());
        // A constant is one large coefficient, whose sine is furthest from it.
        for (values, least) in [(vector(slots, 5), 16.0), (vec![1.0; slots], 13.0), (vec![0.5; slots], 15.0)] {
            let x = p.secret.encrypt(&p.ctx, &values, 0, &mut p.random).unwrap();
            let y = boot.apply(&eval, &x).unwrap();
            assert_eq!((y.level(), y.scale_degree()), (target, 1));
            let bits = worst_bits(&p.secret.decrypt(&p.ctx, &y).unwrap().re, &values);
            assert!(bits > least, "{slots} slots to level {target}: {bits:.1} bits");
        }
    }
}

/// Every target has EvalMod run over other primes, two of them at other products.
#[test]
fn every_target_keeps_the_precision() {
    for (circuit, least) in [(Circuit::compact(42), 19.0), (Circuit::standard(42), 24.0)] {
        let mut p =
            Party::with_spec(ParamSpec { levels: 14, bootstrap: Some(circuit.into()), ..spec(9) }, Isa::detect());
        for target in 1..=14 {
            let boot = Bootstrapper::new(&p.ctx, 128, target).unwrap();
            let eval = p.evaluator(&Bootstrapper::keys(p.ctx.params(), 128, target).unwrap());
            let values = vector(128, target as u64);
            let x = p.secret.encrypt(&p.ctx, &values, 0, &mut p.random).unwrap();
            let y = boot.apply(&eval, &x).unwrap();
            assert_eq!((y.level(), y.scale_degree()), (target, 1));
            let bits = worst_bits(&p.secret.decrypt(&p.ctx, &y).unwrap().re, &values);
            assert!(bits > least, "level {target}: {bits:.1} bits, {boot}");
        }
    }
}

#[test]
fn a_lower_target_starts_lower() {
    let p = Party::new(10, Isa::detect());
    let starts: Vec<usize> = (0..=4).map(|t| Bootstrapper::new(&p.ctx, 512, t).unwrap().start()).collect();
    assert!(starts[0] < starts[4] && starts.windows(2).all(|w| w[0] <= w[1]), "{starts:?}");
    assert_eq!(starts[4], p.ctx.params().top_level());
    assert!(matches!(Bootstrapper::new(&p.ctx, 512, 5), Err(CkksError::Level { max: 4, .. })));
    assert!(matches!(Bootstrapper::new(&p.ctx, 1024, 4), Err(CkksError::Slots { .. })));
}

#[test]
fn products_go_on_after_a_bootstrap() {
    let mut p = Party::new(10, Isa::detect());
    let boot = Bootstrapper::new(&p.ctx, 64, 4).unwrap();
    let eval = p.evaluator(&Bootstrapper::keys(p.ctx.params(), boot.slots(), boot.target()).unwrap());
    let mut clear = vector(64, 8);
    let mut x = p.secret.encrypt(&p.ctx, &clear, 4, &mut p.random).unwrap();
    for _ in 0..2 {
        while x.level() > 0 {
            // x <- 1 - 2 x^2 stays in [-1, 1] and forgets nothing.
            let square = eval.rescale(&eval.relinearize(&eval.square(&x).unwrap()).unwrap()).unwrap();
            x = eval.add_scalar(&eval.mul_int(&square, -2).unwrap(), 1.0).unwrap();
            clear.iter_mut().for_each(|v| *v = 1.0 - 2.0 * *v * *v);
        }
        x = eval.bootstrap(&x, 4).unwrap();
    }
    // Every step quadruples an error at worst: 16 bits of the 24 are gone after eight of them.
    assert!(worst_bits(&p.secret.decrypt(&p.ctx, &x).unwrap().re, &clear) > 8.0);
}

#[test]
fn instruction_sets_agree_through_a_bootstrap() {
    let run = |isa: Isa| {
        let mut p = Party::new(8, isa);
        let boot = Bootstrapper::new(&p.ctx, 32, 2).unwrap();
        let eval = p.evaluator(&Bootstrapper::keys(p.ctx.params(), boot.slots(), boot.target()).unwrap());
        let x = p.secret.encrypt(&p.ctx, &vector(32, 4), 0, &mut p.random).unwrap();
        let y = boot.apply(&eval, &x).unwrap();
        fhec_ckks::ciphertexts_to_bytes(&p.ctx, &[y], serde_json::Value::Null).unwrap()
    };
    let reference = run(Isa::Portable);
    for isa in Isa::available() {
        assert!(run(isa) == reference, "{}", isa.name());
    }
}
