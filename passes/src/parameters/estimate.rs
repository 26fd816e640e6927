//! A simple bound on magnitudes and noise of a slot module.
//!
//! Every value carries the largest magnitude of its slots, and every slot the variance of its error in units of 2nN/S²,
//! where N is the ring degree, n the slots in use and S the scale. A rescale with a dense ternary secret rounds coefficients
//! with deviation sqrt((2N/3 + 1)/12); a real slot is a sum of 2n of those that its subring holds, half of it in the real
//! part: 1/6 of the unit. A key switch whose special primes cover a digit adds about as much again from its mod-down. A
//! transform sums variances with its squared entries, a polynomial multiplies by its mean squared slope and adds
//! the rescale of each step of its evaluation times what the later steps make of it, both over the arguments of the
//! samples. Errors of different slots count as independent, errors that meet in a sum of two ciphertexts as fully
//! correlated.
//!
//! Variances differ by slot because channels do: rebuilt weights bring all channels to a common range, so those of a small
//! one grow and those that read it shrink.

use std::rc::Rc;

use fhec_ir::nn::Basis;
use fhec_ir::slot::{SlotOp, eval};
use fhec_ir::{Entity, Module, Node, Slot, Tensor, largest_magnitude};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::approx::{EvalTree, Interval, Polynomial, TreeOptions};
use crate::lower::columns;

/// Deviation added by a rescale, in units of sqrt(2nN)/S.
const RESCALE: f64 = 1.0 / 6.0;
/// Deviation added by a key switch.
const KEY_SWITCH: f64 = 0.25;

/// What is known about the results of a module before it is run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Largest magnitude of a result, or of a partial sum at its level.
    pub result_bound: f64,
    /// Largest standard deviation of a result's error, in units of sqrt(2nN)/S.
    pub deviation: f64,
}

/// Largest and typical magnitude of one value, and the variance of the error of every slot.
#[derive(Clone, Default)]
struct KnownSlots {
    bound: f64,
    typical: f64,
    variance: Rc<[f64]>,
}

/// What the samples show of one value.
#[derive(Clone, Default)]
struct Seen {
    largest: f64,
    /// Sum over the samples of the mean square of the slots in use.
    squares: f64,
    /// How often its slots lie in each of [`BINS`] parts of [-1, 1]; counted for arguments of polynomials.
    places: Vec<f64>,
}

/// Parts of a polynomial's interval in which arguments are counted.
const BINS: usize = 200;

/// What every value looks like over the samples; empty when there are none that run.
fn measure(module: &Module<Slot>, samples: &[Vec<Tensor>]) -> Vec<Seen> {
    let runs: Vec<Vec<Seen>> = samples.par_iter().filter_map(|sample| measure_one(module, sample)).collect();
    let count = runs.len() as f64;
    // In the order of the samples, whatever the number of threads.
    let mut all = runs.into_iter().reduce(|mut all, one| {
        for (all, one) in all.iter_mut().zip(one) {
            all.largest = all.largest.max(one.largest);
            all.squares += one.squares;
            all.places.iter_mut().zip(one.places).for_each(|(a, b)| *a += b);
        }
        all
    });
    all.iter_mut().flatten().for_each(|s| s.squares /= count);
    all.unwrap_or_default()
}

/// What every value looks like on one sample; `None` when it does not run, or gives numbers that are not finite.
fn measure_one(module: &Module<Slot>, sample: &[Tensor]) -> Option<Vec<Seen>> {
    let mut seen = vec![Seen::default(); module.func.len()];
    for (_, node) in module.func.iter().filter(|(_, n)| matches!(n.op, SlotOp::Polynomial { .. })) {
        seen[node.operands[0].index()].places = vec![0.0; BINS];
    }
    let packed: Option<Vec<Vec<Vec<f64>>>> =
        module.inputs.iter().zip(sample).map(|(port, t)| port.layout.as_ref()?.pack(t).ok()).collect();
    let vectors: Vec<Vec<f64>> = packed?.into_iter().flatten().collect();
    let observed = eval::eval_slots(module, &vectors, |v, slots| {
        let Seen { largest, squares, places } = &mut seen[v.index()];
        *largest = largest_magnitude(slots.iter().copied().chain([*largest]));
        // Slots without an element hold zero.
        let used = || slots.iter().filter(|x| **x != 0.0);
        *squares = slots.iter().map(|x| x * x).sum::<f64>() / used().count().max(1) as f64;
        if !places.is_empty() {
            let bin = |x: f64| ((x + 1.0) / 2.0 * BINS as f64).clamp(0.0, BINS as f64 - 1.0) as usize;
            used().for_each(|&x| places[bin(x)] += 1.0);
        }
    });
    (observed.is_ok() && seen.iter().all(|s| s.largest.is_finite())).then_some(seen)
}

/// Values beyond what the samples showed, as a factor.
const ROOM: f64 = 2.0;

