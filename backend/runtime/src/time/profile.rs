//! A profile holds what the engine's work costs on one machine.

use std::collections::BTreeMap;

use fhec_ckks::{BootstrapStage, Bootstrapper, EngineStep, KeyName, KeyShape, Params};
use fhec_ir::cost::{CostError, LatencyTable, Timed};
use serde::{Deserialize, Serialize};

use super::steps;
use super::units::{Unit, WorkKind, units};

/// Nanoseconds per unit of the steps of each kind.
pub type Costs = BTreeMap<WorkKind, BTreeMap<Unit, f64>>;

/// Measured costs of one machine at one number of threads. `fhec calibrate` makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostProfile {
    /// Names the machine and the threads.
    pub name: String,
    /// The processor.
    pub machine: String,
    /// Threads that work on one operation.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: String,
    /// By log2 of the ring degree at which they were measured; other degrees take those of the nearest.
    pub costs: BTreeMap<u32, Costs>,
}

/// Measured on one and on two threads.
const BUILTIN: [&str; 2] = [include_str!("one_thread.json"), include_str!("two_threads.json")];

/// Ops with a switching key.
const KEYED: [Timed; 6] =
    [Timed::Relinearize, Timed::Rotate, Timed::Hoist, Timed::BabyStep, Timed::GiantStep, Timed::Diagonal];

/// Ops without one.
const KEYLESS: [Timed; 8] = [
    Timed::Add,
    Timed::AddPlain,
    Timed::AddScalar,
    Timed::MulPlain,
    Timed::MulScalar,
    Timed::Mul,
    Timed::Rescale,
    Timed::LevelDrop,
];

/// log2 of the least number of slots whose bootstraps are priced; fewer slots cost as much.
const MIN_LOG_SLOTS: u32 = 6;

