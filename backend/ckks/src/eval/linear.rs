//! Linear transforms by diagonals, baby and giant steps, with double hoisting.
//!
//! `y = sum_g rotate_g( sum_b d_(g,b) rotate_b(x) )`. The input is cut into digits once; the baby rotations stay over
//! `Q P` while they are multiplied with the diagonals and summed; only the half of each giant sum that must be cut into
//! digits again is divided by `P`, and the result once more at the end (Bossuat, Mouchet, Troncoso-Pastoriza and
//! Hubaux, Efficient Bootstrapping for Approximate Homomorphic Encryption with Non-Sparse Keys, 2021).
//!
//! The first stage runs limb by limb: the baby rotations of one limb are made, used by every giant sum and forgotten,
//! and a diagonal is transformed from its compact form when its limb comes up.

use super::counters::count;
use super::{Evaluator, for_limbs};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encode::{Plaintext, Role};
use crate::error::{CkksError, KeyName, Result};
use crate::keys::{KeyRequest, PreparedKey};
use fhec_ring::{Automorphism, Digits, KeyHalves, KeySwitcher, Limb, Ring, RnsPoly};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One diagonal, as it is multiplied: after the baby rotation, before the giant one.
#[derive(Debug, Clone)]
struct Term {
    baby: Option<KeyName>,
    diagonal: Plaintext,
}

/// An encoded linear transform: `y = sum_k diagonal_k * rotate(x, rotation_k)`.
#[derive(Debug, Clone)]
pub struct LinearTransform {
    slots: usize,
    operand: usize,
    at: usize,
    /// By giant rotation; within one, by baby rotation.
    giants: BTreeMap<Option<KeyName>, Vec<Term>>,
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

impl LinearTransform {
    /// Encodes the diagonals of a transform of `slots` slots for ciphertexts at level `operand`, the products made at
    /// level `at <= operand`. Diagonals that are zero are left out, the diagonals of one pair of steps are summed.
    ///
    /// # Errors
    /// Diagonals of another length than `slots`, or what [`Context::encode`] refuses.
    pub fn new(ctx: &Context, slots: usize, operand: usize, at: usize, diagonals: &[Diagonal<'_>]) -> Result<Self> {
        Self::at_scale(ctx, slots, operand, at, ctx.plain_scale(Role::Factor { operand, at })?, diagonals)
    }

    /// [`new`](Self::new) with the scale of the diagonals given.
    pub(crate) fn at_scale(
        ctx: &Context,
        slots: usize,
        operand: usize,
        at: usize,
        scale: f64,
        diagonals: &[Diagonal<'_>],
    ) -> Result<Self> {
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
        let encoded: Vec<(Option<KeyName>, Term)> = sums
            .into_par_iter()
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
                let re = gather(parts.iter().map(|d| d.re).collect());
                let im = if parts.iter().all(|d| d.im.is_empty()) {
                    Vec::new()
                } else {
                    gather(parts.iter().map(|d| d.im).collect())
                };
                // A diagonal that repeats is a polynomial of fewer coefficients.
                let period = period(&re, &im);
                let coefficients = ctx.encode_coefficients(&re[..period], &im[..period.min(im.len())], scale)?.into();
                let role = Role::Factor { operand, at };
                let diagonal = Plaintext { role, slots: period, shift: 0, coefficients, evaluated: None };
                Ok((giant, Term { baby, diagonal }))
            })
            .collect::<Result<_>>()?;
        let mut giants: BTreeMap<_, Vec<Term>> = BTreeMap::new();
        for (giant, term) in encoded {
            giants.entry(giant).or_default().push(term);
        }
        Ok(Self { slots, operand, at, giants })
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
        self.giants.values().flatten().map(|t| t.diagonal.bytes()).sum()
    }

    /// The keys it needs.
    pub fn keys(&self) -> Vec<KeyRequest> {
        let names: std::collections::BTreeSet<KeyName> =
            self.giants.keys().copied().chain(self.babies()).flatten().collect();
        names.into_iter().map(|name| KeyRequest { name, level: self.at }).collect()
    }

