//! Random programs on ciphertexts are compared with the same programs on cleartext slots.

use fhec_ckks::{
    Ciphertext, Context, Diagonal, Evaluator, KeyName, KeyRequest, LinearTransform, ParamSpec, Params, Role,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const SLOTS: usize = 64;
const LEVELS: usize = 8;

struct Party {
    ctx: Arc<Context>,
    secret: SecretKey,
    eval: Evaluator,
}

static PARTY: LazyLock<Party> = LazyLock::new(|| {
    let spec = ParamSpec {
        log_n: 7,
        first_bits: 50,
        scale_bits: 40,
        levels: LEVELS as u32,
        special: 4,
        special_bits: 50,
        bootstrap: None,
        insecure: true,
    };
    let ctx = Context::new(Params::new(spec).unwrap()).unwrap();
    let mut random = Randomness::from_seed(&[2; 32]);
    let secret = SecretKey::generate(&ctx, &mut random).unwrap();
    // Keys of different levels: programs use them at and below their own.
    let rotations =
        (1..SLOTS as u32).map(|r| KeyRequest { name: KeyName::Rotation(r), level: LEVELS - r as usize % 2 });
    let fixed = [KeyName::Relin, KeyName::Conj].map(|name| KeyRequest { name, level: LEVELS });
    let requests: Vec<KeyRequest> = fixed.into_iter().chain(rotations).collect();
    let keys = KeyGenerator::new(&ctx, &secret, &mut random).unwrap().generate(&requests, |_| ()).unwrap();
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys)).unwrap();
    Party { ctx, secret, eval }
});

#[derive(Debug, Clone)]
enum Op {
    AddInput,
    SubInput,
    AddScalar(f64),
    MulInt(i64),
    MulInput,
    Square,
    MulPlain { drop: usize, add: bool },
    MulScalar(f64),
    Rotate(i64),
    Conjugate,
    Drop(usize),
    Linear(Vec<(i64, i64)>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::AddInput),
        Just(Op::SubInput),
        (-1.0..1.0f64).prop_map(Op::AddScalar),
        (-2i64..3).prop_map(Op::MulInt),
        Just(Op::MulInput),
        Just(Op::Square),
        (0usize..3, any::<bool>()).prop_map(|(drop, add)| Op::MulPlain { drop, add }),
        (-1.0..1.0f64).prop_map(Op::MulScalar),
        // Level LEVELS has even rotations only.
        (-40i64..40).prop_map(|r| Op::Rotate(2 * r)),
        Just(Op::Conjugate),
        (1usize..3).prop_map(Op::Drop),
        prop::collection::vec(((-8i64..8).prop_map(|b| 2 * b), (-2i64..3).prop_map(|g| 16 * g)), 1..7)
            .prop_map(Op::Linear),
    ]
}

/// Values of a ciphertext, in the clear, and how large its error may be.
struct Clear {
    slots: Vec<f64>,
    error: f64,
}

impl Clear {
    fn map(&mut self, f: impl Fn(usize, f64) -> f64) {
        self.slots = self.slots.iter().enumerate().map(|(i, &x)| f(i, x)).collect();
    }

    fn largest(&self) -> f64 {
        self.slots.iter().fold(1.0, |m, x| x.abs().max(m))
    }

    fn rotated(&self, by: i64) -> Vec<f64> {
        (0..SLOTS).map(|i| self.slots[(i as i64 + by).rem_euclid(SLOTS as i64) as usize]).collect()
    }
}

/// Error of one rescaling or key switch at this size.
const FLOOR: f64 = 1e-9;

