//! The encoded diagonals of a linear transform.
//!
//! A plain vector of real slots is a polynomial that equals its conjugate, so half of its evaluations say nothing new.
//! Two of them, `a` and `b`, are kept as the one polynomial `a + X^(N/2) b` of the complex slots `a + i b`: half the
//! memory, and half the transforms, which are most of the time of a transform at low levels.

use crate::context::Context;
use crate::encode::Role;
use crate::error::{CkksError, KeyName, Result};
use crate::keys::KeyRequest;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Which diagonal of a polynomial is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiagonalPart {
    /// The polynomial is one diagonal.
    Whole,
    /// The first of two real ones.
    First,
    /// The second.
    Second,
}

/// One diagonal, as it is multiplied: after the baby rotation, before the giant one.
#[derive(Debug, Clone)]
pub(super) struct PackedTerm {
    pub(super) baby: Option<KeyName>,
    /// Index of the polynomial that holds it.
    pub(super) polynomial: usize,
    pub(super) part: DiagonalPart,
}

/// An encoded linear transform: `y = sum_k diagonal_k * rotate(x, rotation_k)`.
#[derive(Debug, Clone)]
pub struct LinearTransform {
    pub(super) slots: usize,
    pub(super) operand: usize,
    pub(super) at: usize,
    /// Small signed coefficients in a power of `X`, as in a [`Plaintext`](crate::Plaintext).
    pub(super) polynomials: Vec<Box<[i64]>>,
    /// By giant rotation; within one, by baby rotation.
    pub(super) giants: BTreeMap<Option<KeyName>, Vec<PackedTerm>>,
}

/// One diagonal to encode: its rotation, the giant-step part of it, the values.
#[derive(Debug, Clone, Copy)]
pub struct Diagonal<'a> {
    /// The rotation of the input.
    pub rotation: i64,
    /// Its giant-step part; the baby step is the rest.
    pub giant: i64,
    /// Real parts.
    pub re: &'a [f64],
    /// Imaginary parts; empty when all are zero.
    pub im: &'a [f64],
}

/// The sum of the diagonals of one pair of steps.
struct EncodedDiagonals {
    giant: Option<KeyName>,
    baby: Option<KeyName>,
    real: bool,
    coefficients: Box<[i64]>,
}

