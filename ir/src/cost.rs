//! What ciphertext ops cost: a table holds measured times per op and level, from which the time and the op counts of a
//! program follow.
//!
//! The table is the only form in which passes see costs. The engine measures it, and it is stored as JSON. As in DaCapo and
//! HEIR, it has one array per op, indexed by level.

mod counts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ckks::{Ckks, CkksOp};
use crate::consts::ConstPool;
use crate::func::{Func, Module, Node};

pub use counts::{LinearSteps, OpCounts, rotation_in};

/// What a [`LatencyTable`] has times for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timed {
    /// Sum or difference of ciphertexts, negation, multiple by an integer.
    Add,
    /// Sum with a constant vector, its encoding included.
    AddPlain,
    /// Sum with a number.
    AddScalar,
    /// Product with a constant vector, its encoding included.
    MulPlain,
    /// Product with a number.
    MulScalar,
    /// Product of two ciphertexts, without relinearisation.
    Mul,
    /// Relinearisation.
    Relinearize,
    /// Rescaling; by the level before.
    Rescale,
    /// Level drop; by the level after.
    LevelDrop,
    /// A rotation or conjugation by itself.
    Rotate,
    /// The decomposition that the baby steps of a linear transform share.
    Hoist,
    /// One baby step after the decomposition.
    BabyStep,
    /// One giant step of a linear transform.
    GiantStep,
    /// One diagonal of a linear transform: its encoding and its product.
    Diagonal,
}

/// Measured times of one machine at one ring degree, one thread unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyTable {
    /// What was measured: machine, threads, key-switching digits.
    pub name: String,
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Microseconds per op, index = level. Ops that switch keys use keys made for that level.
    pub micros: BTreeMap<Timed, Vec<f64>>,
    /// Microseconds of ops whose keys were made for a higher level than that of use; indices = level of the key, level of
    /// use. Where a time is missing, `micros` holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with_key: BTreeMap<Timed, Vec<Vec<f64>>>,
    /// Microseconds of a bootstrap per number of slots, index = level restored.
    #[serde(default)]
    pub bootstrap: BTreeMap<usize, Vec<f64>>,
}

/// Why a program cannot be priced.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CostError {
    /// The text is no table.
    #[error("not a latency table: {0}")]
    Json(String),
    /// The table is of another ring degree.
    #[error("the table `{name}` was measured at N = 2^{table}, the program runs at N = 2^{program}")]
    RingDegree {
        /// Name of the table.
        name: String,
        /// Its log2 N.
        table: u32,
        /// log2 N of the program.
        program: u32,
    },
    /// The table lacks a time.
    #[error("the table `{name}` has no time for {what}")]
    Missing {
        /// Name of the table.
        name: String,
        /// What it lacks.
        what: String,
    },
}

impl LatencyTable {
    /// Reads a table.
    ///
    /// # Errors
    /// When the text is no table, or a time is negative or not a number.
    pub fn from_json(text: &str) -> Result<Self, CostError> {
        let table: Self = serde_json::from_str(text).map_err(|e| CostError::Json(e.to_string()))?;
        let keyed = table.with_key.values().flatten();
        let times = table.micros.values().chain(table.bootstrap.values()).chain(keyed).flatten();
        match times.clone().find(|t| !(t.is_finite() && **t >= 0.0)) {
            Some(t) => Err(CostError::Json(format!("{t} is not a time"))),
            None => Ok(table),
        }
    }
    /// The table as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
    /// Microseconds of one `op` at `level`; beyond the measured levels, on the line through the last two.
    ///
    /// # Errors
    /// When the table has no time for `op`.
    pub fn time(&self, op: Timed, level: u32) -> Result<f64, CostError> {
        let times = self.micros.get(&op).map_or(&[][..], Vec::as_slice);
        at_level(times, level).ok_or_else(|| self.missing(format!("{op:?}")))
    }
    /// Microseconds of one `op` at `level` with a key made for `key_level`.
    ///
    /// # Errors
    /// When the table has no time for `op`.
    pub fn time_with_key(&self, op: Timed, level: u32, key_level: u32) -> Result<f64, CostError> {
        let rows = self.with_key.get(&op).map_or(&[][..], Vec::as_slice);
        match rows.get(key_level as usize).and_then(|row| row.get(level as usize)) {
            Some(&t) if key_level > level => Ok(t),
            _ => self.time(op, level),
        }
    }
    /// Microseconds of a bootstrap of `slots` slots to `level`; a number of slots that was not measured costs what the
    /// next larger one does.
    ///
    /// # Errors
    /// When the table has no bootstrap of as many slots.
    pub fn bootstrap_time(&self, slots: usize, level: u32) -> Result<f64, CostError> {
        let times = self.bootstrap.range(slots..).next().map_or(&[][..], |(_, times)| times);
        at_level(times, level).ok_or_else(|| self.missing(format!("a bootstrap of {slots} slots")))
    }
    fn missing(&self, what: String) -> CostError {
        CostError::Missing { name: self.name.clone(), what }
    }
}

fn at_level(times: &[f64], level: u32) -> Option<f64> {
    let level = level as usize;
    if let Some(&t) = times.get(level) {
        return Some(t);
    }
    let last = *times.last()?;
    let step = times.len().checked_sub(2).map_or(0.0, |i| last - times[i]);
    Some((last + step * (level + 1 - times.len()) as f64).max(last))
}

/// How often each part of a program runs, and how long that takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimePrediction {
    /// Total, microseconds.
    pub micros: f64,
    /// Count and microseconds of every op.
    pub by_op: BTreeMap<Timed, (u64, f64)>,
    /// Count and microseconds of bootstraps.
    pub bootstraps: (u64, f64),
    /// Microseconds of every value, in program order.
    #[serde(skip)]
    pub micros_of: Vec<f64>,
}

