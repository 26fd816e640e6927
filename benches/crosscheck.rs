//! Runs small programs on ciphertexts, for another implementation to be compared with: reads one JSON object
//! `{"slots": n, "x": [..], "y": [..], "diagonals": [[..]; 4], "polynomial": [c0, ..]}` from standard input and writes
//! `{"name": [..slots..]}`. `benches/crosscheck.py` runs both sides.
//!
//! `cargo run --release --example crosscheck < programs.json`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use fhec_ckks::{
    Bootstrapper, Ciphertext, Context, Diagonal, Evaluator, KeyName, KeyRequest, LinearTransform, ParamSpec, Params,
    Role,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use serde::Deserialize;

/// Operands of the programs.
#[derive(Deserialize)]
struct Operands {
    slots: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    /// Diagonals 0, 1, .. of a matrix.
    diagonals: Vec<Vec<f64>>,
    /// Coefficients of the monomials, the constant first.
    polynomial: Vec<f64>,
}

/// Levels of programs.
const LEVELS: usize = 10;
/// Bits of their scale.
const SCALE_BITS: u32 = 42;

fn main() -> Result<(), Box<dyn Error>> {
    let operands: Operands = serde_json::from_reader(std::io::stdin().lock())?;
    let ctx = Context::new(Params::new(ParamSpec::bootstrapping(LEVELS as u32, SCALE_BITS)?)?)?;
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    let mut keys: BTreeMap<KeyName, usize> = BTreeMap::new();
    let own = (1..operands.diagonals.len().max(6) as u32).map(|by| (KeyName::Rotation(by), LEVELS));
    let bootstrap = Bootstrapper::keys(ctx.params(), operands.slots, LEVELS)?;
    for (name, level) in own.chain(bootstrap.into_iter().map(|r| (r.name, r.level))) {
        let known = keys.entry(name).or_insert(level);
        *known = level.max(*known);
    }
    let requests: Vec<KeyRequest> = keys.into_iter().map(|(name, level)| KeyRequest { name, level }).collect();
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let mut encrypt = |slots: &[f64], level: usize| secret.encrypt(&ctx, slots, level, &mut random);
    let (x, y) = (encrypt(&operands.x, LEVELS)?, encrypt(&operands.y, LEVELS)?);
    let factor = ctx.encode(&operands.y, Role::Factor { operand: LEVELS, at: LEVELS })?;
    let results = [
        ("product", eval.mul_rescale(&x, &y)?),
        ("plain_product", eval.rescale(&eval.mul_plain(&x, &factor)?)?),
        ("rotation", eval.rotate(&x, 5)?),
        ("linear", linear(&eval, &x, &operands.diagonals)?),
        ("polynomial", polynomial(&eval, &x, &operands.polynomial)?),
        ("bootstrap", eval.bootstrap(&encrypt(&operands.x, 0)?, LEVELS)?),
    ];
    let mut out = BTreeMap::new();
    for (name, ct) in results {
        out.insert(name, secret.decrypt(&ctx, &ct)?.re);
    }
    serde_json::to_writer(std::io::stdout().lock(), &out)?;
    Ok(())
}

/// The matrix with these diagonals.
fn linear(eval: &Evaluator, x: &Ciphertext, diagonals: &[Vec<f64>]) -> Result<Ciphertext, Box<dyn Error>> {
    let terms: Vec<Diagonal<'_>> =
        diagonals.iter().enumerate().map(|(r, re)| Diagonal { rotation: r as i64, giant: 0, re, im: &[] }).collect();
    let transform = LinearTransform::new(eval.context(), x.slots(), x.level(), x.level(), &terms)?;
    Ok(eval.rescale(&eval.linear(x, &transform)?)?)
}

/// By Horner's rule.
fn polynomial(eval: &Evaluator, x: &Ciphertext, coefficients: &[f64]) -> Result<Ciphertext, Box<dyn Error>> {
    let Some((&last, rest)) = coefficients.split_last() else { return Err("a polynomial without coefficients".into()) };
    let Some((&next, rest)) = rest.split_last() else { return Err("a constant polynomial".into()) };
    let mut sum = eval.rescale(&eval.mul_scalar(x, last, x.level())?)?;
    sum = eval.add_scalar(&sum, next)?;
    for &c in rest.iter().rev() {
        let x = eval.level_drop(x, sum.level())?;
        sum = eval.add_scalar(&eval.mul_rescale(&sum, &x)?, c)?;
    }
    Ok(sum)
}
