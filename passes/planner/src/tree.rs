//! The network with numbered stages and points, checked once.

use std::collections::BTreeSet;

use serde::Serialize;

use super::error::PlanError;
use super::network::{Align, Chain, Network, Permission, Point, Residual, Stage, Variant};

/// Chains inside chains at most; deeper descriptions are refused.
const MAX_NESTING: usize = 64;
/// Stages at most, those of candidates included.
pub(super) const MAX_STAGES: usize = 1 << 20;
/// Levels at most.
pub(super) const MAX_LEVEL: u32 = 128;

/// Where a point lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Before a stage.
    Before(String),
    /// Before a residual block: both branches are served.
    Fork(String),
    /// At the end of the main branch of a residual block.
    MainEnd(String),
    /// At the end of the shortcut of a residual block.
    SkipEnd(String),
    /// After the last stage.
    Output,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Before(s) => write!(f, "before `{s}`"),
            Place::Fork(s) => write!(f, "at the fork of `{s}`"),
            Place::MainEnd(s) => write!(f, "on the main branch of `{s}`, before the addition"),
            Place::SkipEnd(s) => write!(f, "on the shortcut of `{s}`, before the addition"),
            Place::Output => write!(f, "at the output"),
        }
    }
}

/// Numbered parts of a [`Network`].
pub(super) struct StageTree<'a> {
    pub network: &'a Network,
    pub stages: Vec<StageNode<'a>>,
    pub points: Vec<(Place, Point)>,
    /// The stage that a point is part of.
    pub owners: Vec<Option<usize>>,
    pub root: Links,
}

/// A stage.
pub(super) struct StageNode<'a> {
    pub name: &'a str,
    /// The point before it.
    pub point: usize,
    /// The stage it is part of.
    pub parent: Option<usize>,
    pub kind: StageKind<'a>,
}