    fn babies(&self) -> std::collections::BTreeSet<Option<KeyName>> {
        self.giants.values().flatten().map(|t| t.baby).collect()
    }
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

/// What a rotation needs: its key, its permutation, the tables of the key's digits.
struct Step {
    key: Arc<PreparedKey>,
    automorphism: Arc<Automorphism>,
    switcher: Arc<KeySwitcher>,
}

impl Evaluator {
    /// Applies a linear transform to a ciphertext at its operand level and scale degree 1; the result is at the
    /// transform's level `at`, scale degree 2.
    pub fn linear(&self, x: &Ciphertext, transform: &LinearTransform) -> Result<Ciphertext> {
        self.check(x)?;
        self.check_sd("linear", x, 1)?;
        self.check_parts("linear", x, 2)?;
        if x.level != transform.operand {
            return Err(CkksError::LevelMismatch { op: "linear", left: x.level, right: transform.operand });
        }
        if x.slots > transform.slots {
            let wanted = format!("a transform of {} slots", x.slots);
            return Err(CkksError::Slots { op: "linear", found: transform.slots, wanted });
        }
        if transform.keys().is_empty() {
            // Nothing rotates: no key is needed, whoever's the ciphertext is.
        } else {
            self.check_key(x)?;
        }
        let parts = self.linear_parts([&x.parts[0], &x.parts[1]], transform)?;
        let mut out = self.with_parts(x, parts.into(), transform.at, 2);
        out.slots = transform.slots;
        Ok(out)
    }