/// A switching key that a step uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// For relinearisation.
    Relinearization,
    /// For conjugation.
    Conjugation,
    /// For a rotation by this many slots to the left.
    Rotation(usize),
}

/// The time `module` takes by `table`, every key made for the level of its use.
///
/// # Errors
/// When the table is of another ring degree or lacks an op of the program.
pub fn predict(module: &Module<Ckks>, table: &LatencyTable) -> Result<TimePrediction, CostError> {
    predict_with_keys(module, table, |_, _| None)
}

/// The time `module` takes by `table`. A key is made for one level and serves all below it, but not as fast as one made
/// for them; `key_level` tells, for a key and the level of its use, which level that is, where it is known.
///
/// # Errors
/// As [`predict`].
pub fn predict_with_keys(
    module: &Module<Ckks>,
    table: &LatencyTable,
    key_level: impl Fn(KeyUse, u32) -> Option<u32>,
) -> Result<TimePrediction, CostError> {
    if let Some(params) = module.params.as_ref().filter(|p| p.log_n != table.log_n) {
        let (name, table, program) = (table.name.clone(), table.log_n, params.log_n);
        return Err(CostError::RingDegree { name, table, program });
    }
    let slots = slots(module).unwrap_or(1).max(1);
    let mut out = TimePrediction::default();
    for (_, node) in module.func.iter() {
        let before = out.micros;
        for TimedStep { op, level, times, keys } in steps(node, &module.func, &module.consts, slots) {
            let key_level = keys.into_iter().filter_map(|key| key_level(key, level)).max().unwrap_or(level);
            let micros = table.time_with_key(op, level, key_level)? * times as f64;
            let sum = out.by_op.entry(op).or_default();
            *sum = (sum.0 + times, sum.1 + micros);
            out.micros += micros;
        }
        if let CkksOp::Bootstrap { to } = node.op {
            let micros = table.bootstrap_time(slots, to)?;
            out.bootstraps = (out.bootstraps.0 + 1, out.bootstraps.1 + micros);
            out.micros += micros;
        }
        out.micros_of.push(out.micros - before);
    }
    Ok(out)
}

/// Slots per ciphertext: of a layout, or of a constant vector, or all the ring has.
pub fn slots(module: &Module<Ckks>) -> Option<usize> {
    let layout = || module.inputs.iter().find_map(|p| Some(p.layout.as_ref()?.slots));
    let vector = || {
        let id = module.func.iter().find_map(|(_, n)| crate::dialect::OpInfo::consts(&n.op).first().copied())?;
        module.consts.tensor(id).shape().0.last().copied()
    };
    layout().or_else(vector).or_else(|| module.params.as_ref().map(|p| p.slots()))
}

/// Something a node runs `times` times at `level`. The widest of its keys decides how long it takes.
pub struct TimedStep {
    /// What.
    pub op: Timed,
    /// The level it runs at.
    pub level: u32,
    /// How often.
    pub times: u64,
    /// The keys it switches with.
    pub keys: Vec<KeyUse>,
}

/// What a node runs on vectors of `slots` slots. A bootstrap is priced as a whole.
pub fn steps(node: &Node<Ckks>, func: &Func<Ckks>, consts: &ConstPool, slots: usize) -> Vec<TimedStep> {
    let level = node.operands.first().map_or(0, |&x| func.ty(x).level);
    let at = |op, level| vec![TimedStep { op, level, times: 1, keys: Vec::new() }];
    let keyed = |op, key| vec![TimedStep { op, level, times: 1, keys: vec![key] }];
    let one = |op| at(op, level);
    match &node.op {
        CkksOp::Input { .. } | CkksOp::Bootstrap { .. } => Vec::new(),
        CkksOp::Add {} | CkksOp::Sub {} | CkksOp::Neg {} | CkksOp::MulInt { .. } => one(Timed::Add),
        CkksOp::AddPlain { .. } => one(Timed::AddPlain),
        CkksOp::AddScalar { .. } => one(Timed::AddScalar),
        CkksOp::MulPlain { at: level, .. } => at(Timed::MulPlain, *level),
        CkksOp::MulScalar { at: level, .. } => at(Timed::MulScalar, *level),
        CkksOp::Mul {} => one(Timed::Mul),
        CkksOp::Relinearize {} => keyed(Timed::Relinearize, KeyUse::Relinearization),
        CkksOp::Rescale {} => one(Timed::Rescale),
        CkksOp::LevelDrop { to } => at(Timed::LevelDrop, *to),
        CkksOp::Rotate { by } => match rotation_in(*by, slots) {
            0 => Vec::new(),
            by => keyed(Timed::Rotate, KeyUse::Rotation(by as usize)),
        },
        CkksOp::Conjugate {} => keyed(Timed::Rotate, KeyUse::Conjugation),
        CkksOp::Linear { rotations, giants, diagonals, at: level } => {
            let steps = LinearSteps::of(rotations, giants, consts.get(*diagonals), slots);
            let (babies, giants) = (&steps.babies, &steps.giants);
            let key = |&by: &u32| KeyUse::Rotation(by as usize);
            let all: Vec<KeyUse> = babies.iter().chain(giants).map(key).collect();
            let step = |op, times, keys| TimedStep { op, level: *level, times, keys };
            let mut out = vec![
                step(Timed::Hoist, u64::from(!babies.is_empty()), all.clone()),
                step(Timed::Diagonal, steps.products as u64, all),
            ];
            out.extend(babies.iter().map(|by| step(Timed::BabyStep, 1, vec![key(by)])));
            out.extend(giants.iter().map(|by| step(Timed::GiantStep, 1, vec![key(by)])));
            out
        }
    }
}
