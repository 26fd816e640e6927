//! Linear transforms are evaluated by diagonals in baby and giant steps, with double hoisting.
//!
//! `y = sum_g rotate_g( sum_b d_(g,b) rotate_b(x) )`. The input is cut into digits once; the baby rotations stay over
//! `Q P` while they are multiplied with the diagonals and summed; only the half of each giant sum that must be cut into
//! digits again is divided by `P`, and the result once more at the end (Bossuat, Mouchet, Troncoso-Pastoriza and
//! Hubaux, Efficient Bootstrapping for Approximate Homomorphic Encryption with Non-Sparse Keys, 2021).
//!
//! The first stage runs limb by limb: the baby rotations of one limb are made, used by every giant sum and forgotten,
//! and the diagonals are transformed from their compact form when the limb comes up.

use super::counters::count;
use super::diagonals::{DiagonalPart, LinearTransform, PackedTerm};
use super::{Evaluator, for_limbs};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::error::{CkksError, KeyName, Result};
use crate::keys::PreparedKey;
use fhec_ring::{Automorphism, Digits, KeyHalves, KeySwitcher, Limb, Ring, RnsPoly};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// What a rotation needs: its key, its permutation, the tables of the key's digits.
struct TransformStep {
    key: Arc<PreparedKey>,
    automorphism: Arc<Automorphism>,
    switcher: Arc<KeySwitcher>,
}