    /// [`linear`](Self::linear) on polynomials of at least `at + 1` limbs.
    pub(crate) fn linear_parts(&self, c: [&RnsPoly; 2], transform: &LinearTransform) -> Result<[RnsPoly; 2]> {
        let ctx = &*self.ctx;
        let (ring, n, at) = (ctx.ring(), ctx.params().n(), transform.at);
        let step = |name: Option<KeyName>| -> Result<Option<Step>> {
            let Some(name) = name else { return Ok(None) };
            let key = self.keys.get(ctx, name, at)?;
            let switcher = ctx.switcher(at, key.alpha())?;
            Ok(Some(Step { automorphism: ctx.automorphism(name)?, key, switcher }))
        };
        let babies: Vec<(Option<KeyName>, Option<Step>)> =
            transform.babies().into_iter().map(|b| Ok((b, step(b)?))).collect::<Result<_>>()?;
        let giants: Vec<Option<Step>> = transform.giants.keys().map(|&g| step(g)).collect::<Result<_>>()?;
        // Sums are held over the special primes of the largest key; those of a smaller one are brought there by the
        // factor of the primes it lacks, modulo which they are zero.
        let used = babies.iter().filter_map(|(_, s)| s.as_ref()).chain(giants.iter().flatten());
        let alpha = used.map(|s| s.key.alpha()).max().unwrap_or(0);
        let limbs = at + 1 + alpha;
        let outer = if alpha > 0 { Some(ctx.switcher(at, alpha)?) } else { None };
        let mut digits: BTreeMap<usize, Digits> = BTreeMap::new();
        for (_, baby) in &babies {
            if let Some(step) = baby {
                digits.entry(step.key.alpha()).or_insert_with(|| self.decompose(c[1], &step.switcher));
            }
        }

        // First stage: acc_g = sum_b d_(g,b) rotate_b(x) over Q P.
        let mut sums: Vec<[RnsPoly; 2]> =
            giants.iter().map(|_| [0, 1].map(|_| RnsPoly::unspecified(n, limbs))).collect();
        let mut by_limb: Vec<Vec<[&mut [u64]; 2]>> = (0..limbs).map(|_| Vec::with_capacity(sums.len())).collect();
        for [s0, s1] in &mut sums {
            for ((row, l0), l1) in by_limb.iter_mut().zip(s0.limbs_mut()).zip(s1.limbs_mut()) {
                row.push([l0, l1]);
            }
        }
        let prepared: Vec<Option<Vec<KeyHalves<'_>>>> =
            babies.iter().map(|(_, s)| s.as_ref().map(|s| s.key.rows())).collect();
        let position: BTreeMap<Option<KeyName>, usize> =
            babies.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
        let sizes = transform.giants.values().flatten().map(|t| t.diagonal.coefficients.len());
        let rings: BTreeMap<usize, &Ring> = sizes.map(|len| Ok((len, ctx.ring_of(len)?))).collect::<Result<_>>()?;
        let index = |t: usize| if t <= at { t } else { ctx.special(t - at - 1) };
        let first_stage = |(t, outs): (usize, Vec<[&mut [u64]; 2]>)| {
            let limb = ring.limb(index(t));
            let p = self.special_product(index(t), 0..alpha);
            let mut rotated = ctx.scratch().take(babies.len() * 2 * n);
            let mut present = vec![false; babies.len()];
            for (((_, baby), rows), (u, present)) in
                babies.iter().zip(&prepared).zip(rotated.chunks_exact_mut(2 * n).zip(&mut present))
            {
                let (u0, u1) = u.split_at_mut(n);
                match (baby, rows) {
                    (Some(step), Some(rows)) if t < step.switcher.qp_limbs() => {
                        *present = true;
                        let digits = &digits[&step.key.alpha()];
                        limb_product(ring, &step.switcher, digits, rows, t, &step.automorphism, [&mut *u0, &mut *u1]);
                        let lift = self.special_product(index(t), step.key.alpha()..alpha);
                        if step.key.alpha() < alpha {
                            limb.mul_scalar_assign(u0, lift);
                            limb.mul_scalar_assign(u1, lift);
                        }
                        if t <= at {
                            let mut moved = ctx.scratch().take(n);
                            step.automorphism.apply(c[0].limb(t), &mut moved);
                            limb.mul_scalar_add(u0, &moved, p);
                        }
                    }
                    (None, _) if t <= at => {
                        *present = true;
                        u0.copy_from_slice(c[0].limb(t));
                        u1.copy_from_slice(c[1].limb(t));
                        limb.mul_scalar_assign(u0, p);
                        limb.mul_scalar_assign(u1, p);
                    }
                    _ => {}
                }
            }
            let sources = Sources { rotated: &rotated, present: &present, position: &position };
            multiply_sum(ctx, &limb, index(t), transform, &sources, &rings, outs);
        };
        if rayon::current_num_threads() <= 1 {
            by_limb.into_iter().enumerate().for_each(first_stage);
        } else {
            by_limb.into_par_iter().enumerate().for_each(first_stage);
        }
        let rotations = babies.iter().filter(|(_, s)| s.is_some()).count();
        count(&self.counters.rotations, rotations);
        count(&self.counters.key_switches, rotations);
        count(&self.counters.plain_products, transform.len());
        let full = transform.giants.values().flatten().filter(|t| t.diagonal.coefficients.len() == n).count();
        count(&self.counters.transforms, full * limbs);
        digits.into_values().for_each(|d| ctx.put_digits(d));

        // Second stage: the giant rotations, summed over Q P.
        let [mut out0, mut out1] = [0, 1].map(|_| RnsPoly::zero(n, limbs));
        for (giant, [s0, mut s1]) in giants.iter().zip(sums) {
            if let (Some(step), Some(outer)) = (giant, &outer) {
                outer.mod_down().apply(ring, &mut s1, ctx.scratch());
                let digits = self.decompose(&s1, &step.switcher);
                let rows = step.key.rows();
                let work = |(t, (o0, o1)): (usize, (&mut [u64], &mut [u64]))| {
                    let limb = ring.limb(index(t));
                    let mut temporary = ctx.scratch().take(2 * n);
                    let (t0, t1) = temporary.split_at_mut(n);
                    if t < step.switcher.qp_limbs() {
                        limb_product(ring, &step.switcher, &digits, &rows, t, &step.automorphism, [&mut *t0, &mut *t1]);
                        let lift = self.special_product(index(t), step.key.alpha()..alpha);
                        limb.mul_scalar_add(o0, t0, lift);
                        limb.mul_scalar_add(o1, t1, lift);
                    }
                    step.automorphism.apply(s0.limb(t), t0);
                    limb.add_assign(o0, t0);
                };
                if rayon::current_num_threads() <= 1 {
                    out0.limbs_mut().zip(out1.limbs_mut()).enumerate().for_each(work);
                } else {
                    out0.par_limbs_mut().zip(out1.par_limbs_mut()).enumerate().for_each(work);
                }
                ctx.put_digits(digits);
                count(&self.counters.rotations, 1);
                count(&self.counters.key_switches, 1);
                count(&self.counters.transforms, limbs);
            } else {
                for_limbs(&mut out0, |t, limb| ring.limb(index(t)).add_assign(limb, s0.limb(t)));
                for_limbs(&mut out1, |t, limb| ring.limb(index(t)).add_assign(limb, s1.limb(t)));
            }
        }
        if let Some(outer) = &outer {
            outer.mod_down().apply(ring, &mut out0, ctx.scratch());
            outer.mod_down().apply(ring, &mut out1, ctx.scratch());
            count(&self.counters.transforms, 2 * limbs);
        }
        Ok([out0, out1])
    }

