//! Every operation is compared with cleartext slots, at small N. The bounds are a few times the error expected at these
//! scales.

use fhec_ckks::{
    Ciphertext, CkksError, Context, Diagonal, Evaluator, KeyName, KeyRequest, KeySet, LinearTransform, ParamSpec,
    Params, Role,
};
use fhec_client::{KeyGenerator, PublicKey, Randomness, SecretKey};
use fhec_ring::Isa;
use std::sync::Arc;

const LEVELS: usize = 6;

fn spec() -> ParamSpec {
    ParamSpec {
        log_n: 11,
        first_bits: 50,
        scale_bits: 40,
        levels: LEVELS as u32,
        special: 3,
        special_bits: 50,
        bootstrap: None,
        insecure: true,
    }
}

struct Party {
    ctx: Arc<Context>,
    secret: SecretKey,
    eval: Evaluator,
    random: Randomness,
}

fn requests(rotations: &[(u32, usize)]) -> Vec<KeyRequest> {
    let fixed = [KeyName::Relin, KeyName::Conj].map(|name| KeyRequest { name, level: LEVELS });
    let rotations = rotations.iter().map(|&(r, level)| KeyRequest { name: KeyName::Rotation(r), level });
    fixed.into_iter().chain(rotations).collect()
}

fn party_with(isa: Isa, rotations: &[(u32, usize)]) -> Party {
    let ctx = Context::with_isa(Params::new(spec()).unwrap(), isa).unwrap();
    let mut random = Randomness::from_seed(&[7; 32]);
    let secret = SecretKey::generate(&ctx, &mut random).unwrap();
    let keys = KeyGenerator::new(&ctx, &secret, &mut random).unwrap().generate(&requests(rotations), |_| ()).unwrap();
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys)).unwrap();
    Party { ctx, secret, eval, random }
}

fn party() -> Party {
    party_with(Isa::detect(), &[(1, LEVELS), (5, 3), (1023, LEVELS)])
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

#[track_caller]
fn close(found: &[f64], expected: &[f64], bits: f64) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 2f64.powf(-bits), "error 2^{:.1}, at most 2^-{bits} expected", worst.log2());
}

impl Party {
    fn encrypt(&mut self, v: &[f64], level: usize) -> Ciphertext {
        self.secret.encrypt(&self.ctx, v, level, &mut self.random).unwrap()
    }

    fn decrypt(&self, ct: &Ciphertext) -> Vec<f64> {
        self.secret.decrypt(&self.ctx, ct).unwrap().re.to_vec()
    }
}

fn rotated(v: &[f64], by: i64) -> Vec<f64> {
    (0..v.len()).map(|i| v[(i as i64 + by).rem_euclid(v.len() as i64) as usize]).collect()
}

fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect()
}

#[test]
fn decryption_gives_what_was_encrypted() {
    let mut p = party();
    for (slots, level) in [(1024, LEVELS), (1024, 0), (16, 2), (1, 1)] {
        let v = vector(slots, 3);
        let ct = p.encrypt(&v, level);
        close(&p.decrypt(&ct), &v, 27.0);
    }
    let public = PublicKey::generate(&p.ctx, &p.secret, &mut p.random).unwrap();
    let v = vector(1024, 5);
    let ct = public.encrypt(&p.ctx, &v, 4, &mut p.random).unwrap();
    close(&p.decrypt(&ct), &v, 22.0);
    // Complex slots.
    let im = vector(64, 9);
    let plain = p.ctx.encode_complex(&v[..64], &im, Role::Term { level: 1, sd: 1 }).unwrap();
    let ct = p.secret.encrypt_plain(&p.ctx, &plain, &mut p.random).unwrap();
    let back = p.secret.decrypt(&p.ctx, &ct).unwrap();
    close(&back.re, &v[..64], 26.0);
    close(&back.im, &im, 26.0);
}

