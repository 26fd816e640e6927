//! What others plan: uniform degree, OLA's knapsack with fixed bootstraps, AutoFHE's greedy walk.

use super::error::PlanError;
use super::network::{Network, Permission};
use super::plan::{Plan, Replay};
use super::planner::{Effort, Planner};
use super::solve::Move;
use super::tree::{Links, StageKind, StageTree};

/// The same candidate, by id, for every activation; levels and bootstraps are planned exactly. For one bootstrap per
/// activation and a single chain, pass [`Network::bootstrap_every_activation`] and [`Network::single_chain`].
///
/// # Errors
/// When an activation lacks the candidate, or levels run out.
pub fn uniform(network: &Network, id: &str) -> Result<Plan, PlanError> {
    let planner = Planner::new(network, Effort::default())?;
    let tree = &planner.tree;
    let place = |number: usize| {
        let StageKind::Activation { candidates, .. } = &tree.stages[number].kind else { return Ok(0) };
        let missing = || PlanError::Candidate { activation: tree.stages[number].name.into(), what: format!("`{id}`") };
        candidates.iter().position(|c| c.id == id).ok_or_else(missing)
    };
    let picks = tree.activations().into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    planner.with_candidates(&picks)
}

/// One choice of a knapsack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnapsackItem {
    /// Time.
    pub us: f64,
    /// Error.
    pub error: f64,
}

/// Units of time that a knapsack counts at most.
const MAX_UNITS: f64 = 1e7;

/// OLA's dynamic programme: one item per layer, least sum of errors, sum of times at most `budget_us`. Times count in
/// whole units of `unit_us`, rounded up, so that the result never exceeds the budget. `None`: nothing fits, or the budget is
/// more than 10^7 units.
pub fn knapsack(layers: &[Vec<KnapsackItem>], budget_us: f64, unit_us: f64) -> Option<Vec<usize>> {
    let units = budget_us / unit_us;
    if !(0.0..=MAX_UNITS).contains(&units) {
        return None;
    }
    let budget = units as usize;
    let width = |item: &KnapsackItem| {
        let n = (item.us / unit_us).ceil();
        (n >= 0.0 && n <= budget as f64).then_some(n as usize)
    };
    let mut best = vec![0.0; budget + 1];
    let mut taken: Vec<Vec<u32>> = Vec::with_capacity(layers.len());
    for items in layers {
        let mut next = vec![f64::INFINITY; budget + 1];
        let mut choice = vec![u32::MAX; budget + 1];
        for (i, item) in items.iter().enumerate() {
            let Some(w) = width(item) else { continue };
            for k in w..=budget {
                let error = best[k - w] + item.error;
                if error < next[k] {
                    (next[k], choice[k]) = (error, i as u32);
                }
            }
        }
        best = next;
        taken.push(choice);
    }
    if !best[budget].is_finite() {
        return None;
    }
    let mut left = budget;
    let mut picks = Vec::with_capacity(layers.len());
    for (items, choice) in layers.iter().zip(&taken).rev() {
        let pick = choice[left] as usize;
        picks.push(pick);
        left -= width(items.get(pick)?)?;
    }
    picks.reverse();
    Some(picks)
}

/// OLA: degrees by [`knapsack`] with bootstraps fixed before every activation; every bootstrap restores only the level
/// needed unless the network has a [single chain](Network::single_chain). The time of a layer is what the plan takes
/// more with that candidate. Where layers share a level across a shortcut times do not quite add up; the budget
/// is then tightened by the excess until the plan keeps it.
///
/// # Errors
/// When levels run out, or nothing is fast enough.
pub fn ola(network: &Network, max_latency_us: f64, unit_us: f64) -> Result<Plan, PlanError> {
    let fixed = network.bootstrap_every_activation();
    let planner = Planner::new(&fixed, Effort::default())?;
    let tree = &planner.tree;
    let rules = super::solve::Rules::default();
    let unreachable = |nearest: String| {
        Err(PlanError::Limits { asked: format!("latency {max_latency_us:.0} µs with fixed bootstraps"), nearest })
    };
    let Some(base) = planner.fastest(&rules) else { return unreachable("levels run out".into()) };
    let picks: Vec<usize> = base.activations.iter().map(|a| a.index).collect();
    let mut layers = Vec::with_capacity(picks.len());
    for (i, number) in tree.activations().into_iter().enumerate() {
        let StageKind::Activation { candidates, .. } = &tree.stages[number].kind else { continue };
        let item = |(place, c): (usize, &super::tree::StageChoice<'_>)| {
            let mut other = picks.clone();
            other[i] = place;
            let plan = planner.with_candidates(&other).ok();
            KnapsackItem { us: plan.map_or(f64::INFINITY, |p| p.latency_us - base.latency_us).max(0.0), error: c.error }
        };
        layers.push(candidates.iter().enumerate().map(item).collect::<Vec<_>>());
    }
    let mut budget = max_latency_us - base.latency_us;
    loop {
        let Some(picks) = knapsack(&layers, budget, unit_us) else {
            return unreachable(format!("the fastest such plan takes {:.0} µs", base.latency_us));
        };
        let plan = planner.with_candidates(&picks)?;
        if plan.latency_us <= max_latency_us {
            return Ok(plan);
        }
        budget -= (plan.latency_us - max_latency_us).max(unit_us);
    }
}

