//! Fits the costs of units to times of whole operations.

use std::collections::BTreeMap;

use fhec_ckks::EngineStep;

use super::profile::Costs;
use super::units::{Unit, WorkKind, units};

/// How long some steps took together.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The steps and how often each was made.
    pub steps: Vec<(EngineStep, u64)>,
    /// Microseconds.
    pub micros: f64,
}

/// Passes over all unknowns. They converge slowly where units always occur together, but then it matters little how a cost
/// is shared between them.
const SWEEPS: usize = 3_000;

/// How much a cost that is twice the usual one weighs against a relative error of a measurement: errors of 5 % are as likely
/// as such costs.
const PRIOR_WEIGHT: f64 = 0.05;

/// Other processes make an operation slower, never faster: costs are fitted to this quantile of the times, by repeated
/// weighted least squares.
const QUANTILE: f64 = 0.25;
const REWEIGHTINGS: usize = 20;
/// Smaller errors count as none.
const EXACT: f64 = 0.03;

/// Nanoseconds per unit that are usual with AVX-512-IFMA. Only their ratios count: measurements of a few sizes do not tell
/// apart what grows alike.
fn usual(kind: WorkKind, unit: Unit) -> f64 {
    match (kind, unit) {
        (_, Unit::Call) => 2e3,
        (WorkKind::Encode, Unit::Butterfly) => 1.0,
        (WorkKind::Tensor | WorkKind::Diagonal, Unit::Residue) => 1.0,
        (_, Unit::Residue) => 0.3,
        (_, Unit::Butterfly) => 0.3,
        (_, Unit::Conversion) => 0.15,
        (_, Unit::Key) => 0.4,
    }
}

/// The non-negative costs per unit, in nanoseconds, that fit the lower quartile of the measured times in a ring of degree
/// `2^log_n`, as relative errors.
pub fn fit(log_n: u32, measurements: &[Measurement]) -> Costs {
    let n = 1usize << log_n;
    let rows: Vec<BTreeMap<(WorkKind, Unit), f64>> = measurements
        .iter()
        .map(|m| {
            let mut row = BTreeMap::new();
            for &(step, times) in &m.steps {
                let (kind, of_step) = units(step, n);
                for (unit, count) in of_step {
                    *row.entry((kind, unit)).or_default() += times as f64 * count / (1e3 * m.micros);
                }
            }
            row
        })
        .collect();
    let mut unknowns: Vec<(WorkKind, Unit)> = rows.iter().flat_map(|row| row.keys().copied()).collect();
    unknowns.sort_unstable();
    unknowns.dedup();
    // Every row should give 1: coordinate descent on the normal equations, with each unknown kept from falling below 0.
    let column = |u: &(WorkKind, Unit)| -> Vec<f64> { rows.iter().map(|r| r.get(u).copied().unwrap_or(0.0)).collect() };
    let columns: Vec<Vec<f64>> = unknowns.iter().map(column).collect();
    // How much slower than usual this machine is.
    let usual: Vec<f64> = unknowns.iter().map(|&(kind, unit)| usual(kind, unit)).collect();
    let mut paces: Vec<f64> = predictions(&columns, &usual, rows.len()).into_iter().map(f64::recip).collect();
    paces.sort_unstable_by(f64::total_cmp);
    let pace = paces.get(paces.len() / 2).copied().filter(|p| p.is_finite()).unwrap_or(1.0);
    let usual: Vec<f64> = usual.iter().map(|c| c * pace).collect();
    let mut x = usual.clone();
    let mut weights = vec![1.0; rows.len()];
    for _ in 0..REWEIGHTINGS {
        descend(&columns, &weights, &usual, &mut x);
        for (weight, prediction) in weights.iter_mut().zip(predictions(&columns, &x, rows.len())) {
            let share = if prediction < 1.0 { QUANTILE } else { 1.0 - QUANTILE };
            *weight = share / (1.0 - prediction).abs().max(EXACT);
        }
    }
    let mut costs = Costs::new();
    for ((kind, unit), nanos) in unknowns.into_iter().zip(x) {
        costs.entry(kind).or_default().insert(unit, nanos);
    }
    costs
}

/// What the costs make of each row; it should be 1.
fn predictions(columns: &[Vec<f64>], costs: &[f64], rows: usize) -> Vec<f64> {
    let mut out = vec![0.0; rows];
    for (column, cost) in columns.iter().zip(costs) {
        out.iter_mut().zip(column).for_each(|(sum, count)| *sum += count * cost);
    }
    out
}

