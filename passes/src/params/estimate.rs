//! A simple bound on magnitudes and noise of a slot module.
//!
//! Every value carries the largest magnitude of its slots and the standard deviation of its error in units of sqrt(2nN)/S,
//! where N is the ring degree, n the slots in use and S the scale. A rescale with a dense ternary secret rounds coefficients
//! with deviation sqrt((2N/3 + 1)/12); a real slot is a sum of 2n of those that its subring holds, half of it in the real
//! part: 1/6 of the unit. A key switch whose special primes cover a digit adds about as much again from its mod-down. A
//! transform multiplies the variance by the mean squared norm of its rows, a polynomial by its mean squared slope. Errors of
//! different slots count as independent, errors that meet in a sum of two ciphertexts as fully correlated.

use fhec_ir::nn::Basis;
use fhec_ir::slot::{SlotOp, eval};
use fhec_ir::{Entity, Module, Slot, Tensor};

use crate::approx::{Interval, Polynomial};

/// Deviation added by a rescale, in units of sqrt(2nN)/S.
const RESCALE: f64 = 1.0 / 6.0;
/// Deviation added by a key switch.
const KEY_SWITCH: f64 = 0.25;

/// What is known about the results of a module before it is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Largest magnitude of a result, or of a partial sum at its level.
    pub result_bound: f64,
    /// Largest standard deviation of a result's error, in units of sqrt(2nN)/S.
    pub deviation: f64,
}

/// Largest and typical magnitude, and error, of one value.
#[derive(Clone, Copy, Default)]
struct Known {
    bound: f64,
    typical: f64,
    deviation: f64,
}

/// Largest and root mean square magnitude of every value over the samples; empty when there are none that run.
fn measure(module: &Module<Slot>, samples: &[Vec<Tensor>]) -> Vec<(f64, f64)> {
    let mut seen = vec![(0.0f64, 0.0f64); module.func.len()];
    let mut runs = 0.0;
    for sample in samples {
        let packed: Option<Vec<Vec<Vec<f64>>>> =
            module.inputs.iter().zip(sample).map(|(port, t)| port.layout.as_ref()?.pack(t).ok()).collect();
        let vectors: Vec<Vec<f64>> = packed.unwrap_or_default().into_iter().flatten().collect();
        let observed = eval::eval_slots(module, &vectors, |v, slots| {
            let (largest, squares) = &mut seen[v.index()];
            *largest = slots.iter().fold(*largest, |m, x| m.max(x.abs()));
            let used = slots.iter().filter(|x| **x != 0.0).count().max(1);
            *squares += slots.iter().map(|x| x * x).sum::<f64>() / used as f64;
        });
        if observed.is_ok() {
            runs += 1.0;
        }
    }
    if runs == 0.0 {
        return Vec::new();
    }
    seen.iter().map(|&(largest, squares)| (largest, (squares / runs).sqrt())).collect()
}

/// Values beyond what the samples showed, as a factor.
const ROOM: f64 = 2.0;

/// Magnitudes and errors of the results for inputs of magnitude up to `input_bound`.
///
/// Magnitudes are those of the `samples` with room to spare, if there are any. Without, a sum of many products is taken to stay below six standard deviations of independent terms of the largest magnitude each,
/// where that is less than the sum of all magnitudes. Polynomials are taken over their interval.
pub fn estimate(module: &Module<Slot>, input_bound: f64, samples: &[Vec<Tensor>]) -> Estimate {
    let func = &module.func;
    let measured = measure(module, samples);
    let mut known: Vec<Known> = Vec::with_capacity(func.len());
    for (v, node) in func.iter() {
        let x = node.operands.first().map(|o| known[o.index()]).unwrap_or_default();
        let y = node.operands.get(1).map(|o| known[o.index()]).unwrap_or_default();
        let largest = |id| module.consts.tensor(id).data().iter().fold(0.0f64, |m, &v| m.max(f64::from(v).abs()));
        let rescaled = |d: f64| d.hypot(RESCALE);
        let by_rule = match &node.op {
            SlotOp::Input { .. } => Known { bound: input_bound, deviation: 0.0, ..x },
            SlotOp::Add {} | SlotOp::Sub {} => {
                // A value and its own rotation have independent errors, other sums may not.
                let rotated = |a: usize, b: usize| {
                    let other = func.node(node.operands[b]);
                    matches!(other.op, SlotOp::Rotate { .. }) && other.operands[0] == node.operands[a]
                };
                let independent = rotated(0, 1) || rotated(1, 0);
                let deviation = if independent { x.deviation.hypot(y.deviation) } else { x.deviation + y.deviation };
                // The shares of a partial sum were already counted with all of their terms.
                let bound = if independent { 1.5 * x.bound } else { x.bound + y.bound };
                Known { bound, deviation, ..x }
            }
            SlotOp::Neg {} => x,
            // Errors of the bootstrap itself do not fall with the scale; its parameters answer for them.
            SlotOp::Refresh {} => x,
            SlotOp::Mul {} => Known {
                bound: x.bound * y.bound,
                deviation: rescaled(x.typical * y.deviation + y.typical * x.deviation),
                ..x
            },
            SlotOp::AddPlain { value } => Known { bound: x.bound + largest(*value), ..x },
            SlotOp::AddScalar { value } => Known { bound: x.bound + value.0.abs(), ..x },
            SlotOp::MulPlain { value } => {
                let c = largest(*value);
                Known { bound: c * x.bound, deviation: rescaled(c * x.deviation), ..x }
            }
            SlotOp::MulScalar { value } => {
                let c = value.0.abs();
                Known { bound: c * x.bound, deviation: rescaled(c * x.deviation), ..x }
            }
            SlotOp::Rotate { .. } => Known { deviation: x.deviation.hypot(KEY_SWITCH), ..x },
            SlotOp::Linear { diagonals, .. } => {
                let norms = row_norms(module.consts.tensor(*diagonals).data(), node.ty.0);
                Known {
                    bound: x.bound * norms.sum.min(6.0 * norms.largest),
                    deviation: rescaled(norms.mean * x.deviation.hypot(KEY_SWITCH)),
                    ..x
                }
            }
            SlotOp::Polynomial { basis, lo, hi, coeffs, vectors } => {
                let rows: Vec<Vec<f64>> = match vectors {
                    Some(id) => columns(module.consts.tensor(*id).data(), node.ty.0),
                    None => vec![coeffs.iter().map(|c| c.0).collect()],
                };
                let each = rows.iter().filter_map(|row| polynomial(*basis, lo.0, hi.0, row, x.deviation));
                each.fold(Known::default(), |a, b| Known {
                    bound: a.bound.max(b.bound),
                    deviation: a.deviation.max(b.deviation),
                    ..a
                })
            }
        };
        known.push(match measured.get(v.index()) {
            Some(&(largest, typical)) => Known { bound: ROOM * largest, typical, ..by_rule },
            None => Known { typical: by_rule.bound, ..by_rule },
        });
    }
    let results = func.results().iter().map(|r| known[r.index()]);
    results.fold(Estimate { result_bound: 0.0, deviation: RESCALE }, |e, k| Estimate {
        result_bound: e.result_bound.max(k.bound),
        deviation: e.deviation.max(k.deviation),
    })
}