fn step(p: &Party, x: Ciphertext, clear: &mut Clear, input: (&Ciphertext, &[f64]), op: &Op) -> Ciphertext {
    let (e, level) = (&p.eval, x.level());
    let (ct, values) = input;
    let same = |level: usize| e.level_drop(ct, level).unwrap();
    let needs_level =
        matches!(op, Op::MulInput | Op::Square | Op::MulPlain { .. } | Op::MulScalar(_) | Op::Linear(_) | Op::Drop(_));
    if (needs_level && level == 0) || clear.largest() > 30.0 {
        return x;
    }
    clear.error += FLOOR;
    match op {
        Op::AddInput => {
            clear.map(|i, v| v + values[i]);
            e.add(&x, &same(level)).unwrap()
        }
        Op::SubInput => {
            clear.map(|i, v| v - values[i]);
            e.sub(&x, &same(level)).unwrap()
        }
        Op::AddScalar(c) => {
            clear.map(|_, v| v + c);
            e.add_scalar(&x, *c).unwrap()
        }
        Op::MulInt(k) => {
            clear.map(|_, v| v * *k as f64);
            clear.error *= k.abs().max(1) as f64;
            e.mul_int(&x, *k).unwrap()
        }
        Op::MulInput => {
            clear.error = (clear.error + FLOOR * clear.largest()) * 2.0;
            clear.map(|i, v| v * values[i]);
            e.mul_rescale(&x, &same(level)).unwrap()
        }
        Op::Square => {
            clear.error = clear.error * 2.5 * clear.largest() + FLOOR;
            clear.map(|_, v| v * v);
            e.mul_rescale(&x, &x).unwrap()
        }
        Op::MulPlain { drop, add } => {
            let at = level.saturating_sub(*drop).max(1);
            let plain = p.ctx.encode(values, Role::Factor { operand: level, at }).unwrap();
            let mut y = e.mul_plain(&x, &plain).unwrap();
            clear.error += FLOOR * clear.largest();
            clear.map(|i, v| v * values[i]);
            if *add {
                y = e.add_plain(&y, &p.ctx.encode(values, Role::Term { level: at, sd: 2 }).unwrap()).unwrap();
                clear.map(|i, v| v + values[i]);
            }
            e.rescale(&y).unwrap()
        }
        Op::MulScalar(c) => {
            clear.map(|_, v| v * c);
            e.rescale(&e.mul_scalar(&x, *c, level).unwrap()).unwrap()
        }
        Op::Rotate(by) => {
            clear.slots = clear.rotated(*by);
            e.rotate(&x, *by).unwrap()
        }
        Op::Conjugate => e.conjugate(&x).unwrap(),
        Op::Drop(by) => e.level_drop(&x, level.saturating_sub(*by)).unwrap(),
        Op::Linear(steps) => {
            let diagonals: Vec<Diagonal<'_>> =
                steps.iter().map(|&(b, giant)| Diagonal { rotation: b + giant, giant, re: values, im: &[] }).collect();
            let transform = LinearTransform::new(&p.ctx, SLOTS, level, level, &diagonals).unwrap();
            let y = e.rescale(&e.linear(&x, &transform).unwrap()).unwrap();
            let mut sum = vec![0.0; SLOTS];
            for &(b, g) in steps {
                sum.iter_mut().zip(clear.rotated(b + g)).zip(values).for_each(|((s, x), d)| *s += x * d);
            }
            clear.error = (clear.error + FLOOR * clear.largest()) * 2.0 * steps.len() as f64;
            clear.slots = sum;
            y
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn programs_compute_what_they_say(
        values in prop::collection::vec(-1.0..1.0f64, SLOTS),
        ops in prop::collection::vec(op(), 1..20),
        seed: [u8; 32],
    ) {
        let p = &*PARTY;
        let mut random = Randomness::from_seed(&seed);
        let input = p.secret.encrypt(&p.ctx, &values, LEVELS, &mut random).unwrap();
        let mut clear = Clear { slots: values.clone(), error: FLOOR };
        let mut x = input.clone();
        for op in &ops {
            x = step(p, x, &mut clear, (&input, &values), op);
            let found = p.secret.decrypt(&p.ctx, &x).unwrap().re;
            for (a, b) in found.iter().zip(&clear.slots) {
                prop_assert!((a - b).abs() <= clear.error, "{op:?}: {a} is not {b} within {:e}", clear.error);
            }
        }
    }
}