/// AutoFHE's walk: a bootstrap to L wherever the next stage needs more levels than are left, and the first variant of every
/// step; shortcuts keep the level of the fork. `picks` are the candidates, by place per activation.
///
/// # Errors
/// When a place does not exist, or the walk runs out of levels.
pub fn greedy(network: &Network, picks: &[usize]) -> Result<Plan, PlanError> {
    let planner = Planner::new(network, Effort::default())?;
    let tree = &planner.tree;
    let mut walk = LevelWalk { tree, picks: planner.picks(picks)?, trace: vec![Move::Start] };
    let level = network.input_level;
    walk.trace.push(Move::Input { level });
    let (level, end) = walk.chain(&tree.root, level, 1)?;
    if level < network.output_level {
        let stage = format!("{}: output", network.name);
        return Err(PlanError::Starved { stage, needs: network.output_level, level });
    }
    Ok(Replay::plan(tree, &walk.trace, end))
}

struct LevelWalk<'a> {
    tree: &'a StageTree<'a>,
    picks: std::collections::BTreeMap<usize, usize>,
    trace: Vec<Move>,
}

impl LevelWalk<'_> {
    fn note(&mut self, trace: Move) -> u32 {
        self.trace.push(trace);
        (self.trace.len() - 1) as u32
    }

    /// Levels that must be there before a stage for it to start without a bootstrap.
    fn needs(&self, stage: usize) -> u32 {
        match &self.tree.stages[stage].kind {
            StageKind::Step { variants, .. } => variants.first().map_or(0, |v| v.levels),
            StageKind::Activation { candidates, .. } => {
                let body = &candidates[self.picks.get(&stage).copied().unwrap_or_default()].body;
                self.total(body)
            }
            StageKind::Residual { residual, main, skip } => {
                let first = |links: &Links| links.stages.first().map(|&s| self.needs(s));
                let main = first(main).unwrap_or(residual.main_align.levels);
                main.max(first(skip).unwrap_or(residual.skip_align.levels))
            }
        }
    }

    /// Levels of a whole candidate, which the walk does not interrupt.
    fn total(&self, chain: &Links) -> u32 {
        let stage = |&s: &usize| match &self.tree.stages[s].kind {
            StageKind::Residual { residual, main, skip } => {
                let (a, b) = (residual.main_align.levels, residual.skip_align.levels);
                (self.total(main) + a).max(self.total(skip) + b)
            }
            _ => self.needs(s),
        };
        chain.stages.iter().map(stage).sum()
    }

    fn chain(&mut self, chain: &Links, mut level: u32, mut at: u32) -> Result<(u32, u32), PlanError> {
        for (i, &stage) in chain.stages.iter().enumerate() {
            let tree = self.tree;
            if let Some(point) = chain.point(i)
                && tree.points[point].1.site != Permission::Never
                && level >= tree.network.bootstrap_from
                && level < self.needs(stage)
            {
                let to = tree.network.max_level;
                at = self.note(Move::Bootstrap { prev: at, point: point as u32, to });
                level = to;
            }
            let name = tree.stages[stage].name;
            let spend = |levels: u32, level: u32| {
                level.checked_sub(levels).ok_or(PlanError::Starved { stage: name.into(), needs: levels, level })
            };
            match &tree.stages[stage].kind {
                StageKind::Step { .. } => {
                    at = self.note(Move::Step { prev: at, stage: stage as u32, variant: 0, level });
                    level = spend(self.needs(stage), level)?;
                }
                StageKind::Activation { candidates, .. } => {
                    let candidate = self.picks.get(&stage).copied().unwrap_or_default();
                    let (after, body) = self.chain(&candidates[candidate].body, level, 0)?;
                    let part = self.note(Move::Choose { stage: stage as u32, candidate: candidate as u32, body });
                    at = self.note(Move::Then { prev: at, part });
                    level = after;
                }
                StageKind::Residual { residual, main, skip } => {
                    let (m, main) = self.chain(main, level, 0)?;
                    let (s, skip) = self.chain(skip, level, 0)?;
                    let part = self.note(Move::Join { stage: stage as u32, main, skip });
                    at = self.note(Move::Then { prev: at, part });
                    level = spend(residual.main_align.levels, m)?.min(spend(residual.skip_align.levels, s)?);
                }
            }
        }
        Ok((level, at))
    }
}