/// What a transform does to magnitudes: the largest sum of magnitudes of a row, the largest Euclidean norm, and the root mean
/// square of the norms of rows that are not zero.
struct RowNorms {
    sum: f64,
    largest: f64,
    mean: f64,
}

fn row_norms(diagonals: &[f32], n: usize) -> RowNorms {
    let (mut sums, mut squares) = (vec![0.0f64; n], vec![0.0f64; n]);
    for row in diagonals.chunks_exact(n) {
        for ((sum, square), &d) in sums.iter_mut().zip(&mut squares).zip(row) {
            *sum += f64::from(d).abs();
            *square += f64::from(d) * f64::from(d);
        }
    }
    let largest = |list: &[f64]| list.iter().fold(0.0f64, |m, &v| m.max(v));
    let used = squares.iter().filter(|&&s| s > 0.0).count().max(1);
    RowNorms {
        sum: largest(&sums),
        largest: largest(&squares).sqrt(),
        mean: (squares.iter().sum::<f64>() / used as f64).sqrt(),
    }
}

/// The distinct columns of a `[degree + 1, n]` matrix.
fn columns(data: &[f32], n: usize) -> Vec<Vec<f64>> {
    let mut distinct = std::collections::BTreeSet::new();
    for s in 0..n {
        distinct.insert(data.iter().skip(s).step_by(n).map(|c| c.to_bits()).collect::<Vec<u32>>());
    }
    distinct.into_iter().map(|bits| bits.into_iter().map(|b| f64::from(f32::from_bits(b))).collect()).collect()
}

/// Bound of a polynomial on its interval, and the error of its value for an argument of the given error: the steps of the
/// evaluation add a rescale each, which the k-th basis polynomial multiplies by up to k.
fn polynomial(basis: Basis, lo: f64, hi: f64, coeffs: &[f64], deviation: f64) -> Option<Known> {
    let interval = Interval::new(lo, hi).ok()?;
    let p = match basis {
        Basis::Chebyshev => Polynomial::new(interval, coeffs.to_vec()),
        Basis::Monomial => Polynomial::from_monomial(interval, coeffs),
    }
    .ok()?;
    const POINTS: usize = 200;
    let slope = p.derivative();
    let at = |k: usize| interval.from_unit(2.0 * k as f64 / POINTS as f64 - 1.0);
    let largest = |f: &dyn Fn(f64) -> f64| (0..=POINTS).fold(0.0f64, |m, k| m.max(f(at(k)).abs()));
    let mean_slope = ((0..=POINTS).map(|k| slope.eval(at(k)).powi(2)).sum::<f64>() / (POINTS + 1) as f64).sqrt();
    let steps: f64 = p.coefficients().iter().enumerate().map(|(k, c)| (k as f64 * c).powi(2)).sum();
    let own = RESCALE * (1.0 + steps).sqrt();
    Some(Known { bound: largest(&|x| p.eval(x)), typical: 0.0, deviation: (mean_slope * deviation).hypot(own) })
}
