//! Ciphertexts and keys opened with the secret, by the public interface alone.

use fhec_ckks::{Ciphertext, Circuit, Context, ParamSpec, Params, Role, SwitchingKey};
use fhec_client::{Randomness, SecretKey};
use fhec_ring::RnsPoly;
use std::sync::{Arc, LazyLock};

/// Small parameters with all kinds of keys.
pub static CONTEXT: LazyLock<Arc<Context>> = LazyLock::new(|| {
    let spec = ParamSpec {
        log_n: 10,
        first_bits: 50,
        scale_bits: 42,
        levels: 3,
        special: 2,
        special_bits: 50,
        bootstrap: Some(Circuit::compact(42).into()),
        insecure: true,
    };
    Context::new(Params::new(spec).unwrap()).unwrap()
});

/// A secret key with its values laid open.
pub struct Opened {
    pub key: SecretKey,
    /// The coefficients.
    pub coefficients: Vec<i64>,
}

impl Opened {
    pub fn generate(random: &mut Randomness) -> Self {
        Self::of(SecretKey::generate(&CONTEXT, random).unwrap())
    }

    /// Decrypting the ciphertext (0, 1) gives the secret.
    pub fn of(key: SecretKey) -> Self {
        let (ctx, n) = (&*CONTEXT, CONTEXT.params().n());
        let mut one = RnsPoly::zero(n, 1);
        one.as_mut_slice().fill(1);
        let ct = Ciphertext::from_parts(ctx, vec![RnsPoly::zero(n, 1), one], 1, n / 2, key.id()).unwrap();
        let slots = key.decrypt(ctx, &ct).unwrap();
        let plain = ctx.encode_complex(&slots.re, &slots.im, Role::Term { level: 0, sd: 1 }).unwrap();
        let mut buffer = vec![0; n];
        let mut values = ctx.plain_limb(&plain, 0, &mut buffer).to_vec();
        let coefficients = centred(0, &mut values);
        Self { key, coefficients }
    }

    /// What `c0 + c1 s` leaves over the message of a ciphertext, modulo the first prime.
    pub fn error(&self, ct: &Ciphertext, slots: &[f64]) -> Vec<i64> {
        let mut phase = phase(0, ct.parts()[0].limb(0), ct.parts()[1].limb(0), &self.coefficients);
        subtract_message(ct.level(), slots, &mut phase);
        centred(0, &mut phase)
    }
}

/// Takes the encoding of `slots` at `level` off, modulo the first prime.
pub fn subtract_message(level: usize, slots: &[f64], from: &mut [u64]) {
    let plain = CONTEXT.encode(slots, Role::Term { level, sd: 1 }).unwrap();
    let mut buffer = vec![0; from.len()];
    CONTEXT.ring().limb(0).sub_assign(from, CONTEXT.plain_limb(&plain, 0, &mut buffer));
}

/// `b + a s` in evaluation form modulo prime `index` of the ring.
pub fn phase(index: usize, b: &[u64], a: &[u64], secret: &[i64]) -> Vec<u64> {
    let limb = CONTEXT.ring().limb(index);
    let mut out = vec![0; b.len()];
    limb.reduce_signed(secret, &mut out);
    limb.forward(&mut out);
    limb.mul_assign(&mut out, a);
    limb.add_assign(&mut out, b);
    out
}

/// The coefficients of what is in evaluation form modulo prime `index`.
pub fn centred(index: usize, values: &mut [u64]) -> Vec<i64> {
    let limb = CONTEXT.ring().limb(index);
    limb.inverse(values);
    values.iter().map(|&v| limb.modulus().centre(v)).collect()
}

/// One row of a switching key.
pub struct Row {
    pub error: Vec<i64>,
    /// The secret that it carries.
    pub carried: Vec<i64>,
    /// Both halves modulo every prime, with the ring index of the prime.
    pub limbs: Vec<(usize, Vec<u64>, Vec<u64>)>,
}

/// The rows of a key whose rows are encrypted under these coefficients.
pub fn rows(key: &SwitchingKey, under: &[i64]) -> Vec<Row> {
    let row_limbs = key.level() + 1 + key.alpha();
    let rows = key.stored_half().chunks_exact(row_limbs * CONTEXT.params().n());
    rows.enumerate().map(|(row, halves)| open_row(key, row, halves, under)).collect()
}

fn open_row(key: &SwitchingKey, row: usize, stored: &[u64], under: &[i64]) -> Row {
    let ctx = &*CONTEXT;
    let mut limbs = Vec::new();
    for (i, b) in stored.chunks_exact(ctx.params().n()).enumerate() {
        let index = ctx.prime_index(key.level(), i);
        let mut a = vec![0; b.len()];
        ctx.expand_limb(key.seed(), row as u32, index, &mut a);
        limbs.push((index, b.to_vec(), a));
    }
    let open = |i: usize| {
        let (index, b, a) = &limbs[i];
        centred(*index, &mut phase(*index, b, a, under))
    };
    // Modulo the special primes nothing is carried.
    let error = open(key.level() + 1);
    let digit = row * key.alpha()..((row + 1) * key.alpha()).min(key.level() + 1);
    for i in (0..limbs.len()).filter(|i| !digit.contains(i)) {
        assert_eq!(open(i), error, "limb {i} of row {row} of {} has another error", key.name());
    }
    // Modulo the primes of its digit it carries P s'.
    let m = ctx.ring().modulus(digit.start);
    let p = ctx.params().p()[..key.alpha()].iter().fold(1, |acc, &p| m.mul(acc, m.reduce_u64(p)));
    let inverse = m.inv(p).unwrap();
    let carried = |(&v, &e): (&i64, &i64)| m.centre(m.mul(m.sub(m.reduce_i64(v), m.reduce_i64(e)), inverse));
    let carried = open(digit.start).iter().zip(&error).map(carried).collect();
    Row { error, carried, limbs }
}