#[test]
fn sums_and_plain_operands() {
    let mut p = party();
    let (a, b) = (vector(1024, 1), vector(1024, 2));
    let (ca, cb) = (p.encrypt(&a, 4), p.encrypt(&b, 4));
    close(&p.decrypt(&p.eval.add(&ca, &cb).unwrap()), &zip(&a, &b, |x, y| x + y), 27.0);
    close(&p.decrypt(&p.eval.sub(&ca, &cb).unwrap()), &zip(&a, &b, |x, y| x - y), 27.0);
    close(&p.decrypt(&p.eval.neg(&ca).unwrap()), &zip(&a, &b, |x, _| -x), 26.0);
    close(&p.decrypt(&p.eval.mul_int(&ca, -3).unwrap()), &zip(&a, &b, |x, _| -3.0 * x), 27.0);
    close(&p.decrypt(&p.eval.add_scalar(&ca, 2.5).unwrap()), &zip(&a, &b, |x, _| x + 2.5), 26.0);
    for at in [4, 3, 1] {
        let plain = p.ctx.encode(&b, Role::Factor { operand: 4, at }).unwrap();
        let product = p.eval.mul_plain(&ca, &plain).unwrap();
        assert_eq!((product.level(), product.scale_degree()), (at, 2));
        close(&p.decrypt(&product), &zip(&a, &b, |x, y| x * y), 27.0);
        let kept = p.eval.mul_plain(&ca, &plain.evaluate(&p.ctx)).unwrap();
        assert_eq!(kept, product);
        let term = p.ctx.encode(&a, Role::Term { level: at, sd: 2 }).unwrap();
        let sum = p.eval.add_scalar(&p.eval.add_plain(&product, &term).unwrap(), -1.25).unwrap();
        let expected = zip(&a, &b, |x, y| x * y + x - 1.25);
        close(&p.decrypt(&sum), &expected, 27.0);
        close(&p.decrypt(&p.eval.rescale(&sum).unwrap()), &expected, 27.0);
        let scaled = p.eval.rescale(&p.eval.mul_scalar(&ca, 0.7, at).unwrap()).unwrap();
        assert_eq!(scaled.level(), at - 1);
        close(&p.decrypt(&scaled), &zip(&a, &b, |x, _| 0.7 * x), 27.0);
    }
    // A sparse plaintext repeats.
    let plain = p.ctx.encode(&b[..8], Role::Factor { operand: 4, at: 4 }).unwrap();
    let expected: Vec<f64> = a.iter().enumerate().map(|(i, x)| x * b[i % 8]).collect();
    close(&p.decrypt(&p.eval.mul_plain(&ca, &plain).unwrap()), &expected, 27.0);
}

#[test]
fn products_down_to_the_last_level() {
    let mut p = party();
    let (a, b) = (vector(1024, 1), vector(1024, 2));
    let (ca, cb) = (p.encrypt(&a, LEVELS), p.encrypt(&b, LEVELS));
    let raw = p.eval.mul(&ca, &cb).unwrap();
    assert_eq!(raw.parts().len(), 3);
    let expected = zip(&a, &b, |x, y| x * y);
    close(&p.decrypt(&raw), &expected, 27.0);
    close(&p.decrypt(&p.eval.relinearize(&raw).unwrap()), &expected, 27.0);
    // Both divisions at once save the transforms of a rescale.
    let before = p.eval.counts();
    let both = p.eval.mul_rescale(&ca, &cb).unwrap();
    let between = p.eval.counts();
    let two = p.eval.rescale(&p.eval.relinearize(&p.eval.mul(&ca, &cb).unwrap()).unwrap()).unwrap();
    let [once, twice] = [between - before, p.eval.counts() - between];
    assert_eq!((once.rescales, once.key_switches), (twice.rescales, twice.key_switches));
    assert_eq!(once.transforms + 2 * (LEVELS as u64 + 1), twice.transforms);
    assert_eq!((both.level(), both.scale_degree(), both.parts().len()), (two.level(), 1, 2));
    close(&p.decrypt(&both), &p.decrypt(&two), 26.0);
    close(&p.decrypt(&both), &expected, 24.0);
    // Rescaling first and relinearising later is allowed too, but costs bits: the rounding of the third part meets s^2.
    close(&p.decrypt(&p.eval.relinearize(&p.eval.rescale(&raw).unwrap()).unwrap()), &expected, 20.0);
    let (mut x, mut clear) = (ca, a);
    for level in (0..LEVELS).rev() {
        x = p.eval.mul_rescale(&x, &x).unwrap();
        clear.iter_mut().for_each(|v| *v *= *v);
        assert_eq!((x.level(), x.scale_degree(), x.parts().len()), (level, 1, 2));
        close(&p.decrypt(&x), &clear, 24.0);
    }
    assert!(matches!(p.eval.mul_rescale(&x, &x), Err(CkksError::Level { op: "rescale", level: 0, .. })));
}