impl Evaluator {
    /// Applies a linear transform to a ciphertext at its operand level and scale degree 1; the result is at the
    /// transform's level `at`, scale degree 2.
    ///
    /// # Errors
    /// A ciphertext of other parameters, scale degree, parts or level than the transform takes, or of more slots; no
    /// key for one of its rotations.
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
        // Sums are held over the special primes of the largest key; those of a smaller one are brought there by the
        // factor of the primes it lacks, modulo which they are zero.
        let mut alpha = 0;
        for name in transform.giants.keys().copied().chain(transform.babies()).flatten() {
            alpha = alpha.max(self.keys.alpha(name, transform.at)?);
        }
        let sums = self.giant_sums(c, transform, alpha)?;
        self.rotate_sum(sums, transform, alpha)
    }

    /// A rotation at `level`.
    fn step(&self, name: KeyName, level: usize) -> Result<TransformStep> {
        let key = self.keys.get(&self.ctx, name, level)?;
        let switcher = self.ctx.switcher(level, key.alpha())?;
        Ok(TransformStep { automorphism: self.ctx.automorphism(name)?, key, switcher })
    }

    /// First stage: `acc_g = sum_b d_(g,b) rotate_b(x)` over `Q P` for every giant step.
    fn giant_sums(&self, c: [&RnsPoly; 2], transform: &LinearTransform, alpha: usize) -> Result<Vec<[RnsPoly; 2]>> {
        let ctx = &*self.ctx;
        let (n, at) = (ctx.params().n(), transform.at);
        let limbs = at + 1 + alpha;
        let babies: Vec<Option<KeyName>> = transform.babies().into_iter().collect();
        let mut digits: BTreeMap<usize, Digits> = BTreeMap::new();
        for name in babies.iter().flatten() {
            let alpha = self.keys.alpha(*name, at)?;
            if let Entry::Vacant(place) = digits.entry(alpha) {
                place.insert(self.decompose(c[1], &*ctx.switcher(at, alpha)?));
            }
        }
        let mut sums: Vec<[RnsPoly; 2]> =
            transform.giants.keys().map(|_| [0, 1].map(|_| RnsPoly::unspecified(n, limbs))).collect();
        let sizes = transform.polynomials.iter().map(|p| p.len());
        let rings: BTreeMap<usize, &Ring> = sizes.map(|len| Ok((len, ctx.ring_of(len)?))).collect::<Result<_>>()?;
        // All at once, unless a bound on memory leaves room for some of their keys only.
        let mut rest = &babies[..];
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.keys.fitting(rest, at)?);
            let steps = group.iter().map(|name| name.map(|name| self.step(name, at)).transpose());
            let steps: Vec<Option<TransformStep>> = steps.collect::<Result<_>>()?;
            let first = rest.len() == babies.len();
            self.add_babies(
                c,
                transform,
                alpha,
                &Babies { names: group, steps, digits: &digits, rings: &rings, first },
                &mut sums,
            );
            rest = later;
        }
        let rotations = babies.iter().flatten().count();
        count(&self.counters.rotations, rotations);
        count(&self.counters.key_switches, rotations);
        count(&self.counters.plain_products, transform.len());
        let full = transform.polynomials.iter().filter(|p| p.len() == n).count();
        count(&self.counters.transforms, full * limbs);
        digits.into_values().for_each(|d| ctx.put_digits(d));
        Ok(sums)
    }

    /// Adds the products of some baby rotations to all giant sums; the first of them make the sums.
    fn add_babies(
        &self,
        c: [&RnsPoly; 2],
        transform: &LinearTransform,
        alpha: usize,
        babies: &Babies<'_>,
        sums: &mut [[RnsPoly; 2]],
    ) {
        let ctx = &*self.ctx;
        let (ring, n, at) = (ctx.ring(), ctx.params().n(), transform.at);
        let limbs = at + 1 + alpha;
        let Babies { names, steps, digits, rings, first } = babies;
        let mut by_limb: Vec<Vec<[&mut [u64]; 2]>> = (0..limbs).map(|_| Vec::with_capacity(sums.len())).collect();
        for [s0, s1] in sums {
            for ((row, l0), l1) in by_limb.iter_mut().zip(s0.limbs_mut()).zip(s1.limbs_mut()) {
                row.push([l0, l1]);
            }
        }
        let prepared: Vec<Option<Vec<KeyHalves<'_>>>> =
            steps.iter().map(|s| s.as_ref().map(|s| s.key.rows())).collect();
        let position: BTreeMap<Option<KeyName>, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let index = |t: usize| ctx.prime_index(at, t);
        let of_limb = |(t, outs): (usize, Vec<[&mut [u64]; 2]>)| {
            let limb = ring.limb(index(t));
            let p = self.special_product(index(t), 0..alpha);
            let tiles = Tiles::new(names.len(), n);
            let mut rotated = ctx.scratch().take(names.len() * 2 * tiles.stride);
            let mut present = vec![false; names.len()];
            for ((baby, rows), (u, present)) in
                steps.iter().zip(&prepared).zip(rotated.chunks_exact_mut(2 * tiles.stride).zip(&mut present))
            {
                let (u0, u1) = u.split_at_mut(tiles.stride);
                let (u0, u1) = (&mut u0[..n], &mut u1[..n]);
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
            let sources = Sources { rotated: &rotated, tiles, present: &present, position: &position };
            multiply_sum(ctx, &limb, index(t), transform, &sources, rings, (outs, *first));
        };
        if rayon::current_num_threads() <= 1 {
            by_limb.into_iter().enumerate().for_each(of_limb);
        } else {
            by_limb.into_par_iter().enumerate().for_each(of_limb);
        }
    }

    /// Second stage: the giant rotations, one after the other, summed over `Q P`; the sum divided by `P`.
    fn rotate_sum(&self, sums: Vec<[RnsPoly; 2]>, transform: &LinearTransform, alpha: usize) -> Result<[RnsPoly; 2]> {
        let ctx = &*self.ctx;
        let (ring, n, at) = (ctx.ring(), ctx.params().n(), transform.at);
        let limbs = at + 1 + alpha;
        let index = |t: usize| ctx.prime_index(at, t);
        let outer = if alpha > 0 { Some(ctx.switcher(at, alpha)?) } else { None };
        let [mut out0, mut out1] = [0, 1].map(|_| RnsPoly::zero(n, limbs));
        for (&giant, [s0, mut s1]) in transform.giants.keys().zip(sums) {
            if let (Some(name), Some(outer)) = (giant, &outer) {
                let step = self.step(name, at)?;
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

/// Baby rotations that are made together.
struct Babies<'a> {
    names: &'a [Option<KeyName>],
    /// What each needs; nothing for the operand itself.
    steps: Vec<Option<TransformStep>>,
    /// Digits of the operand, by limbs per digit.
    digits: &'a BTreeMap<usize, Digits>,
    rings: &'a BTreeMap<usize, &'a Ring>,
    /// Whether the sums are still to be made.
    first: bool,
}

/// The baby rotations of one limb.
struct Sources<'a> {
    /// Both halves of every rotation, one after the other, `tiles.stride` words apart.
    rotated: &'a [u64],
    tiles: Tiles,
    /// Which of them are not zero modulo this prime.
    present: &'a [bool],
    position: &'a BTreeMap<Option<KeyName>, usize>,
}

/// How the baby rotations of one limb lie in memory and are walked through.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    /// Residues handled at a time: those of all baby rotations stay in the second-level cache over all giant sums.
    block: usize,
    /// Words between polynomials. At a power of two all of them would compete for the same few sets of the caches: here
    /// blocks of one range follow each other in the sets.
    stride: usize,
}

impl Tiles {
    /// Words of the second-level cache that rotations may fill: half a megabyte.
    const CACHED: usize = 1 << 16;
    /// A block is worth its loop, and no larger than helps.
    const BLOCKS: std::ops::RangeInclusive<usize> = 256..=4096;
    const LINE: usize = 8;

    fn new(babies: usize, n: usize) -> Self {
        let fitting = 1 << (Self::CACHED / (2 * babies.max(1))).max(1).ilog2();
        let block = fitting.clamp(*Self::BLOCKS.start(), *Self::BLOCKS.end()).min(n);
        Self { block, stride: n + block + Self::LINE }
    }
}

/// The products of one giant sum, by the number of values that the diagonal has: the baby rotation and the values.
type Row<'a> = BTreeMap<usize, Vec<(usize, &'a [u64])>>;