/// Magnitudes and errors of the results for inputs of magnitude up to `input_bound`.
///
/// Magnitudes are those of the `samples` with room to spare, if there are any. Without, a sum of many products is taken to
/// stay below six standard deviations of independent terms of the largest magnitude each, where that is less than the sum of
/// all magnitudes. Polynomials are taken over their interval.
pub fn estimate(module: &Module<Slot>, input_bound: f64, samples: &[Vec<Tensor>]) -> Estimate {
    let _span = tracing::debug_span!("estimate-errors").entered();
    let func = &module.func;
    let measured = measure(module, samples);
    let mut uses = func.use_counts();
    let mut known: Vec<KnownSlots> = Vec::with_capacity(func.len());
    for (v, node) in func.iter() {
        let operand = |k: usize| node.operands.get(k).map(|o| known[o.index()].clone()).unwrap_or_default();
        let places = node.operands.first().and_then(|o| measured.get(o.index())).map_or(&[][..], |s| &s.places);
        let mut by_rule = rule(module, node, &operand(0), &operand(1), places, input_bound);
        match measured.get(v.index()) {
            Some(seen) => (by_rule.bound, by_rule.typical) = (ROOM * seen.largest, seen.squares.sqrt()),
            None => by_rule.typical = by_rule.bound,
        }
        known.push(by_rule);
        for o in &node.operands {
            uses[o.index()] -= 1;
            if uses[o.index()] == 0 {
                known[o.index()].variance = Rc::default();
            }
        }
    }
    let results = func.results().iter().map(|r| &known[r.index()]);
    results.fold(Estimate { result_bound: 0.0, deviation: RESCALE }, |e, k| Estimate {
        result_bound: e.result_bound.max(k.bound),
        deviation: k.variance.iter().fold(e.deviation, |d, v| d.max(v.sqrt())),
    })
}

/// What `node` makes of its operands `x` and `y`, where the first lies as `places` say; the typical magnitude is left to the
/// caller.
fn rule(
    module: &Module<Slot>,
    node: &Node<Slot>,
    x: &KnownSlots,
    y: &KnownSlots,
    places: &[f64],
    input_bound: f64,
) -> KnownSlots {
    let n = node.ty.0;
    let vector = |id| module.consts.tensor(id).data();
    let largest = |id| vector(id).iter().fold(0.0f64, |m, &v| m.max(f64::from(v).abs()));
    let rescaled = |variance: f64| variance + RESCALE.powi(2);
    match &node.op {
        SlotOp::Input { .. } => {
            KnownSlots { bound: input_bound, variance: vec![0.0; n].into(), ..KnownSlots::default() }
        }
        SlotOp::Add {} | SlotOp::Sub {} => {
            // A value and its own rotation have independent errors, other sums may not.
            let rotated = |a: usize, b: usize| {
                let other = module.func.node(node.operands[b]);
                matches!(other.op, SlotOp::Rotate { .. }) && other.operands[0] == node.operands[a]
            };
            let independent = rotated(0, 1) || rotated(1, 0);
            let sum = |(x, y): (&f64, &f64)| if independent { x + y } else { (x.sqrt() + y.sqrt()).powi(2) };
            // The shares of a partial sum were already counted with all of their terms.
            let bound = if independent { 1.5 * x.bound } else { x.bound + y.bound };
            KnownSlots {
                bound,
                variance: x.variance.iter().zip(y.variance.iter()).map(sum).collect(),
                ..KnownSlots::default()
            }
        }
        // Errors of the bootstrap itself do not fall with the scale; its parameters answer for them.
        SlotOp::Neg {} | SlotOp::Refresh {} => x.clone(),
        SlotOp::Mul {} => {
            let product = |(a, b): (&f64, &f64)| rescaled((x.typical * b.sqrt() + y.typical * a.sqrt()).powi(2));
            let variance = x.variance.iter().zip(y.variance.iter()).map(product).collect();
            KnownSlots { bound: x.bound * y.bound, variance, ..KnownSlots::default() }
        }
        SlotOp::AddPlain { value } => KnownSlots { bound: x.bound + largest(*value), ..x.clone() },
        SlotOp::AddScalar { value } => KnownSlots { bound: x.bound + value.0.abs(), ..x.clone() },
        SlotOp::MulPlain { value } => {
            let product = |(v, &c): (&f64, &f32)| rescaled(f64::from(c).powi(2) * v);
            let variance = x.variance.iter().zip(vector(*value)).map(product).collect();
            KnownSlots { bound: largest(*value) * x.bound, variance, ..KnownSlots::default() }
        }
        SlotOp::MulScalar { value } => {
            let variance = x.variance.iter().map(|v| rescaled(value.0.powi(2) * v)).collect();
            KnownSlots { bound: value.0.abs() * x.bound, variance, ..KnownSlots::default() }
        }
        SlotOp::Rotate { by } => {
            let variance = rotated(&x.variance, *by).map(|v| v + KEY_SWITCH.powi(2)).collect();
            KnownSlots { bound: x.bound, variance, ..KnownSlots::default() }
        }
        SlotOp::Linear { rotations, diagonals, .. } => {
            let (mut sums, mut squares, mut variance) = (vec![0.0f64; n], vec![0.0f64; n], vec![0.0; n]);
            for (&by, diagonal) in rotations.iter().zip(vector(*diagonals).chunks_exact(n)) {
                for (slot, (&d, v)) in diagonal.iter().zip(rotated(&x.variance, by)).enumerate() {
                    let square = f64::from(d).powi(2);
                    sums[slot] += f64::from(d).abs();
                    squares[slot] += square;
                    variance[slot] += square * (v + KEY_SWITCH.powi(2));
                }
            }
            let largest = |list: &[f64]| list.iter().fold(0.0f64, |m, &v| m.max(v));
            let bound = x.bound * largest(&sums).min(6.0 * largest(&squares).sqrt());
            KnownSlots { bound, variance: variance.into_iter().map(rescaled).collect(), ..KnownSlots::default() }
        }
        SlotOp::Polynomial { basis, lo, hi, coeffs, vectors } => {
            let (rows, row_of) = match vectors {
                Some(id) => columns(vector(*id), n),
                None => (vec![coeffs.iter().map(|c| c.0).collect()], vec![0; n]),
            };
            let effects = effects(*basis, lo.0, hi.0, &rows, places);
            let of_slot = |(v, &row): (&f64, &usize)| effects[row].slope * v + effects[row].own;
            let variance = x.variance.iter().zip(&row_of).map(of_slot).collect();
            let bound = effects.iter().fold(0.0f64, |m, e| m.max(e.bound));
            KnownSlots { bound, variance, ..KnownSlots::default() }
        }
    }
}