    /// The product of some special primes modulo prime `index` of the ring.
    fn special_product(&self, index: usize, special: std::ops::Range<usize>) -> u64 {
        let m = self.ctx.ring().modulus(index);
        special.fold(m.reduce_u64(1), |acc, i| m.mul(acc, m.reduce_u64(self.ctx.params().p()[i])))
    }
}

/// The baby rotations of one limb.
struct Sources<'a> {
    /// Both halves of every rotation, one after the other.
    rotated: &'a [u64],
    /// Which of them are not zero modulo this prime.
    present: &'a [bool],
    position: &'a BTreeMap<Option<KeyName>, usize>,
}

/// Residues handled at a time: those of all baby rotations stay in the second-level cache over all giant sums.
const BLOCK: usize = 4096;

/// One limb of every giant sum: `out_g = sum_b d_(g,b) rotate_b(x)`.
fn multiply_sum(
    ctx: &Context,
    limb: &Limb<'_>,
    index: usize,
    transform: &LinearTransform,
    sources: &Sources<'_>,
    rings: &BTreeMap<usize, &Ring>,
    mut outs: Vec<[&mut [u64]; 2]>,
) {
    let n = ctx.params().n();
    let rows: Vec<Vec<(usize, &[i64])>> = transform
        .giants
        .values()
        .map(|terms| {
            let placed = terms.iter().map(|term| (sources.position[&term.baby], &*term.diagonal.coefficients));
            placed.filter(|(b, _)| sources.present[*b]).collect()
        })
        .collect();
    // The values of every diagonal, each at its own size.
    let mut memory = ctx.scratch().take(rows.iter().flatten().map(|(_, c)| c.len()).sum());
    let mut rest: &mut [u64] = &mut memory;
    let values: Vec<Vec<(usize, &[u64])>> = rows
        .iter()
        .map(|row| {
            let mut out = Vec::with_capacity(row.len());
            for &(baby, coefficients) in row {
                let (mine, later) = std::mem::take(&mut rest).split_at_mut(coefficients.len());
                rest = later;
                let small = rings[&coefficients.len()].limb(index);
                small.reduce_signed(coefficients, mine);
                small.forward(mine);
                out.push((baby, &*mine));
            }
            out
        })
        .collect();
    let block = BLOCK.min(n);
    let mut spread = ctx.scratch().take(rows.iter().map(Vec::len).max().unwrap_or(0) * block);
    for start in (0..n).step_by(block) {
        let range = start..start + block;
        for (row, [o0, o1]) in values.iter().zip(&mut outs) {
            if row.is_empty() {
                o0[range.clone()].fill(0);
                o1[range.clone()].fill(0);
                continue;
            }
            let plain: Vec<&[u64]> = row
                .iter()
                .zip(spread.chunks_exact_mut(block))
                .map(|(&(_, values), buffer)| {
                    if values.len() == n {
                        return &values[range.clone()];
                    }
                    // Each value stands for a run of equal ones.
                    let run = n / values.len();
                    for (chunk, v) in buffer.chunks_mut(run).zip(&values[start / run..]) {
                        chunk.fill(*v);
                    }
                    &*buffer
                })
                .collect();
            let half = |h: usize| -> Vec<&[u64]> {
                row.iter().map(|(b, _)| &sources.rotated[(2 * b + h) * n..][range.clone()]).collect()
            };
            limb.inner_product(&plain, &half(0), &half(1), None, false, &mut o0[range.clone()], &mut o1[range.clone()]);
        }
    }
}

/// One limb of the inner product of digits, read through an automorphism, with a key.
fn limb_product(
    ring: &Ring,
    switcher: &KeySwitcher,
    digits: &Digits,
    rows: &[KeyHalves<'_>],
    t: usize,
    automorphism: &Automorphism,
    [o0, o1]: [&mut [u64]; 2],
) {
    let (n, q) = (ring.n(), switcher.q_limbs());
    let rows = &rows[..switcher.digits().len()];
    let d: Vec<&[u64]> = digits.polys().iter().map(|p| p.limb(t)).collect();
    let half = |h: usize| -> Vec<&[u64]> {
        rows.iter()
            .map(|row| {
                let limb = if t < q { t } else { row.q_limbs + t - q };
                &row.halves[h][limb * n..(limb + 1) * n]
            })
            .collect()
    };
    let index = switcher.prime_index(t);
    ring.limb(index).inner_product(&d, &half(0), &half(1), Some(automorphism), false, o0, o1);
}