/// One limb of every giant sum: `out_g = sum_b d_(g,b) rotate_b(x)`, on top of what is there unless these are the first.
fn multiply_sum(
    ctx: &Context,
    limb: &Limb<'_>,
    index: usize,
    transform: &LinearTransform,
    sources: &Sources<'_>,
    rings: &BTreeMap<usize, &Ring>,
    (mut outs, first): (Vec<[&mut [u64]; 2]>, bool),
) {
    let n = ctx.params().n();
    let present = |baby: &Option<KeyName>| sources.position.get(baby).copied().filter(|&b| sources.present[b]);
    let terms = || transform.giants.values().flatten().filter(|term| present(&term.baby).is_some());
    // The values of every polynomial that is used, each at its own size: its own, or those of both of its parts.
    let mut parts = vec![0; transform.polynomials.len()];
    terms().for_each(|term| parts[term.polynomial] = if term.part == DiagonalPart::Whole { 1 } else { 2 });
    let total = transform.polynomials.iter().zip(&parts).map(|(coefficients, &parts)| coefficients.len() * parts).sum();
    let mut memory = ctx.scratch().take(total);
    let mut rest: &mut [u64] = &mut memory;
    let mut values: Vec<&[u64]> = Vec::with_capacity(parts.len());
    for (coefficients, &parts) in transform.polynomials.iter().zip(&parts) {
        let (mine, later) = std::mem::take(&mut rest).split_at_mut(coefficients.len() * parts);
        rest = later;
        if parts > 0 {
            let small = rings[&coefficients.len()].limb(index);
            let (first, second) = mine.split_at_mut(coefficients.len());
            small.reduce_signed(coefficients, first);
            small.forward(first);
            if parts > 1 {
                small.split_conjugates(first, second);
            }
        }
        values.push(mine);
    }
    // By the number of their values: each stands for a run of equal ones.
    let row = |terms: &Vec<PackedTerm>| {
        let mut row = Row::new();
        for term in terms {
            let Some(baby) = present(&term.baby) else { continue };
            let len = transform.polynomials[term.polynomial].len();
            let all = values[term.polynomial];
            row.entry(len)
                .or_default()
                .push((baby, if term.part == DiagonalPart::Second { &all[len..] } else { &all[..len] }));
        }
        row
    };
    let rows: Vec<Row<'_>> = transform.giants.values().map(row).collect();
    let Tiles { block, stride } = sources.tiles;
    for start in (0..n).step_by(block) {
        let range = start..start + block;
        for (row, [o0, o1]) in rows.iter().zip(&mut outs) {
            let (o0, o1) = (&mut o0[range.clone()], &mut o1[range.clone()]);
            if row.is_empty() && first {
                o0.fill(0);
                o1.fill(0);
            }
            let sums =
                row.iter().flat_map(|(&len, terms)| terms.chunks(Limb::MAX_TERMS).map(move |terms| (len, terms)));
            for (k, (len, terms)) in sums.enumerate() {
                let run = n / len;
                let plain: Vec<&[u64]> =
                    terms.iter().map(|(_, values)| &values[start / run..][..block.div_ceil(run)]).collect();
                let half = |h: usize| -> Vec<&[u64]> {
                    terms.iter().map(|(b, _)| &sources.rotated[(2 * b + h) * stride..][range.clone()]).collect()
                };
                limb.inner_product_of_runs(&plain, run, &half(0), &half(1), k > 0 || !first, o0, o1);
            }
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
