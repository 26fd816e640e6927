//! A plan in full: every level, candidate, bootstrap and join, with the times they add up to.

use serde::Serialize;

use super::explain::DecisionRow;
use super::solve::Move;
use super::tree::{Links, Place, StageKind, StageTree};

/// One way of running the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Total time, microseconds.
    pub latency_us: f64,
    /// Sum of the chosen candidates' errors.
    pub error: f64,
    /// The largest error of a chosen candidate on its interval.
    pub max_error: f64,
    /// At most this many times the time that was asked to be least (or the error, where that was) of the best plan; 1
    /// when exact.
    #[serde(skip_serializing_if = "is_exact")]
    pub bound: f64,
    /// The level at which the input is encrypted.
    pub input_level: u32,
    /// The level of the output.
    pub output_level: u32,
    /// Steps in order of execution, those inside candidates included.
    pub steps: Vec<StepPlan>,
    /// Activations in order of execution.
    pub activations: Vec<ActivationPlan>,
    /// Bootstraps in order of execution.
    pub bootstraps: Vec<BootstrapPlan>,
    /// Level drops that cost something of their own, in order of execution; those at additions are in `joins`.
    pub drops: Vec<DropPlan>,
    /// Additions, inner ones first.
    pub joins: Vec<JoinPlan>,
}

/// How a step runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepPlan {
    /// The step.
    pub stage: String,
    /// The chosen variant.
    pub variant: String,
    /// The level of its input.
    pub arrives: u32,
    /// The level at which it runs; below `arrives`, limbs are dropped at no cost.
    pub level: u32,
    /// The level after.
    pub after: u32,
    /// Microseconds.
    pub us: f64,
    #[serde(skip)]
    pub(super) number: usize,
}

/// How an activation is computed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActivationPlan {
    /// The activation.
    pub activation: String,
    /// The chosen candidate.
    pub candidate: String,
    /// Its place in the list of candidates.
    pub index: usize,
    /// The level of its input.
    pub level: u32,
    /// The level after.
    pub after: u32,
    /// What it adds to the error.
    pub error: f64,
    /// The key of the activation.
    #[serde(skip)]
    pub key: usize,
    #[serde(skip)]
    pub(super) number: usize,
}

/// A bootstrap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BootstrapPlan {
    /// Where.
    pub place: Place,
    /// Number of the point: points are counted in order of execution, candidates' own included.
    pub point: usize,
    /// Ciphertexts.
    pub width: u32,
    /// The level before.
    pub from: u32,
    /// The level restored.
    pub to: u32,
    /// Microseconds for all ciphertexts.
    pub us: f64,
    /// The key of the point.
    #[serde(skip)]
    pub key: usize,
}

/// A level drop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DropPlan {
    /// Where.
    pub place: Place,
    /// The level before.
    pub from: u32,
    /// The level after.
    pub to: u32,
    /// Microseconds for all ciphertexts.
    pub us: f64,
}

/// How two branches meet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JoinPlan {
    /// The residual block.
    pub residual: String,
    /// The level at which the branches part.
    pub fork: u32,
    /// The main branch.
    pub main: Side,
    /// The shortcut.
    pub skip: Side,
    /// The level of the sum.
    pub level: u32,
    /// Microseconds of alignment, drop and addition.
    pub us: f64,
    #[serde(skip)]
    pub(super) number: usize,
}

/// One branch at its join.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// The level on arrival.
    pub arrives: u32,
    /// Levels spent on aligning its scale.
    pub aligned: u32,
    /// Levels dropped to meet the other side.
    pub dropped: u32,
    /// Bootstraps on this branch.
    pub bootstraps: usize,
}

fn is_exact(bound: &f64) -> bool {
    *bound == 1.0
}

impl Plan {
    /// Nothing yet.
    pub(super) fn empty() -> Self {
        Plan {
            latency_us: 0.0,
            error: 0.0,
            max_error: 0.0,
            bound: 1.0,
            input_level: 0,
            output_level: 0,
            steps: Vec::new(),
            activations: Vec::new(),
            bootstraps: Vec::new(),
            drops: Vec::new(),
            joins: Vec::new(),
        }
    }
}

impl Plan {
    /// That the plan may not be the best one, as a decision for explanations.
    pub(super) fn doubt(&self) -> Option<DecisionRow> {
        let chosen = match self.bound {
            bound if bound <= 1.0 => return None,
            bound if bound.is_finite() => format!("at most {bound:.3} times what the best plan has"),
            _ => "how far from the best plan is not known".to_string(),
        };
        let what = "search among a part of the states".to_string();
        Some(DecisionRow { what, chosen, alternatives: Vec::new() })
    }
}

impl JoinPlan {
    /// Who paid for the common level, in words.
    pub fn paid(&self) -> String {
        let mut parts = Vec::new();
        for (name, side) in [("main", &self.main), ("skip", &self.skip)] {
            let counts = [
                (side.bootstraps as u32, "bootstrap"),
                (side.aligned, "level to align"),
                (side.dropped, "level dropped"),
            ];
            for (n, what) in counts.into_iter().filter(|c| c.0 > 0) {
                parts.push(format!("{name}: {n} {}", if n == 1 { what.into() } else { plural(what) }));
            }
        }
        if parts.is_empty() { "nobody: both arrive at one level".into() } else { parts.join(", ") }
    }
}

