//! How long a run will take.

use std::collections::BTreeMap;

use fhec_ckks::Params;
use fhec_ir::cost::{CostError, LatencyTable, Prediction, Timed, predict};

use crate::plan::Plan;

/// Nanoseconds of one butterfly of a transform with AVX-512-IFMA kernels.
const BUTTERFLY: f64 = 0.27;
/// Nanoseconds of one element of a pointwise product or sum on data that comes from memory.
const ELEMENT: f64 = 0.5;
/// Nanoseconds of one encoded slot, per doubling of their number.
const ENCODE: f64 = 2.0;
/// What base conversions and inner products add to the transforms of a key switch.
const KEY_SWITCH: f64 = 1.6;

/// The time of a run on one thread: by a table of measured times, or by the built-in model, which counts transforms and
/// passes over memory on a machine with AVX-512-IFMA.
///
/// # Errors
/// A table of another ring degree, or an op without a time (the built-in model knows no bootstrapping).
pub fn predict_time(plan: &Plan, table: Option<&LatencyTable>) -> Result<Prediction, CostError> {
    match table {
        Some(table) => predict(plan.module(), table),
        None => predict(plan.module(), &modelled(plan.params(), plan.slots())),
    }
}

/// The built-in model for these parameters.
fn modelled(params: &Params, slots: usize) -> LatencyTable {
    let n = params.n() as f64;
    let transform = 0.5 * n * f64::from(params.log_n()) * BUTTERFLY / 1e3;
    let pass = n * ELEMENT / 1e3;
    let encode = 2.0 * slots as f64 * (slots as f64).log2().max(1.0) * ENCODE / 1e3;
    let mut micros: BTreeMap<Timed, Vec<f64>> = BTreeMap::new();
    for level in 0..=params.max_level() {
        let limbs = (level + 1) as f64;
        let alpha = params.key_alpha(level) as f64;
        let digits = (limbs / alpha).ceil();
        let wide = limbs + alpha;
        let decompose = (limbs + digits * wide) * transform;
        let mod_down = 2.0 * wide * transform;
        let key_switch = KEY_SWITCH * (decompose + mod_down);
        let mut set = |op: Timed, time: f64| micros.entry(op).or_default().push(time);
        set(Timed::Add, 2.0 * limbs * pass);
        set(Timed::AddPlain, encode + limbs * (transform + pass));
        set(Timed::AddScalar, limbs * pass);
        set(Timed::MulPlain, encode + limbs * (transform + 2.0 * pass));
        set(Timed::MulScalar, 2.0 * limbs * pass);
        set(Timed::Mul, 4.0 * limbs * pass);
        set(Timed::Relinearize, key_switch);
        set(Timed::Rescale, 2.0 * limbs * (transform + pass));
        set(Timed::LevelDrop, 2.0 * (limbs + 1.0) * (transform + pass));
        set(Timed::Rotate, key_switch + 2.0 * limbs * pass);
        // The division by the special primes at the end of a transform is counted here, once per transform.
        set(Timed::Hoist, KEY_SWITCH * (decompose + mod_down));
        set(Timed::BabyStep, 2.0 * digits * wide * pass);
        set(Timed::GiantStep, KEY_SWITCH * (decompose + mod_down / 2.0) + 2.0 * digits * wide * pass);
        set(Timed::Diagonal, wide * (transform + 2.0 * pass));
    }
    LatencyTable { name: "built-in model".into(), log_n: params.log_n(), micros, bootstrap: BTreeMap::new() }
}