/// The slots rotated to the left.
fn rotated(slots: &[f64], by: i64) -> impl Iterator<Item = f64> {
    let start = by.rem_euclid(slots.len().max(1) as i64) as usize;
    slots[start..].iter().chain(&slots[..start]).copied()
}

/// What a polynomial does to magnitudes and errors.
#[derive(Clone, Copy, Default)]
struct Effect {
    /// Largest magnitude on its interval.
    bound: f64,
    /// Mean square of its slope.
    slope: f64,
    /// Variance of the error of its evaluation: the rescale of every step, carried through the steps after it.
    own: f64,
}

/// The effects of polynomials that are evaluated together, by their coefficients, for arguments that lie as `places` say:
/// polynomials that are fitted where the data is may be steep where there is none.
fn effects(basis: Basis, lo: f64, hi: f64, rows: &[Vec<f64>], places: &[f64]) -> Vec<Effect> {
    let polynomial = |interval: Interval, row: &Vec<f64>| match basis {
        Basis::Chebyshev => Polynomial::new(interval, row.clone()),
        Basis::Monomial => Polynomial::from_monomial(interval, row),
    };
    let evaluated = || -> Option<(Interval, EvalTree, Vec<Polynomial>)> {
        let interval = Interval::new(lo, hi).ok()?;
        let polynomials: Vec<_> = rows.iter().map(|row| polynomial(interval, row)).collect::<Result<_, _>>().ok()?;
        Some((interval, EvalTree::chebyshev(&polynomials, TreeOptions::default()).ok()?, polynomials))
    };
    let Some((interval, tree, polynomials)) = evaluated() else { return vec![Effect::default(); rows.len()] };
    let total: f64 = places.iter().sum();
    // Without samples every part of the interval counts.
    let share = |bin: usize| if total > 0.0 { places[bin] / total } else { 1.0 / BINS as f64 };
    let middle = |bin: usize| interval.from_unit((2 * bin + 1) as f64 / BINS as f64 - 1.0);
    let effect = |(row, p): (usize, &Polynomial)| {
        let ends = [-1.0, 1.0].map(|end| p.eval(interval.from_unit(end)).abs());
        let mut effect = Effect { bound: ends[0].max(ends[1]), ..Effect::default() };
        for bin in 0..BINS {
            effect.bound = effect.bound.max(p.eval(middle(bin)).abs());
            if share(bin) > 0.0 {
                let (slope, steps) = tree.slopes(middle(bin), row);
                effect.slope += share(bin) * slope.powi(2);
                effect.own += share(bin) * RESCALE.powi(2) * steps.iter().map(|s| s * s).sum::<f64>();
            }
        }
        effect
    };
    polynomials.iter().enumerate().map(effect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A polynomial that is flat inside and steep at the ends.
    fn steep() -> Vec<Vec<f64>> {
        vec![(0..16).map(|k| if k % 2 == 1 { 0.5 } else { 0.0 }).collect()]
    }

    #[test]
    fn errors_count_where_the_arguments_are() {
        let of = |places: &[f64]| effects(Basis::Chebyshev, -1.0, 1.0, &steep(), places)[0];
        let only = |range: std::ops::Range<usize>| -> Vec<f64> {
            (0..BINS).map(|bin| if range.contains(&bin) { 1.0 } else { 0.0 }).collect()
        };
        let (everywhere, inside, outside) = (of(&[]), of(&only(90..110)), of(&only(0..10)));
        assert_eq!(everywhere.bound, inside.bound, "the bound is that of the interval");
        assert!(inside.slope < 0.2 * everywhere.slope && everywhere.slope < outside.slope);
        assert!(inside.own < 0.5 * outside.own, "{} {}", inside.own, outside.own);
    }
}