#[test]
fn level_drops_meet_products() {
    let mut p = party();
    let (a, b) = (vector(1024, 1), vector(1024, 2));
    let (ca, cb) = (p.encrypt(&a, LEVELS), p.encrypt(&b, 3));
    for to in 0..=LEVELS {
        let low = p.eval.level_drop(&ca, to).unwrap();
        assert_eq!((low.level(), low.scale_degree()), (to, 1));
        close(&p.decrypt(&low), &a, 27.0);
    }
    let sum = p.eval.add(&p.eval.level_drop(&ca, 3).unwrap(), &cb).unwrap();
    close(&p.decrypt(&sum), &zip(&a, &b, |x, y| x + y), 27.0);
    let raw = p.eval.mul(&ca, &ca).unwrap();
    assert!(matches!(p.eval.level_drop(&raw, 2), Err(CkksError::ScaleDegree { .. })));
}

#[test]
fn rotations_turn_all_slots_at_every_level() {
    let mut p = party();
    let a = vector(1024, 1);
    for level in [LEVELS, 2, 0] {
        let ca = p.encrypt(&a, level);
        for by in [0, 1, -1, 1024, 1025] {
            close(&p.decrypt(&p.eval.rotate(&ca, by).unwrap()), &rotated(&a, by), 27.0);
        }
    }
    let ca = p.encrypt(&a, 3);
    let many = p.eval.rotate_many(&ca, &[5, 0, -1, 1]).unwrap();
    for (ct, by) in many.iter().zip([5, 0, -1, 1]) {
        close(&p.decrypt(ct), &rotated(&a, by), 27.0);
        assert_eq!(*ct, p.eval.rotate(&ca, by).unwrap());
    }
    // Sparse vectors rotate within their own length.
    let short = p.encrypt(&a[..4], 2);
    close(&p.decrypt(&p.eval.rotate(&short, 5).unwrap()), &rotated(&a[..4], 5), 27.0);
    let im = vector(1024, 4);
    let plain = p.ctx.encode_complex(&a, &im, Role::Term { level: 2, sd: 1 }).unwrap();
    let ct = p.secret.encrypt_plain(&p.ctx, &plain, &mut p.random).unwrap();
    let back = p.secret.decrypt(&p.ctx, &p.eval.conjugate(&ct).unwrap()).unwrap();
    close(&back.re, &a, 27.0);
    close(&back.im, &im.iter().map(|v| -v).collect::<Vec<_>>(), 27.0);
}

/// (rotation, giant) pairs of the transforms under test; slots; operand level; level of the products.
type Case<'a> = (&'a [(i64, i64)], usize, usize, usize);

#[test]
fn linear_transforms_are_sums_of_rotations_times_diagonals() {
    // Keys of different levels have digits of different sizes, which one transform must be able to mix.
    let mut p = party_with(
        Isa::detect(),
        &[(1, 5), (2, LEVELS), (3, 3), (4, 4), (8, LEVELS), (1020, 3), (6, 4), (12, 6), (31, 4), (28, 4), (24, 4)],
    );
    let cases: [Case<'_>; 6] = [
        (&[(0, 0)], 1024, 4, 3),
        (&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 4), (5, 4), (7, 4), (8, 8), (10, 8)], 1024, 3, 3),
        (&[(4, 4), (9, 8), (11, 8)], 1024, 3, 2),
        (&[(0, 0), (-4, -4), (-3, -4), (-2, -4), (1, 0)], 1024, 5, 3),
        (&[(3, 0), (1, 0)], 64, 2, 2),
        (&[(-1, 0), (-4, -4), (0, 0), (-8, -8), (2, 0), (6, 4), (3, 4)], 32, 4, 4),
    ];
    for (steps, slots, operand, at) in cases {
        let x = vector(slots, 11);
        let ct = p.encrypt(&x, operand);
        let diagonals: Vec<Vec<f64>> = (0..steps.len()).map(|k| vector(slots, 20 + k as u64)).collect();
        let list: Vec<Diagonal<'_>> = steps
            .iter()
            .zip(&diagonals)
            .map(|(&(rotation, giant), d)| Diagonal { rotation, giant, re: d, im: &[] })
            .collect();
        let transform = LinearTransform::new(&p.ctx, slots, operand, at, &list).unwrap();
        let mut expected = vec![0.0; slots];
        for (d, &(r, _)) in diagonals.iter().zip(steps) {
            for (out, (x, d)) in expected.iter_mut().zip(rotated(&x, r).iter().zip(d)) {
                *out += x * d;
            }
        }
        let before = p.eval.counts();
        let y = p.eval.linear(&ct, &transform).unwrap();
        assert_eq!((y.level(), y.scale_degree()), (at, 2));
        close(&p.decrypt(&y), &expected, 26.0);
        close(&p.decrypt(&p.eval.rescale(&y).unwrap()), &expected, 26.0);
        let done = p.eval.counts() - before;
        assert_eq!(done.plain_products as usize, steps.len());
        assert_eq!(done.rotations as usize, transform.keys().len());
        // With room for no key, one for two, or all, the groups of baby rotations change no bit.
        let largest = p.eval.keys().infos().iter().map(|k| k.stored_bytes).max().unwrap();
        for bound in [0, largest, 2 * largest] {
            p.eval.keys().set_memory_bound(bound);
            assert_eq!(p.eval.linear(&ct, &transform).unwrap(), y, "{bound}");
        }
        p.eval.keys().set_memory_bound(usize::MAX);
    }
}