/// What a stage is.
pub(super) enum StageKind<'a> {
    Step { variants: &'a [Variant], plain: bool },
    Activation { candidates: Vec<StageChoice<'a>>, key: usize },
    Residual { residual: &'a Residual, main: Links, skip: Links },
}

/// A candidate.
pub(super) struct StageChoice<'a> {
    pub id: &'a str,
    pub body: Links,
    pub error: f64,
    pub max_error: f64,
}

/// The numbers of a chain's stages and points.
#[derive(Clone)]
pub(super) struct Links {
    pub stages: Vec<usize>,
    pub points: Vec<usize>,
    /// A candidate's body: its end points are those around the activation and offer nothing themselves.
    pub body: bool,
}

impl Links {
    /// The point before stage `i`, unless it only repeats one outside.
    pub fn point(&self, i: usize) -> Option<usize> {
        (!self.body || (i > 0 && i < self.stages.len())).then_some(self.points[i])
    }
}

/// What the end of a chain is.
enum End<'a> {
    Output,
    Main(&'a str),
    Skip(&'a str),
    Body(&'a str),
}

impl<'a> StageTree<'a> {
    pub fn new(network: &'a Network) -> Result<Self, PlanError> {
        let links = Links { stages: Vec::new(), points: Vec::new(), body: false };
        let mut tree = StageTree { network, stages: Vec::new(), points: Vec::new(), owners: Vec::new(), root: links };
        let l = network.max_level;
        let name = network.name.as_str();
        if l > MAX_LEVEL {
            return Err(invalid(name, format!("{l} levels; at most {MAX_LEVEL} can be planned")));
        }
        if network.input_level > l || network.output_level > l || network.bootstrap_from > l {
            return Err(invalid(name, format!("a level of its input, output or bootstraps is above L = {l}")));
        }
        tree.table(name, "the level drop", &network.drop)?;
        for us in &network.bootstraps {
            tree.table(name, "a bootstrap", us)?;
        }
        tree.root = tree.chain(&network.chain, &End::Output, (None, 0))?;
        Ok(tree)
    }

    /// Levels 0..=L.
    pub fn levels(&self) -> usize {
        self.network.max_level as usize + 1
    }

    /// The numbers of the activations, in order of execution.
    pub fn activations(&self) -> Vec<usize> {
        (0..self.stages.len()).filter(|&i| matches!(self.stages[i].kind, StageKind::Activation { .. })).collect()
    }

    /// How often a plan's partial sets are multiplied at most: its activations and residual regions.
    pub fn products(&self, chain: &Links) -> usize {
        let count = |&stage: &usize| match &self.stages[stage].kind {
            StageKind::Step { .. } => 0,
            StageKind::Activation { candidates, .. } => {
                1 + candidates.iter().map(|c| self.products(&c.body)).max().unwrap_or(0)
            }
            StageKind::Residual { main, skip, .. } => 1 + self.products(main) + self.products(skip),
        };
        chain.stages.iter().map(count).sum()
    }

    /// Microseconds of a bootstrap of the point to `to`.
    pub fn bootstrap_us(&self, point: usize, to: usize) -> f64 {
        let (_, p) = &self.points[point];
        match p.site {
            Permission::Never => f64::INFINITY,
            Permission::May(kind) | Permission::Must(kind) => self.network.bootstraps[kind][to] * f64::from(p.width),
        }
    }

    /// Microseconds of a drop of the point to `to`.
    pub fn drop_us(&self, point: usize, to: usize) -> f64 {
        self.network.drop[to] * f64::from(self.points[point].1.width)
    }

    fn table(&self, at: &str, what: &str, us: &[f64]) -> Result<(), PlanError> {
        check_times(at, what, us, self.network.max_level)
    }

    fn chain(
        &mut self,
        chain: &'a Chain,
        end: &End<'a>,
        (parent, depth): (Option<usize>, usize),
    ) -> Result<Links, PlanError> {
        let at = match end {
            End::Output => self.network.name.as_str(),
            End::Main(name) | End::Skip(name) | End::Body(name) => name,
        };
        if depth > MAX_NESTING {
            return Err(invalid(at, format!("nested more than {MAX_NESTING} deep")));
        }
        if chain.points.len() != chain.stages.len() + 1 {
            let (stages, points) = (chain.stages.len(), chain.points.len());
            return Err(invalid(at, format!("{stages} stages with {points} points; there must be one point more")));
        }
        let mut links = Links { stages: Vec::new(), points: Vec::new(), body: matches!(end, End::Body(_)) };
        for (i, point) in chain.points.iter().enumerate() {
            let stage = chain.stages.get(i);
            let place = match (stage, end) {
                (Some(Stage::Residual(r)), _) => Place::Fork(r.name.clone()),
                (Some(s), _) => Place::Before(s.name().into()),
                (None, End::Main(name)) => Place::MainEnd((*name).into()),
                (None, End::Skip(name)) => Place::SkipEnd((*name).into()),
                (None, End::Output | End::Body(_)) => Place::Output,
            };
            if point.width == 0 {
                return Err(invalid(at, format!("no ciphertext {place}")));
            }
            if let Permission::May(kind) | Permission::Must(kind) = point.site
                && kind >= self.network.bootstraps.len()
            {
                let kinds = self.network.bootstraps.len();
                return Err(invalid(at, format!("bootstrap of kind {kind} {place}; there are {kinds} kinds")));
            }
            links.points.push(self.points.len());
            self.points.push((place, *point));
            self.owners.push(parent);
            if let Some(stage) = stage {
                links.stages.push(self.stage(stage, (parent, depth))?);
            }
        }
        Ok(links)
    }

    fn stage(&mut self, stage: &'a Stage, (parent, depth): (Option<usize>, usize)) -> Result<usize, PlanError> {
        let name = stage.name();
        let number = self.stages.len();
        if number >= MAX_STAGES {
            return Err(invalid(name, format!("more than {MAX_STAGES} stages")));
        }
        let point = self.points.len() - 1;
        self.stages.push(StageNode { name, point, parent, kind: StageKind::Step { variants: &[], plain: false } });
        let inner = (Some(number), depth + 1);
        self.stages[number].kind = match stage {
            Stage::Step(s) => {
                if s.variants.is_empty() {
                    return Err(invalid(name, "no way of computing it".into()));
                }
                s.variants.iter().try_for_each(|v| self.table(name, &v.id, &v.us))?;
                StageKind::Step { variants: &s.variants, plain: s.plain }
            }
            Stage::Activation(a) => {
                if a.candidates.is_empty() {
                    return Err(invalid(name, "no candidates".into()));
                }
                let mut candidates = Vec::with_capacity(a.candidates.len());
                for c in &a.candidates {
                    if [c.error, c.max_error].iter().any(|e| !(e.is_finite() && *e >= 0.0)) {
                        let what = format!("candidate `{}` has errors {} and {}", c.id, c.error, c.max_error);
                        return Err(invalid(name, what));
                    }
                    let body = self.chain(&c.body, &End::Body(name), inner)?;
                    candidates.push(StageChoice { id: &c.id, body, error: c.error, max_error: c.max_error });
                }
                let ids: BTreeSet<&str> = candidates.iter().map(|c| c.id).collect();
                if ids.len() < candidates.len() {
                    return Err(invalid(name, "two candidates have the same id".into()));
                }
                StageKind::Activation { candidates, key: a.key }
            }
            Stage::Residual(r) => {
                self.table(name, "the addition", &r.us)?;
                for Align { us, .. } in [&r.main_align, &r.skip_align] {
                    self.table(name, "the alignment", us)?;
                }
                let main = self.chain(&r.main, &End::Main(name), inner)?;
                let skip = self.chain(&r.skip, &End::Skip(name), inner)?;
                StageKind::Residual { residual: r, main, skip }
            }
        };
        Ok(number)
    }

    /// Checks that levels suffice in some plan. Higher levels admit whatever lower ones do, so the highest reachable one
    /// decides.
    pub fn check_levels(&self) -> Result<(), PlanError> {
        let left = self.reach(&self.root, self.network.input_level)?;
        if left < self.network.output_level {
            let (needs, stage) = (self.network.output_level, format!("{}: output", self.network.name));
            return Err(PlanError::Starved { stage, needs, level: left });
        }
        Ok(())
    }

    fn reach(&self, chain: &Links, start: u32) -> Result<u32, PlanError> {
        let mut level = start;
        for i in 0..chain.points.len() {
            let site = chain.point(i).map_or(Permission::Never, |p| self.points[p].1.site);
            match site {
                Permission::Never => {}
                Permission::May(_) | Permission::Must(_) if level >= self.network.bootstrap_from => {
                    level = self.network.max_level
                }
                Permission::May(_) => {}
                Permission::Must(_) => {
                    let stage = chain.points.get(i).map(|&p| self.points[p].0.to_string()).unwrap_or_default();
                    return Err(PlanError::Starved { stage, needs: self.network.bootstrap_from, level });
                }
            }
            if let Some(&stage) = chain.stages.get(i) {
                level = self.reach_stage(stage, level)?;
            }
        }
        Ok(level)
    }

    fn reach_stage(&self, stage: usize, level: u32) -> Result<u32, PlanError> {
        let name = self.stages[stage].name;
        let spend = |at: &str, levels: u32, level: u32| {
            level.checked_sub(levels).ok_or(PlanError::Starved { stage: at.into(), needs: levels, level })
        };
        match &self.stages[stage].kind {
            StageKind::Step { variants, .. } => {
                spend(name, variants.iter().map(|v| v.levels).min().unwrap_or(0), level)
            }
            StageKind::Activation { candidates, .. } => {
                let needs = u32::MAX;
                let mut best: Result<u32, PlanError> = Err(PlanError::Starved { stage: name.into(), needs, level });
                for c in candidates {
                    best = match (best, self.reach(&c.body, level)) {
                        (Ok(a), Ok(b)) => Ok(a.max(b)),
                        (Ok(a), Err(_)) | (Err(_), Ok(a)) => Ok(a),
                        (Err(a), Err(b)) => Err(nearest(name, level, &a, &b)),
                    };
                }
                best
            }
            StageKind::Residual { residual, main, skip } => {
                let main = spend(name, residual.main_align.levels, self.reach(main, level)?)?;
                let skip = spend(name, residual.skip_align.levels, self.reach(skip, level)?)?;
                Ok(main.min(skip))
            }
        }
    }
}

/// An activation starves by the candidate that lacks the fewest levels, and by its own name.
fn nearest(name: &str, level: u32, a: &PlanError, b: &PlanError) -> PlanError {
    let lacks = |e: &PlanError| match e {
        PlanError::Starved { needs, level, .. } => needs.saturating_sub(*level).max(1),
        _ => u32::MAX,
    };
    PlanError::Starved { stage: name.into(), needs: level.saturating_add(lacks(a).min(lacks(b))), level }
}

/// Checks that there is a time for every level up to `max_level`.
pub(super) fn check_times(at: &str, what: &str, us: &[f64], max_level: u32) -> Result<(), PlanError> {
    if us.len() <= max_level as usize {
        return Err(invalid(at, format!("times of {what} for levels 0 to {}, but L = {max_level}", us.len())));
    }
    match us.iter().find(|t| !(t.is_finite() && **t >= 0.0)) {
        Some(t) => Err(invalid(at, format!("{t} is not a time ({what})"))),
        None => Ok(()),
    }
}

pub(super) fn invalid(at: &str, what: String) -> PlanError {
    PlanError::Network { at: at.into(), what }
}
