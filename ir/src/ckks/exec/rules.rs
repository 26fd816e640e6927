//! The rules of levels and scales, for interpreters that carry [`CtTy`] themselves. Each gives the type of a result, or
//! says why an engine would have to refuse the op.

use miette::Diagnostic;
use thiserror::Error;

use crate::ckks::CtTy;

/// What the rules of levels and scales forbid.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("{0}")]
#[diagnostic(help("this is an error in fhec: report it with the plan"))]
pub struct ClearError(String);

fn check(ok: bool, message: impl FnOnce() -> String) -> Result<(), ClearError> {
    if ok { Ok(()) } else { Err(ClearError(message())) }
}

fn canonical(x: CtTy, what: &str) -> Result<(), ClearError> {
    check(x.sd == 1 && x.parts == 2, || format!("{what} of {x}"))
}

/// Two operands of `n` and `m` slots.
///
/// # Errors
/// When they differ in length.
pub fn same_slots(n: usize, m: usize) -> Result<(), ClearError> {
    check(n == m, || format!("operands of {n} and {m} slots"))
}

/// A ciphertext of `n` slots and a constant `name` of `m` elements.
///
/// # Errors
/// When they differ in length.
pub fn constant_slots(name: &str, n: usize, m: usize) -> Result<(), ClearError> {
    check(n == m, || format!("constant `{name}` has {m} elements for {n} slots"))
}

/// A ciphertext of `n` slots and diagonals of `m`.
///
/// # Errors
/// When they differ in length.
pub fn diagonal_slots(n: usize, m: usize) -> Result<(), ClearError> {
    check(n == m, || format!("diagonals of {m} slots over {n} slots"))
}

/// A sum or difference.
///
/// # Errors
/// When level or scale differ.
pub fn sum(a: CtTy, b: CtTy) -> Result<CtTy, ClearError> {
    check(a.level == b.level && a.sd == b.sd, || format!("sum of {a} and {b}"))?;
    Ok(CtTy { parts: a.parts.max(b.parts), ..a })
}

/// A product with a number, a vector, or the diagonals of a linear transform, made at level `at`.
///
/// # Errors
/// When the operand is not canonical, or `at` is above its level or 0.
pub fn plain_product(x: CtTy, at: u32) -> Result<CtTy, ClearError> {
    canonical(x, "plain product")?;
    check(0 < at && at <= x.level, || format!("plain product at level {at} of {x}"))?;
    Ok(CtTy { level: at, sd: 2, parts: 2 })
}

/// A product of two ciphertexts.
///
/// # Errors
/// When they are not canonical and of one level above 0.
pub fn product(a: CtTy, b: CtTy) -> Result<CtTy, ClearError> {
    canonical(a, "product")?;
    check(a == b && a.level > 0, || format!("product of {a} and {b}"))?;
    Ok(CtTy { level: a.level, sd: 2, parts: 3 })
}

/// A relinearisation.
///
/// # Errors
/// When there are no three parts.
pub fn relinearize(x: CtTy) -> Result<CtTy, ClearError> {
    check(x.parts == 3, || format!("relinearisation of {x}"))?;
    Ok(CtTy { parts: 2, ..x })
}

/// A rescale.
///
/// # Errors
/// At level 0 or scale degree 1.
pub fn rescale(x: CtTy) -> Result<CtTy, ClearError> {
    check(x.sd == 2 && x.level > 0, || format!("rescale of {x}"))?;
    Ok(CtTy { level: x.level - 1, sd: 1, parts: x.parts })
}

/// A level drop.
///
/// # Errors
/// When the operand is not canonical or not above `to`.
pub fn level_drop(x: CtTy, to: u32) -> Result<CtTy, ClearError> {
    canonical(x, "level drop")?;
    check(to < x.level, || format!("level drop of {x} to {to}"))?;
    Ok(CtTy::at(to))
}

/// A rotation or conjugation, as `what` says.
///
/// # Errors
/// When there are three parts.
pub fn automorphism(x: CtTy, what: &str) -> Result<CtTy, ClearError> {
    check(x.parts == 2, || format!("{what} of {x}"))?;
    Ok(x)
}

/// A bootstrap.
///
/// # Errors
/// When the operand is not canonical.
pub fn bootstrap(x: CtTy, to: u32) -> Result<CtTy, ClearError> {
    canonical(x, "bootstrap")?;
    Ok(CtTy::at(to))
}