#[test]
fn misuse_is_an_error() {
    let mut p = party();
    let v = vector(1024, 1);
    let (high, low) = (p.encrypt(&v, 5), p.encrypt(&v, 2));
    let e = &p.eval;
    assert!(matches!(e.add(&high, &low), Err(CkksError::LevelMismatch { left: 5, right: 2, .. })));
    assert!(matches!(e.mul(&high, &low), Err(CkksError::LevelMismatch { .. })));
    assert!(matches!(e.rescale(&high), Err(CkksError::ScaleDegree { found: 1, wanted: 2, .. })));
    let raw = e.mul(&high, &high).unwrap();
    assert!(matches!(e.add(&raw, &high), Err(CkksError::ScaleDegree { .. })));
    assert!(matches!(e.mul(&raw, &raw), Err(CkksError::ScaleDegree { .. })));
    assert!(matches!(e.rotate(&raw, 1), Err(CkksError::Parts { found: 3, .. })));
    assert!(matches!(e.rotate(&low, 2), Err(CkksError::MissingKey(KeyName::Rotation(2)))));
    let missing = e.rotate(&high, 5).unwrap_err();
    assert_eq!(missing, CkksError::KeyLevel { name: KeyName::Rotation(5), have: 3, need: 5 });
    assert!(missing.to_string().contains("made for level 3, but is used at level 5"));
    assert!(matches!(e.level_drop(&low, 4), Err(CkksError::Level { .. })));
    let factor = p.ctx.encode(&v, Role::Factor { operand: 4, at: 4 }).unwrap();
    assert!(matches!(e.mul_plain(&high, &factor), Err(CkksError::LevelMismatch { .. })));
    assert!(e.add_plain(&high, &factor).is_err());
    assert!(matches!(p.ctx.encode(&[1.0; 3], Role::Term { level: 1, sd: 1 }), Err(CkksError::Slots { .. })));
    assert!(matches!(p.ctx.encode(&[f64::NAN; 4], Role::Term { level: 1, sd: 1 }), Err(CkksError::Encode { .. })));
    assert!(matches!(
        p.ctx.encode(&[1e30, 0.0], Role::Term { level: 1, sd: 1 }),
        Err(CkksError::Encode { slot: 0, .. })
    ));
    assert!(p.ctx.encode(&[1.0], Role::Term { level: 99, sd: 1 }).is_err());
    assert!(e.mul_scalar(&high, f64::INFINITY, 3).is_err());
    let bottom = e.mul_scalar(&p.secret.encrypt(&p.ctx, &v, 0, &mut p.random).unwrap(), 0.5, 0).unwrap();
    assert!(matches!(e.rescale(&bottom), Err(CkksError::Level { .. })));
    // Other parameters, other keys.
    let other = Context::new(Params::new(ParamSpec { levels: 5, ..spec() }).unwrap()).unwrap();
    let stranger = SecretKey::generate(&other, &mut p.random).unwrap();
    assert!(matches!(stranger.decrypt(&p.ctx, &low), Err(CkksError::ParamsMismatch { .. })));
    assert!(Evaluator::new(other, e.keys().clone()).is_err());
    let second = SecretKey::generate(&p.ctx, &mut p.random).unwrap();
    let foreign = second.encrypt(&p.ctx, &v, 2, &mut p.random).unwrap();
    assert!(matches!(e.rotate(&foreign, 1), Err(CkksError::KeyMismatch { .. })));
    assert!(matches!(e.add(&low, &foreign), Err(CkksError::KeyMismatch { .. })));
}