/// Coordinate descent on the normal equations of the weighted rows, with each unknown kept from falling below 0.
fn descend(columns: &[Vec<f64>], weights: &[f64], usual: &[f64], x: &mut [f64]) {
    let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).zip(weights).map(|((a, b), w)| a * b * w / mean).sum::<f64>();
    let ones = vec![1.0; weights.len()];
    let mut gram: Vec<Vec<f64>> = columns.iter().map(|a| columns.iter().map(|b| dot(a, b)).collect()).collect();
    let mut right: Vec<f64> = columns.iter().map(|a| dot(a, &ones)).collect();
    for (i, cost) in usual.iter().enumerate() {
        let weight = (PRIOR_WEIGHT / cost).powi(2);
        gram[i][i] += weight;
        right[i] += weight * cost;
    }
    for _ in 0..SWEEPS {
        for i in 0..x.len() {
            let slope: f64 = gram[i].iter().zip(&*x).map(|(g, x)| g * x).sum();
            x[i] = f64::max(0.0, x[i] + (right[i] - slope) / gram[i][i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_ckks::KeyShape;

    #[test]
    fn costs_come_back_from_the_times_they_make() {
        let cost = |kind: WorkKind, unit: Unit| match (kind, unit) {
            (WorkKind::Switch, Unit::Butterfly) => 0.6,
            (WorkKind::Switch, Unit::Conversion) => 0.2,
            (WorkKind::Switch, Unit::Key) => 0.8,
            (WorkKind::Tensor, Unit::Residue) => 2.0,
            _ => 4e3,
        };
        let mut measurements = Vec::new();
        for (limbs, alpha) in [(26, 7), (14, 7), (8, 4), (5, 7), (30, 5), (20, 10), (3, 1), (12, 3)] {
            let switch = EngineStep::Switch(KeyShape { limbs, alpha });
            for steps in [vec![(switch, 1)], vec![(switch, 2), (EngineStep::Tensor { limbs }, 3)]] {
                let nanos = |&(step, times): &(EngineStep, u64)| {
                    let (kind, of_step) = units(step, 1 << 12);
                    of_step.iter().map(|&(unit, count)| count * cost(kind, unit)).sum::<f64>() * times as f64
                };
                let micros = steps.iter().map(nanos).sum::<f64>() / 1e3;
                measurements.push(Measurement { steps, micros });
            }
        }
        let costs = fit(12, &measurements);
        for (kind, by_unit) in &costs {
            // What a call costs is a ten-thousandth of these times.
            for (&unit, &nanos) in by_unit.iter().filter(|(unit, _)| **unit != Unit::Call) {
                let expected = cost(*kind, unit);
                assert!((nanos / expected - 1.0).abs() < 0.01, "{kind:?} {unit:?}: {nanos}, not {expected}");
            }
        }
    }

    #[test]
    fn slow_outliers_do_not_count() {
        let n = 1u32 << 12;
        let slow = |limbs: usize| if limbs.is_multiple_of(2) { 2.0 } else { 1.0 };
        let micros = |limbs: usize| f64::from(n) * limbs as f64 * slow(limbs) / 1e3;
        let tensors =
            (10..40).map(|limbs| Measurement { steps: vec![(EngineStep::Tensor { limbs }, 1)], micros: micros(limbs) });
        let residue = fit(12, &tensors.collect::<Vec<_>>())[&WorkKind::Tensor][&Unit::Residue];
        assert!((residue - 1.0).abs() < 0.05, "{residue}");
    }

    #[test]
    fn what_is_measured_outweighs_what_is_usual() {
        // A copy costs a third of what is usual beside the tensor product, and nothing costs less than nothing.
        let one = |step, micros| Measurement { steps: vec![(step, 1)], micros };
        let n = 1u32 << 12;
        let micros = |limbs: usize, nanos: f64| f64::from(n) * limbs as f64 * nanos / 1e3;
        let tensors = (10..20).map(|limbs| one(EngineStep::Tensor { limbs }, micros(limbs, 1.0)));
        let copies = (10..20).map(|limbs| one(EngineStep::Copy { limbs }, micros(limbs, 0.1)));
        let costs = fit(12, &tensors.chain(copies).collect::<Vec<_>>());
        let (tensor, copy) = (costs[&WorkKind::Tensor][&Unit::Residue], costs[&WorkKind::Copy][&Unit::Residue]);
        assert!((tensor - 1.0).abs() < 0.05 && (copy - 0.1).abs() < 0.01, "{tensor} {copy}");
        assert!(costs.values().flat_map(|by_unit| by_unit.values()).all(|&nanos| nanos >= 0.0));
    }
}
