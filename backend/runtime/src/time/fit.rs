//! Costs of units from times of whole operations.

use std::collections::BTreeMap;

use fhec_ckks::Step;

use super::profile::Costs;
use super::units::{Kind, Unit, units};

/// How long some steps took together.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The steps and how often each was made.
    pub steps: Vec<(Step, u64)>,
    /// Microseconds.
    pub micros: f64,
}

/// Passes over all unknowns. They converge slowly where units always occur together, but then it matters little how a cost
/// is shared between them.
const SWEEPS: usize = 20_000;

/// The non-negative costs per unit, in nanoseconds, of least mean square relative error over the measurements in a ring of
/// degree `2^log_n`.
pub fn fit(log_n: u32, measurements: &[Measurement]) -> Costs {
    let n = 1usize << log_n;
    let rows: Vec<BTreeMap<(Kind, Unit), f64>> = measurements
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
    let mut unknowns: Vec<(Kind, Unit)> = rows.iter().flat_map(|row| row.keys().copied()).collect();
    unknowns.sort_unstable();
    unknowns.dedup();
    // Every row should give 1: coordinate descent on the normal equations, with each unknown kept from falling below 0.
    let column = |u: &(Kind, Unit)| -> Vec<f64> { rows.iter().map(|r| r.get(u).copied().unwrap_or(0.0)).collect() };
    let columns: Vec<Vec<f64>> = unknowns.iter().map(column).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram: Vec<Vec<f64>> = columns.iter().map(|a| columns.iter().map(|b| dot(a, b)).collect()).collect();
    let right: Vec<f64> = columns.iter().map(|a| a.iter().sum()).collect();
    let mut x = vec![0.0; unknowns.len()];
    for _ in 0..SWEEPS {
        for i in 0..x.len() {
            if gram[i][i] > 0.0 {
                x[i] = f64::max(0.0, x[i] + (right[i] - dot(&gram[i], &x)) / gram[i][i]);
            }
        }
    }
    let mut costs = Costs::new();
    for ((kind, unit), nanos) in unknowns.into_iter().zip(x) {
        costs.entry(kind).or_default().insert(unit, nanos);
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_ckks::KeyShape;

    #[test]
    fn costs_come_back_from_the_times_they_make() {
        let cost = |kind: Kind, unit: Unit| match (kind, unit) {
            (Kind::Switch, Unit::Butterfly) => 0.3,
            (Kind::Switch, Unit::Conversion) => 0.1,
            (Kind::Switch, Unit::Key) => 0.4,
            (Kind::Tensor, Unit::Residue) => 2.0,
            // What costs nothing must not come out below.
            _ => 0.0,
        };
        let mut measurements = Vec::new();
        for (limbs, alpha) in [(26, 7), (14, 7), (8, 4), (5, 7), (30, 5), (20, 10), (3, 1), (12, 3)] {
            let switch = Step::Switch(KeyShape { limbs, alpha });
            for steps in [vec![(switch, 1)], vec![(switch, 2), (Step::Tensor { limbs }, 3)]] {
                let nanos = |&(step, times): &(Step, u64)| {
                    let (kind, of_step) = units(step, 1 << 12);
                    of_step.iter().map(|&(unit, count)| count * cost(kind, unit)).sum::<f64>() * times as f64
                };
                let micros = steps.iter().map(nanos).sum::<f64>() / 1e3;
                measurements.push(Measurement { steps, micros });
            }
        }
        let costs = fit(12, &measurements);
        for (kind, by_unit) in &costs {
            for (&unit, &nanos) in by_unit.iter().filter(|(unit, _)| **unit != Unit::Call) {
                let expected = cost(*kind, unit);
                assert!((nanos - expected).abs() < 0.01, "{kind:?} {unit:?}: {nanos}, not {expected}");
            }
        }
        assert!(costs.values().flat_map(|by_unit| by_unit.values()).all(|&nanos| nanos >= 0.0));
    }
}