#[test]
fn the_wrong_secret_gives_noise() {
    let mut p = party();
    let v = vec![0.5; 1024];
    let ct = p.encrypt(&v, 3);
    let wrong = SecretKey::generate(&p.ctx, &mut p.random).unwrap();
    assert!(p.secret.owns(&ct) && !wrong.owns(&ct));
    let noise = wrong.decrypt(&p.ctx, &ct).unwrap().re;
    // Uniform modulo q_0 q_1 = 2^90 at scale 2^40: nothing near the message, and no two seeds alike.
    let near = noise.iter().filter(|x| (*x - 0.5).abs() < 1e6).count();
    assert_eq!(near, 0);
    let rms = (noise.iter().map(|x| x * x).sum::<f64>() / 1024.0).sqrt();
    assert!(rms.log2() > 48.0, "{}", rms.log2());
}

#[test]
fn instruction_sets_and_thread_counts_give_the_same_bytes() {
    let run = |isa: Isa, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut p = party_with(isa, &[(1, LEVELS), (2, 3), (4, LEVELS)]);
            let v = vector(1024, 1);
            let ct = p.encrypt(&v, LEVELS);
            let square = p.eval.mul_rescale(&ct, &ct).unwrap();
            let turned = p.eval.conjugate(&p.eval.rotate(&square, 1).unwrap()).unwrap();
            let dropped = p.eval.level_drop(&turned, 3).unwrap();
            let diagonals: Vec<Diagonal<'_>> =
                [(0, 0), (1, 0), (6, 4)].map(|(rotation, giant)| Diagonal { rotation, giant, re: &v, im: &[] }).into();
            let transform = LinearTransform::new(&p.ctx, 1024, 3, 3, &diagonals).unwrap();
            let y = p.eval.rescale(&p.eval.linear(&dropped, &transform).unwrap()).unwrap();
            fhec_ckks::ciphertexts_to_bytes(&p.ctx, &[ct, square, y], serde_json::Value::Null).unwrap()
        })
    };
    let reference = run(Isa::Portable, 1);
    for isa in Isa::available() {
        assert!(run(isa, 1) == reference, "{}", isa.name());
    }
    assert!(run(Isa::detect(), 2) == reference);
}

#[test]
fn keys_on_disk_serve_like_keys_in_memory() {
    let mut p = party();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.key");
    let wanted = requests(&[(1, LEVELS), (5, 3)]);
    let mut steps = Vec::new();
    let mut random = Randomness::from_seed(&[9; 32]);
    KeyGenerator::new(&p.ctx, &p.secret, &mut random).unwrap().write(&path, &wanted, |s| steps.push(s)).unwrap();
    assert_eq!(steps.len(), 4);
    assert_eq!((steps[3].done, steps[3].total), (4, 4));
    let keys = KeySet::open(p.ctx.params(), &path).unwrap();
    assert_eq!(keys.infos().len(), 4);
    let stored: usize = keys.infos().iter().map(|k| k.stored_bytes).sum();
    let file = std::fs::metadata(&path).unwrap().len() as usize;
    assert!(file > stored && file < stored + 8192, "{file} {stored}");
    // Room for one expanded key: the others are expanded again at every use.
    keys.set_memory_bound(keys.infos().iter().map(|k| k.stored_bytes).max().unwrap());
    let eval = Evaluator::new(p.ctx.clone(), Arc::new(keys)).unwrap();
    let v = vector(1024, 1);
    let ct = p.encrypt(&v, 3);
    for _ in 0..2 {
        let y = eval.rotate(&eval.rotate(&eval.mul_rescale(&ct, &ct).unwrap(), 1).unwrap(), 5).unwrap();
        close(&p.decrypt(&y), &rotated(&zip(&v, &v, |x, y| x * y), 6), 23.0);
    }
    let copy = dir.path().join("client.key");
    p.secret.write(&p.ctx, &copy).unwrap();
    assert!(std::fs::metadata(&copy).unwrap().len() < 2048);
    let again = SecretKey::read(&p.ctx, &copy).unwrap();
    assert_eq!(again.decrypt(&p.ctx, &ct).unwrap(), p.secret.decrypt(&p.ctx, &ct).unwrap());
}