impl HostProfile {
    /// The built-in profile for `threads` threads (0 is one). More threads than were measured are extrapolated: of each cost
    /// the part that two threads halve goes on shrinking.
    pub fn builtin(threads: usize) -> Self {
        // Both files are checked by a test.
        let [one, two] = BUILTIN.map(|text| serde_json::from_str::<Self>(text).unwrap_or_default());
        match threads {
            0 | 1 => one,
            2 => two,
            _ => {
                let mut out = two;
                out.threads = threads;
                out.name = format!("{}, extrapolated to {threads} threads", out.machine);
                for (degree, costs) in &mut out.costs {
                    for (kind, unit, nanos) in
                        costs.iter_mut().flat_map(|(&k, units)| units.iter_mut().map(move |(&u, n)| (k, u, n)))
                    {
                        let single = one.costs.get(degree).map_or(*nanos, |costs| cost(costs, kind, unit));
                        let parallel = (2.0 * (single - *nanos)).clamp(0.0, single);
                        *nanos -= parallel * (0.5 - 1.0 / threads as f64);
                        *nanos = nanos.max(0.0);
                    }
                }
                out
            }
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// Text that is no profile, a cost that is negative or not a number, a kind of work without costs.
    pub fn from_json(text: &str) -> Result<Self, CostError> {
        let profile: Self = serde_json::from_str(text).map_err(|e| CostError::Json(e.to_string()))?;
        if profile.costs.is_empty() {
            return Err(CostError::Json("it has no costs".into()));
        }
        for (log_n, costs) in &profile.costs {
            let all = costs.values().flat_map(BTreeMap::values);
            if let Some(bad) = all.clone().find(|c| !(c.is_finite() && **c >= 0.0)) {
                return Err(CostError::Json(format!("{bad} is not a cost")));
            }
            if let Some(kind) = WorkKind::ALL.into_iter().find(|k| !costs.contains_key(k)) {
                return Err(CostError::Json(format!("it has no costs of {kind:?} at N = 2^{log_n}")));
            }
        }
        Ok(profile)
    }

    /// The profile as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Microseconds of some steps in a ring of degree `2^log_n`.
    pub fn micros(&self, log_n: u32, steps: impl IntoIterator<Item = (EngineStep, u64)>) -> f64 {
        let nearest = self.costs.iter().min_by_key(|(measured, _)| measured.abs_diff(log_n));
        let Some((_, costs)) = nearest else { return 0.0 };
        let price = |(step, times): (EngineStep, u64)| {
            let (kind, of_step) = units(step, 1 << log_n);
            times as f64 * of_step.into_iter().map(|(unit, count)| count * cost(costs, kind, unit)).sum::<f64>()
        };
        steps.into_iter().map(price).sum::<f64>() / 1e3
    }

    /// The time of every op at every level of programs with vectors of `slots` slots, and of bootstraps to every level.
    ///
    /// Rotations use keys of their own level; there is one relinearisation key, for the highest level of a product.
    pub fn table(&self, params: &Params, slots: usize) -> LatencyTable {
        let slots = slots.clamp(1, params.max_slots());
        let price = |op: Timed, level: usize, key_level: usize| {
            let key = KeyShape::new(params, level, key_level);
            self.micros(params.log_n(), steps::of(op, key, slots))
        };
        let relin = relinearization_level(params);
        let mut micros: BTreeMap<Timed, Vec<f64>> = BTreeMap::new();
        let mut with_key: BTreeMap<Timed, Vec<Vec<f64>>> = BTreeMap::new();
        for op in KEYLESS.into_iter().chain(KEYED) {
            let key_level = |level: usize| if op == Timed::Relinearize { relin } else { level };
            micros.insert(op, (0..=params.max_level()).map(|level| price(op, level, key_level(level))).collect());
        }
        for op in KEYED {
            let row = |key: usize| (0..=key.min(params.max_level())).map(|level| price(op, level, key)).collect();
            with_key.insert(op, (0..=params.top_level()).map(row).collect());
        }
        let mut bootstrap = BTreeMap::new();
        for log_slots in MIN_LOG_SLOTS.min(params.log_n() - 1)..params.log_n() {
            let to = |target| Bootstrapper::work(params, 1 << log_slots, target).ok();
            let times: Vec<f64> =
                (0..=params.max_level()).map_while(to).map(|work| self.micros(params.log_n(), work.steps)).collect();
            if !times.is_empty() {
                bootstrap.insert(1 << log_slots, times);
            }
        }
        LatencyTable { name: self.name.clone(), log_n: params.log_n(), micros, with_key, bootstrap }
    }
}

/// The time of one stage of a bootstrap.
#[derive(Clone, Debug, PartialEq)]
pub struct StageTime {
    /// The stage.
    pub stage: BootstrapStage,
    /// The level of its input.
    pub from: usize,
    /// The level of its result.
    pub to: usize,
    /// Microseconds.
    pub micros: f64,
}

impl HostProfile {
    /// What the stages of a bootstrap of `slots` slots to level `target` take, first to last; none where the parameters have
    /// no such bootstrap. Together they are what [`table`](Self::table) has for it.
    pub fn bootstrap_stages(&self, params: &Params, slots: usize, target: usize) -> Vec<StageTime> {
        let slots = slots.max(1 << MIN_LOG_SLOTS.min(params.log_n() - 1));
        let stages = Bootstrapper::stages(params, slots, target).unwrap_or_default();
        let time = |stage: fhec_ckks::StageWork| StageTime {
            stage: stage.stage,
            from: stage.from,
            to: stage.to,
            micros: self.micros(params.log_n(), stage.work.steps),
        };
        stages.into_iter().map(time).collect()
    }
}

/// No machine: everything is free.
impl Default for HostProfile {
    fn default() -> Self {
        let (name, machine, isa) = (String::new(), String::new(), String::new());
        Self { name, machine, threads: 1, isa, costs: BTreeMap::new() }
    }
}

fn cost(costs: &Costs, kind: WorkKind, unit: Unit) -> f64 {
    costs.get(&kind).and_then(|units| units.get(&unit)).copied().unwrap_or(0.0)
}

/// The level of the relinearisation key of programs that use all levels.
fn relinearization_level(params: &Params) -> usize {
    let keys = Bootstrapper::keys(params, params.max_slots(), params.max_level()).unwrap_or_default();
    keys.iter().find(|k| k.name == KeyName::Relin).map_or(params.max_level(), |k| k.level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_ckks::{Circuit, ParamSpec};

    fn params() -> Params {
        Params::new(ParamSpec {
            log_n: 13,
            first_bits: 50,
            scale_bits: 42,
            levels: 6,
            special: 4,
            special_bits: 50,
            bootstrap: Some(Circuit::standard(42).into()),
            insecure: true,
        })
        .unwrap()
    }

    #[test]
    fn costs_read_back_to_the_last_bit() {
        let mut profile = HostProfile::builtin(1);
        let costs =
            profile.costs.values_mut().flat_map(|costs| costs.values_mut().flat_map(|units| units.values_mut()));
        costs.enumerate().for_each(|(k, cost)| *cost = (k as f64 + 0.1).sin().abs() * 1e3 / 7.0);
        assert_eq!(HostProfile::from_json(&profile.to_json()), Ok(profile));
    }

    #[test]
    fn built_in_profiles_are_profiles() {
        for (text, threads) in BUILTIN.into_iter().zip([1, 2]) {
            let profile = HostProfile::from_json(text).unwrap();
            assert_eq!((&profile, profile.threads), (&HostProfile::builtin(threads), threads));
            assert_eq!(HostProfile::from_json(&profile.to_json()), Ok(profile));
        }
        assert!(HostProfile::from_json("{}").is_err());
        let negative = BUILTIN[0].replacen("\"butterfly\": ", "\"butterfly\": -", 1);
        assert!(HostProfile::from_json(&negative).unwrap_err().to_string().contains("is not a cost"));
        let poor = BUILTIN[0].replacen("\"mod_down\"", "\"mod_up\"", 1);
        assert!(HostProfile::from_json(&poor).is_err());
    }

    #[test]
    fn every_op_has_a_time_at_every_level() {
        let (params, profile) = (params(), HostProfile::builtin(1));
        let table = profile.table(&params, 1 << 10);
        for op in KEYLESS.into_iter().chain(KEYED) {
            let times = &table.micros[&op];
            assert_eq!(times.len(), 7);
            assert!(times[0] > 0.0 && times[0] < times[6], "{op:?}: {times:?}");
        }
        // A key for a higher level has larger digits and more special primes.
        let rotate = |key: u32| table.time_with_key(Timed::Rotate, 4, key).unwrap();
        assert_eq!((params.key_alpha(4), params.key_alpha(7)), (3, 4));
        assert_ne!(rotate(4), rotate(7));
        assert_eq!(rotate(4), table.time(Timed::Rotate, 4).unwrap());
    }

    #[test]
    fn bootstraps_cost_what_their_slots_and_target_ask_for() {
        let table = HostProfile::builtin(1).table(&params(), 1 << 10);
        let time = |slots: usize, target: u32| table.bootstrap_time(slots, target).unwrap();
        assert!(time(1 << 12, 0) < time(1 << 12, 6));
        assert!(time(1 << 6, 3) < time(1 << 12, 3));
        let all = table.micros[&Timed::Rotate][6] * 10.0;
        assert!(time(1 << 12, 6) > all, "{} {all}", time(1 << 12, 6));
        for slots in [1 << 7, 1 << 10] {
            let stages = HostProfile::builtin(1).bootstrap_stages(&params(), slots, 3);
            let (sum, whole) = (stages.iter().map(|s| s.micros).sum::<f64>(), time(slots, 3));
            assert!(stages.len() == 4 && (sum / whole - 1.0).abs() < 1e-9, "{sum} of {whole}");
            assert!(stages.windows(2).all(|pair| pair[0].to == pair[1].from) && stages[3].to == 3, "{stages:?}");
        }
        let none = Params::new(ParamSpec { bootstrap: None, ..params().spec().clone() }).unwrap();
        assert!(HostProfile::builtin(1).table(&none, 1 << 10).bootstrap.is_empty());
    }

    #[test]
    fn more_threads_are_not_slower() {
        let micros = |threads: usize| {
            let step = EngineStep::Switch(KeyShape { limbs: 20, alpha: 5 });
            HostProfile::builtin(threads).micros(16, [(step, 1)])
        };
        assert_eq!(micros(0), micros(1));
        assert!(micros(1) > micros(2) && micros(2) > micros(4) && micros(4) > micros(1) / 5.0);
        assert_eq!(HostProfile::builtin(4).threads, 4);
    }
}