impl LinearTransform {
    /// Encodes the diagonals of a transform of `slots` slots for ciphertexts at level `operand`, the products made at
    /// level `at <= operand`. Diagonals that are zero are left out, the diagonals of one pair of steps are summed.
    ///
    /// # Errors
    /// Diagonals of another length than `slots`, or what [`Context::encode`] refuses.
    pub fn new(ctx: &Context, slots: usize, operand: usize, at: usize, diagonals: &[Diagonal<'_>]) -> Result<Self> {
        let scale = ctx.plain_scale(Role::Factor { operand, at })?;
        let encoded = encode(ctx, slots, scale, diagonals)?;
        let mut out = Self { slots, operand, at, polynomials: Vec::new(), giants: BTreeMap::new() };
        // By size: the last real diagonal that still is alone.
        let mut alone: BTreeMap<usize, EncodedDiagonals> = BTreeMap::new();
        for diagonal in encoded {
            if !diagonal.real {
                out.push(diagonal);
            } else if let Some(first) = alone.remove(&diagonal.coefficients.len()) {
                let polynomial = out.polynomials.len();
                out.polynomials.push(pair(&first.coefficients, &diagonal.coefficients));
                for (diagonal, part) in [(first, DiagonalPart::First), (diagonal, DiagonalPart::Second)] {
                    let EncodedDiagonals { giant, baby, .. } = diagonal;
                    out.giants.entry(giant).or_default().push(PackedTerm { baby, polynomial, part });
                }
            } else {
                alone.insert(diagonal.coefficients.len(), diagonal);
            }
        }
        alone.into_values().for_each(|diagonal| out.push(diagonal));
        out.giants.values_mut().for_each(|terms| terms.sort_by_key(|term| term.baby));
        Ok(out)
    }

    /// [`new`](Self::new) with the scale of the diagonals given, and complex diagonals expected: every one has a
    /// polynomial of its own.
    pub(crate) fn at_scale(
        ctx: &Context,
        slots: usize,
        at: usize,
        scale: f64,
        diagonals: &[Diagonal<'_>],
    ) -> Result<Self> {
        let mut out = Self { slots, operand: at, at, polynomials: Vec::new(), giants: BTreeMap::new() };
        encode(ctx, slots, scale, diagonals)?.into_iter().for_each(|diagonal| out.push(diagonal));
        Ok(out)
    }

    fn push(&mut self, EncodedDiagonals { giant, baby, coefficients, .. }: EncodedDiagonals) {
        let term = PackedTerm { baby, polynomial: self.polynomials.len(), part: DiagonalPart::Whole };
        self.giants.entry(giant).or_default().push(term);
        self.polynomials.push(coefficients);
    }

    /// Level of the products.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Number of diagonals.
    pub fn len(&self) -> usize {
        self.giants.values().map(Vec::len).sum()
    }

    /// Whether the transform is zero.
    pub fn is_empty(&self) -> bool {
        self.giants.is_empty()
    }

    /// Bytes of the encoded diagonals.
    pub fn bytes(&self) -> usize {
        self.polynomials.iter().map(|p| size_of_val(&**p)).sum()
    }

    /// The keys it needs.
    pub fn keys(&self) -> Vec<KeyRequest> {
        let names: BTreeSet<KeyName> = self.giants.keys().copied().chain(self.babies()).flatten().collect();
        names.into_iter().map(|name| KeyRequest { name, level: self.at }).collect()
    }

    pub(super) fn babies(&self) -> BTreeSet<Option<KeyName>> {
        self.giants.values().flatten().map(|t| t.baby).collect()
    }
}

/// The diagonals that are not zero, by giant and baby step.
fn encode(ctx: &Context, slots: usize, scale: f64, diagonals: &[Diagonal<'_>]) -> Result<Vec<EncodedDiagonals>> {
    ctx.check_slots("linear transform", slots)?;
    let mut sums: BTreeMap<(Option<KeyName>, Option<KeyName>), Vec<&Diagonal<'_>>> = BTreeMap::new();
    for d in diagonals {
        if d.re.len() != slots || !(d.im.is_empty() || d.im.len() == slots) {
            let wanted = format!("diagonals of {slots}");
            return Err(CkksError::Slots { op: "linear transform", found: d.re.len(), wanted });
        }
        if d.re.iter().chain(d.im).all(|&v| v == 0.0) {
            continue;
        }
        let names = [d.giant, d.rotation.wrapping_sub(d.giant)].map(|r| KeyName::rotation(r, slots));
        sums.entry((names[0], names[1])).or_default().push(d);
    }
    sums.into_par_iter()
        .map(|((giant, baby), parts)| {
            let by = match giant {
                Some(KeyName::Rotation(r)) => r as usize,
                _ => 0,
            };
            // The giant rotation moves the product to the left, so the diagonal starts out moved to the right.
            let gather = |all: Vec<&[f64]>| {
                let mut sum = vec![0.0; slots];
                for values in all.into_iter().filter(|v| !v.is_empty()) {
                    for (s, out) in sum.iter_mut().enumerate() {
                        *out += values[(s + slots - by) % slots];
                    }
                }
                sum
            };
            let real = parts.iter().all(|d| d.im.is_empty());
            let re = gather(parts.iter().map(|d| d.re).collect());
            let im = if real { Vec::new() } else { gather(parts.iter().map(|d| d.im).collect()) };
            // A diagonal that repeats is a polynomial of fewer coefficients.
            let period = period(&re, &im);
            let coefficients = ctx.encode_coefficients(&re[..period], &im[..period.min(im.len())], scale)?;
            Ok(EncodedDiagonals { giant, baby, real, coefficients: coefficients[..].into() })
        })
        .collect()
}

/// `a + Y^n b` modulo `Y^2n + 1` for real `a` and `b` of `2n` coefficients in `Y`.
///
/// Of a real polynomial coefficient `2n - k` is minus coefficient `k`, and coefficient `n` is zero. Rounding may have
/// broken that by a unit, so only the lower half is read.
fn pair(a: &[i64], b: &[i64]) -> Box<[i64]> {
    let n = a.len() / 2;
    let low = (0..n).map(|k| if k == 0 { a[0] } else { a[k] + b[n - k] });
    let high = (0..n).map(|k| if k == 0 { b[0] } else { b[k] - a[n - k] });
    low.chain(high).collect()
}

/// The least power of two after which both parts repeat.
fn period(re: &[f64], im: &[f64]) -> usize {
    let mut period = re.len();
    let repeats = |v: &[f64], half: usize| v.len() < 2 * half || v[..half] == v[half..2 * half];
    while period > 1 && repeats(re, period / 2) && repeats(im, period / 2) {
        period /= 2;
    }
    period
}