fn plural(what: &str) -> String {
    match what.split_once(' ') {
        Some((noun, rest)) => format!("{noun}s {rest}"),
        None => format!("{what}s"),
    }
}

/// Builds a [`Plan`] by replaying a trace: levels and times come from the network alone, not from the search.
pub(super) struct Replay<'a> {
    tree: &'a StageTree<'a>,
    trace: &'a [Move],
    plan: Plan,
}

impl<'a> Replay<'a> {
    pub fn plan(tree: &'a StageTree<'a>, trace: &'a [Move], end: u32) -> Plan {
        let mut replay = Replay { tree, trace, plan: Plan::empty() };
        replay.plan.output_level = replay.branch(end, 0);
        let p = &mut replay.plan;
        let times = p.steps.iter().map(|s| s.us).chain(p.bootstraps.iter().map(|b| b.us));
        p.latency_us = times.chain(p.drops.iter().map(|d| d.us)).chain(p.joins.iter().map(|j| j.us)).sum();
        p.error = p.activations.iter().map(|a| a.error).sum();
        replay.plan
    }

    /// The level at the end of a branch that starts at `fork`.
    fn branch(&mut self, end: u32, fork: u32) -> u32 {
        let trace = self.trace;
        let mut path = Vec::new();
        let mut at = end;
        loop {
            let node = trace[at as usize];
            match node {
                Move::Then { prev, part } => {
                    path.push(trace[part as usize]);
                    at = prev;
                    continue;
                }
                Move::Step { prev, .. } | Move::Bootstrap { prev, .. } | Move::Drop { prev, .. } => at = prev,
                Move::Start | Move::Input { .. } | Move::Choose { .. } | Move::Join { .. } => {
                    path.push(node);
                    break;
                }
            }
            path.push(node);
        }
        path.into_iter().rev().fold(fork, |level, node| self.run(node, level))
    }

    fn run(&mut self, node: Move, level: u32) -> u32 {
        let tree = self.tree;
        match node {
            Move::Start | Move::Then { .. } => level,
            Move::Input { level } => {
                self.plan.input_level = level;
                level
            }
            Move::Step { stage, variant, level: runs, .. } => {
                let number = stage as usize;
                let StageKind::Step { variants, .. } = &tree.stages[number].kind else { return level };
                let v = &variants[variant as usize];
                self.plan.steps.push(StepPlan {
                    stage: tree.stages[number].name.into(),
                    variant: v.id.clone(),
                    arrives: level,
                    level: runs,
                    after: runs - v.levels,
                    us: v.us[runs as usize],
                    number,
                });
                runs - v.levels
            }
            Move::Bootstrap { point, to, .. } => {
                let (place, p) = &tree.points[point as usize];
                let us = tree.bootstrap_us(point as usize, to as usize);
                let (place, point, width, key) = (place.clone(), point as usize, p.width, p.key);
                self.plan.bootstraps.push(BootstrapPlan { place, point, width, from: level, to, us, key });
                to
            }
            Move::Drop { point, to, .. } => {
                let place = tree.points[point as usize].0.clone();
                let us = tree.drop_us(point as usize, to as usize);
                self.plan.drops.push(DropPlan { place, from: level, to, us });
                to
            }
            Move::Choose { stage, candidate, body } => {
                let (number, index) = (stage as usize, candidate as usize);
                let StageKind::Activation { candidates, key } = &tree.stages[number].kind else { return level };
                let c = &candidates[index];
                let place = self.plan.activations.len();
                self.plan.max_error = self.plan.max_error.max(c.max_error);
                self.plan.activations.push(ActivationPlan {
                    activation: tree.stages[number].name.into(),
                    candidate: c.id.into(),
                    index,
                    level,
                    after: level,
                    error: c.error,
                    key: *key,
                    number,
                });
                let after = self.branch(body, level);
                self.plan.activations[place].after = after;
                after
            }
            Move::Join { stage, main, skip } => self.join(stage as usize, (main, skip), level),
        }
    }

    fn join(&mut self, stage: usize, (main, skip): (u32, u32), fork: u32) -> u32 {
        let tree = self.tree;
        let StageKind::Residual { residual, main: a, skip: b } = &tree.stages[stage].kind else { return fork };
        let start = self.plan.bootstraps.len();
        let m = self.branch(main, fork);
        let middle = self.plan.bootstraps.len();
        let s = self.branch(skip, fork);
        let end = self.plan.bootstraps.len();
        let (left_m, left_s) = (m - residual.main_align.levels, s - residual.skip_align.levels);
        let level = left_m.min(left_s);
        let last = |links: &Links| links.points.last().copied().unwrap_or_default();
        let mut us = residual.main_align.us[m as usize] + residual.skip_align.us[s as usize];
        us += residual.us[level as usize];
        if left_m > level {
            us += tree.drop_us(last(a), level as usize);
        }
        if left_s > level {
            us += tree.drop_us(last(b), level as usize);
        }
        let side = |arrives: u32, aligned: u32, bootstraps: usize| Side {
            arrives,
            aligned,
            dropped: arrives - aligned - level,
            bootstraps,
        };
        self.plan.joins.push(JoinPlan {
            residual: tree.stages[stage].name.into(),
            fork,
            main: side(m, residual.main_align.levels, middle - start),
            skip: side(s, residual.skip_align.levels, end - middle),
            level,
            us,
            number: stage,
        });
        level
    }
}
