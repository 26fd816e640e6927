//! The work that is counted from the parameters is compared with what an evaluator counts.

use fhec_ckks::{Bootstrapper, Circuit, Context, EngineStep, Evaluator, ParamSpec, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use std::sync::Arc;

fn spec(cts_levels: u32, stc_levels: u32, degree: u32, arcsine_degree: u32) -> ParamSpec {
    let standard = Circuit::standard(42);
    ParamSpec {
        log_n: 10,
        first_bits: 50,
        scale_bits: 42,
        levels: 3,
        special: 5,
        special_bits: 50,
        bootstrap: Some(Circuit { cts_levels, stc_levels, degree, arcsine_degree, ..standard }.into()),
        insecure: true,
    }
}

/// Transforms of the full degree, divisions by one prime, key switches.
fn counted(steps: impl Iterator<Item = (EngineStep, u64)>, n: usize) -> [u64; 3] {
    let mut out = [0; 3];
    for (step, times) in steps {
        let [transforms, rescales, switches] = match step {
            EngineStep::Divide { limbs } => [limbs, 1, 0],
            EngineStep::Switch(s) => [(s.digits() + 2) * s.qp_limbs(), 0, 1],
            EngineStep::SwitchDivide(s) => [(s.digits() + 2) * s.qp_limbs(), 2, 1],
            EngineStep::Decompose(s) => [s.digits() * s.qp_limbs(), 0, 0],
            EngineStep::ModDown(s) => [s.qp_limbs(), 0, 0],
            EngineStep::InnerProduct(_) => [0, 0, 1],
            EngineStep::Diagonal { limbs, coefficients, .. } if coefficients == n => [limbs, 0, 0],
            // The evaluator does not count the transforms of constants and of the raised modulus.
            _ => [0; 3],
        };
        for (sum, by) in out.iter_mut().zip([transforms, rescales, switches]) {
            *sum += times * by as u64;
        }
    }
    out
}

#[test]
fn the_work_of_a_bootstrap_is_known_beforehand() {
    for (spec, slots, target) in [
        (spec(3, 3, 30, 7), 512, 3),
        (spec(3, 3, 30, 7), 256, 0),
        (spec(2, 2, 30, 3), 64, 2),
        (spec(4, 3, 62, 1), 512, 1),
        (spec(3, 2, 14, 7), 16, 3),
        (ParamSpec { bootstrap: Some(Circuit::compact(42).into()), ..spec(3, 3, 30, 1) }, 256, 3),
        (ParamSpec { bootstrap: Some(Circuit::compact(44).into()), ..spec(3, 3, 30, 1) }, 512, 0),
    ] {
        let ctx = Context::new(Params::new(spec).unwrap()).unwrap();
        let mut random = Randomness::from_seed(&[9; 32]);
        let secret = SecretKey::generate(&ctx, &mut random).unwrap();
        let requests = Bootstrapper::keys(ctx.params(), slots, target).unwrap();
        let keys = KeyGenerator::new(&ctx, &secret, &mut random).unwrap().generate(&requests, |_| ()).unwrap();
        let eval = Evaluator::new(ctx.clone(), Arc::new(keys)).unwrap();
        let x = secret.encrypt(&ctx, &vec![0.5; slots], 0, &mut random).unwrap();
        eval.bootstrap(&x, target).unwrap();
        let work = Bootstrapper::work(ctx.params(), slots, target).unwrap();
        let done = eval.counts();
        let products: u64 =
            work.steps.iter().filter(|(s, _)| matches!(s, EngineStep::Diagonal { .. })).map(|(_, n)| n).sum();
        assert_eq!(
            (counted(work.steps.into_iter(), ctx.params().n()), products),
            ([done.transforms, done.rescales, done.key_switches], done.plain_products),
            "{slots} slots to level {target}"
        );
    }
}
