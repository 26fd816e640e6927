//! The dynamic programme: Pareto sets of (time, error) per level, residual regions as matrices over their fork and join levels.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::front::{Front, Pair, PartialPlan, Raw, better, sweep};
use super::network::{Permission, Residual, Targets};
use super::tree::{Links, StageKind, StageTree};

/// Labels per level.
pub(super) type Levels = Vec<Front>;

/// How a label came about. Levels before and after are those that the replay finds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// The start of a branch or of a candidate.
    Start,
    /// The input, encrypted at a level.
    Input {
        level: u32,
    },
    Step {
        prev: u32,
        stage: u32,
        variant: u32,
        level: u32,
    },
    Bootstrap {
        prev: u32,
        point: u32,
        to: u32,
    },
    Drop {
        prev: u32,
        point: u32,
        to: u32,
    },
    /// An activation computed by a candidate, whose own steps are `body`.
    Choose {
        stage: u32,
        candidate: u32,
        body: u32,
    },
    Join {
        stage: u32,
        main: u32,
        skip: u32,
    },
    /// `part` (a choice or a join) after `prev`.
    Then {
        prev: u32,
        part: u32,
    },
}

/// What plans must not or must do; for alternatives and baselines.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The candidate of an activation, by its number.
    pub candidate: BTreeMap<usize, usize>,
    /// The variant of a step, by its number.
    pub variant: BTreeMap<usize, usize>,
    /// Points not bootstrapped.
    pub banned: BTreeSet<usize>,
    /// Points bootstrapped in any case, if they are sites.
    pub forced: BTreeSet<usize>,
    /// The largest error of a candidate on its interval.
    pub max_candidate_error: Option<f64>,
}

/// Which labels survive at one point and level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SearchMode {
    /// All that none dominates.
    Pareto,
    /// The one of least time + `rate` · error, ties by error.
    Weighted { rate: f64 },
    /// The one of least error, ties by time.
    Error,
}

/// A bound on the rest of the plan: labels with `us + rate·error + to_go > limit` lead nowhere. `us` counts only if `timed`.
pub(super) struct Gate {
    pub timed: bool,
    pub rate: f64,
    pub limit: f64,
    pub to_go: ToGo,
}

/// The least sum of `timed`·us + rate·error from a point of the outermost chain to the output, by level.
pub(super) struct ToGo {
    /// On arrival at a point.
    before: Vec<Vec<f64>>,
    /// After its bootstraps and drops.
    after: Vec<Vec<f64>>,
}

/// Room for the rounding of sums.
pub(super) const SLACK: f64 = 1e-12;
/// Products of sets beyond so many times [`Solver::exact_up_to`] are gathered in cells, without being sorted first.
pub(super) const GATHERED: usize = 16;

/// The dynamic programme under one set of rules.
pub(super) struct Solver<'a> {
    pub tree: &'a StageTree<'a>,
    rules: &'a Rules,
    mode: SearchMode,
    pub trace: Vec<Move>,
    matrices: Vec<Option<Rc<Vec<Levels>>>>,
    /// Width of the cells of time, microseconds, in which one label stands for all; 0: none.
    pub cell: f64,
    /// Sets up to this size are kept whole.
    pub exact_up_to: usize,
    /// Whether a set was thinned.
    pub thinned: bool,
    /// Whether one inside a region was, which its matrix keeps.
    pub thinned_inside: bool,
}

impl<'a> Solver<'a> {
    pub fn new(tree: &'a StageTree<'a>, rules: &'a Rules, mode: SearchMode) -> Self {
        let matrices = vec![None; tree.stages.len()];
        let (cell, exact_up_to) = (0.0, usize::MAX);
        Solver {
            tree,
            rules,
            mode,
            trace: vec![Move::Start],
            matrices,
            cell,
            exact_up_to,
            thinned: false,
            thinned_inside: false,
        }
    }

    /// A solver with the same matrices, except of the given stage and those around it. Its labels cannot be traced.
    pub fn variation(&self, rules: &'a Rules, changed: Option<usize>) -> Solver<'a> {
        let mut out = Solver::new(self.tree, rules, self.mode);
        out.matrices.clone_from(&self.matrices);
        let mut stage = changed;
        while let Some(s) = stage {
            out.matrices[s] = None;
            stage = self.tree.stages[s].parent;
        }
        out
    }

    /// All labels at the output.
    pub fn solve(&mut self, gates: &[Gate]) -> Front {
        let mut levels = vec![Front::new(); self.tree.levels()];
        for level in 0..=self.tree.network.input_level {
            let trace = self.note(Move::Input { level });
            levels[level as usize].push(PartialPlan { us: 0.0, error: 0.0, trace });
        }
        let root = self.tree.root.clone();
        let end = self.chain(&root, levels, gates);
        let mut out = Front::new();
        for front in &end[self.tree.network.output_level as usize..] {
            out = self.merge(out, front, (0.0, 0.0), |_| None);
        }
        out
    }

    fn note(&mut self, trace: Move) -> u32 {
        self.trace.push(trace);
        (self.trace.len() - 1) as u32
    }

    /// The labels of both; those of `from` cost more by `add` and are noted as `wrap` says.
    fn merge(
        &mut self,
        into: Front,
        from: &[PartialPlan],
        add: (f64, f64),
        wrap: impl Fn(u32) -> Option<Move>,
    ) -> Front {
        if from.is_empty() {
            return into;
        }
        let mut out = Front::with_capacity(into.len() + from.len());
        let (mut a, mut b) = (into.into_iter().peekable(), from.iter().peekable());
        loop {
            let shifted = b.peek().map(|l| PartialPlan { us: l.us + add.0, error: l.error + add.1, trace: l.trace });
            let first = match (a.peek(), &shifted) {
                (Some(x), Some(y)) => (x.us, x.error) <= (y.us, y.error),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let next = if first { a.next() } else { b.next().and(shifted) };
            let Some(mut label) = next else { break };
            if !better(out.last(), label.error) {
                continue;
            }
            if !first && let Some(trace) = wrap(label.trace) {
                label.trace = self.note(trace);
            }
            out.push(label);
        }
        self.trim(&mut out);
        out
    }

    /// Leaves the labels that the mode wants.
    fn trim(&mut self, front: &mut Front) {
        if front.len() < 2 {
            return;
        }
        let key = |l: &PartialPlan| match self.mode {
            SearchMode::Pareto => (0.0, 0.0),
            SearchMode::Weighted { rate } => (l.us + rate * l.error, l.error),
            SearchMode::Error => (l.error, l.us),
        };
        if self.mode != SearchMode::Pareto {
            let least =
                front.iter().copied().min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
            *front = least.into_iter().collect();
        }
    }

    fn chain(&mut self, chain: &Links, start: Levels, gates: &[Gate]) -> Levels {
        let mut levels = start;
        for i in 0..chain.points.len() {
            if let Some(point) = chain.point(i) {
                levels = self.point(point, levels);
            }
            keep(&mut levels, gates, |to_go| &to_go.after[i]);
            let Some(&stage) = chain.stages.get(i) else { break };
            let tree = self.tree;
            levels = match &tree.stages[stage].kind {
                StageKind::Step { .. } => self.step(stage, levels),
                _ => self.apply(stage, &levels, gates, i + 1),
            };
            keep(&mut levels, gates, |to_go| &to_go.before[i + 1]);
        }
        levels
    }

    /// Bootstraps, then drops.
    fn point(&mut self, point: usize, levels: Levels) -> Levels {
        let tree = self.tree;
        let (open, must) = self.site(point);
        let mut source = Front::new();
        if open {
            for front in &levels[tree.network.bootstrap_from as usize..] {
                source = self.merge(source, front, (0.0, 0.0), |_| None);
            }
        }
        let mut out = if must { vec![Front::new(); levels.len()] } else { levels };
        if !source.is_empty() {
            for to in self.targets() {
                let us = tree.bootstrap_us(point, to);
                let wrap = |prev| Some(Move::Bootstrap { prev, point: point as u32, to: to as u32 });
                out[to] = self.merge(std::mem::take(&mut out[to]), &source, (us, 0.0), wrap);
            }
        }
        let mut above = Front::new();
        for to in (0..out.len()).rev() {
            let own = out[to].clone();
            let wrap = |prev| Some(Move::Drop { prev, point: point as u32, to: to as u32 });
            out[to] = self.merge(std::mem::take(&mut out[to]), &above, (tree.drop_us(point, to), 0.0), wrap);
            above = self.merge(above, &own, (0.0, 0.0), |_| None);
        }
        out
    }

    /// Whether the point may be bootstrapped, and whether it must be.
    fn site(&self, point: usize) -> (bool, bool) {
        let site = self.tree.points[point].1.site;
        let open = site != Permission::Never && !self.rules.banned.contains(&point);
        (open, matches!(site, Permission::Must(_)) || (open && self.rules.forced.contains(&point)))
    }

    fn targets(&self) -> std::ops::Range<usize> {
        let top = self.tree.network.max_level as usize;
        match self.tree.network.targets {
            Targets::Any => 1..top + 1,
            Targets::Top => top..top + 1,
        }
    }

    fn step(&mut self, stage: usize, levels: Levels) -> Levels {
        let tree = self.tree;
        let StageKind::Step { variants, plain } = &tree.stages[stage].kind else { return levels };
        let mut out = vec![Front::new(); levels.len()];
        let mut above = Front::new();
        for (level, front) in levels.into_iter().enumerate().rev() {
            if *plain {
                above = self.merge(above, &front, (0.0, 0.0), |_| None);
            } else {
                above = front;
            }
            for (i, v) in variants.iter().enumerate() {
                let wanted = self.rules.variant.get(&stage).is_none_or(|w| *w == i);
                let Some(left) = level.checked_sub(v.levels as usize).filter(|_| wanted) else { continue };
                let wrap =
                    |prev| Some(Move::Step { prev, stage: stage as u32, variant: i as u32, level: level as u32 });
                out[left] = self.merge(std::mem::take(&mut out[left]), &above, (v.us[level], 0.0), wrap);
            }
        }
        out
    }

    /// An activation or a residual region: every label before it with every one of its matrix.
    fn apply(&mut self, stage: usize, levels: &Levels, gates: &[Gate], position: usize) -> Levels {
        let matrix = self.matrix(stage);
        (0..levels.len())
            .map(|join| {
                let pairs: Vec<Pair<'_>> =
                    levels.iter().zip(matrix.iter()).map(|(a, row)| (&a[..], &row[join][..], 0.0)).collect();
                let admit = |us: f64, error: f64| admits(gates, |to_go| to_go.before[position][join], us, error);
                self.product(&pairs, admit, |_, a, b| Move::Then { prev: a, part: b })
            })
            .collect()
    }

    /// The Pareto set of all sums of pairs.
    fn product(
        &mut self,
        pairs: &[Pair<'_>],
        admit: impl Fn(f64, f64) -> bool,
        wrap: impl Fn(usize, u32, u32) -> Move,
    ) -> Front {
        let count: usize = pairs.iter().map(|(a, b, _)| a.len() * b.len()).sum();
        let cell = if count > self.exact_up_to.saturating_mul(GATHERED) { self.cell } else { 0.0 };
        let (raw, thinned) = sweep(pairs, cell, admit);
        self.thinned |= thinned;
        let raw = if self.cell > 0.0 && !thinned && raw.len() > self.exact_up_to {
            self.thinned = true;
            super::front::thin(&raw, self.cell)
        } else {
            raw
        };
        let mut front: Front = Vec::with_capacity(raw.len());
        if self.mode == SearchMode::Pareto {
            for Raw { us, error, list, a, b } in raw {
                let trace = self.note(wrap(list as usize, a, b));
                front.push(PartialPlan { us, error, trace });
            }
        } else {
            let mut numbered: Front = raw
                .iter()
                .enumerate()
                .map(|(i, r)| PartialPlan { us: r.us, error: r.error, trace: i as u32 })
                .collect();
            self.trim(&mut numbered);
            for label in numbered {
                let r = &raw[label.trace as usize];
                let trace = self.note(wrap(r.list as usize, r.a, r.b));
                front.push(PartialPlan { trace, ..label });
            }
        }
        front
    }

    /// Labels of the stage by level before and level after.
    fn matrix(&mut self, stage: usize) -> Rc<Vec<Levels>> {
        if let Some(matrix) = &self.matrices[stage] {
            return Rc::clone(matrix);
        }
        let n = self.tree.levels();
        let thinned = std::mem::take(&mut self.thinned);
        let matrix: Vec<Levels> = (0..n).map(|fork| self.row(stage, fork)).collect();
        self.thinned_inside |= self.thinned;
        self.thinned |= thinned;
        let matrix = Rc::new(matrix);
        self.matrices[stage] = Some(Rc::clone(&matrix));
        matrix
    }

    fn row(&mut self, stage: usize, fork: usize) -> Levels {
        let tree = self.tree;
        let n = tree.levels();
        let start = || {
            let mut levels = vec![Front::new(); n];
            levels[fork].push(PartialPlan { us: 0.0, error: 0.0, trace: 0 });
            levels
        };
        let mut out = vec![Front::new(); n];
        match &tree.stages[stage].kind {
            StageKind::Step { .. } => out = self.step(stage, start()),
            StageKind::Activation { candidates, .. } => {
                for (i, c) in candidates.iter().enumerate() {
                    let wanted = self.rules.candidate.get(&stage).is_none_or(|w| *w == i);
                    let close = self.rules.max_candidate_error.is_none_or(|limit| c.max_error <= limit);
                    if !wanted || !close {
                        continue;
                    }
                    let end = self.chain(&c.body, start(), &[]);
                    for (level, front) in end.iter().enumerate() {
                        let wrap = |body| Some(Move::Choose { stage: stage as u32, candidate: i as u32, body });
                        out[level] = self.merge(std::mem::take(&mut out[level]), front, (0.0, c.error), wrap);
                    }
                }
            }
            StageKind::Residual { residual, main, skip } => {
                let a = self.chain(main, start(), &[]);
                let b = self.chain(skip, start(), &[]);
                for (level, front) in out.iter_mut().enumerate() {
                    let pairs = join_pairs(tree, residual, (main, &a), (skip, &b), level);
                    let wrap = |_, main, skip| Move::Join { stage: stage as u32, main, skip };
                    *front = self.product(&pairs, |_, _| true, wrap);
                }
            }
        }
        out
    }

    /// Bounds on the rest, for [`Gate`]. Needs no labels.
    pub fn rest(&mut self, timed: bool, rate: f64) -> ToGo {
        let tree = self.tree;
        let (n, root) = (tree.levels(), &tree.root);
        let weigh = |us: f64, error: f64| if timed { us + rate * error } else { rate * error };
        let output = tree.network.output_level as usize;
        let mut before = vec![vec![f64::INFINITY; n]; root.points.len()];
        let mut after = before.clone();
        for i in (0..root.points.len()).rev() {
            if let Some(&stage) = root.stages.get(i) {
                let next = &before[i + 1];
                let mut here = vec![f64::INFINITY; n];
                if let StageKind::Step { variants, plain } = &tree.stages[stage].kind {
                    for (level, h) in here.iter_mut().enumerate() {
                        for (k, v) in variants.iter().enumerate() {
                            let wanted = self.rules.variant.get(&stage).is_none_or(|w| *w == k);
                            for run in if *plain { 0..=level } else { level..=level } {
                                if let Some(left) = run.checked_sub(v.levels as usize).filter(|_| wanted) {
                                    *h = h.min(weigh(v.us[run], 0.0) + next[left]);
                                }
                            }
                        }
                    }
                } else {
                    let matrix = self.matrix(stage);
                    for (h, row) in here.iter_mut().zip(matrix.iter()) {
                        for (front, rest) in row.iter().zip(next) {
                            *h = front.iter().fold(*h, |h, l| h.min(weigh(l.us, l.error) + rest));
                        }
                    }
                }
                after[i] = here;
            } else {
                after[i] = (0..n).map(|l| if l >= output { 0.0 } else { f64::INFINITY }).collect();
            }
            let point = root.points[i];
            let dropped: Vec<f64> = (0..n)
                .map(|l| (0..l).fold(after[i][l], |h, to| h.min(weigh(tree.drop_us(point, to), 0.0) + after[i][to])))
                .collect();
            let (open, must) = self.site(point);
            let boot = if open {
                self.targets()
                    .fold(f64::INFINITY, |h, to| h.min(weigh(tree.bootstrap_us(point, to), 0.0) + dropped[to]))
            } else {
                f64::INFINITY
            };
            for l in 0..n {
                let boot = if l >= tree.network.bootstrap_from as usize { boot } else { f64::INFINITY };
                before[i][l] = if must { boot } else { dropped[l].min(boot) };
            }
        }
        ToGo { before, after }
    }
}

/// The pairs of branch levels that meet at `level`: the higher side is dropped to the lower one.
fn join_pairs<'f>(
    tree: &StageTree<'_>,
    residual: &Residual,
    (main, a): (&Links, &'f Levels),
    (skip, b): (&Links, &'f Levels),
    level: usize,
) -> Vec<Pair<'f>> {
    let end = |links: &Links| links.points.last().copied().unwrap_or_default();
    let (main_levels, skip_levels) = (residual.main_align.levels as usize, residual.skip_align.levels as usize);
    let mut pairs = Vec::new();
    for m in level..a.len().saturating_sub(main_levels) {
        for s in level..b.len().saturating_sub(skip_levels) {
            if m.min(s) != level {
                continue;
            }
            let align = residual.main_align.us[m + main_levels] + residual.skip_align.us[s + skip_levels];
            let drop = match m.cmp(&s) {
                std::cmp::Ordering::Greater => tree.drop_us(end(main), level),
                std::cmp::Ordering::Less => tree.drop_us(end(skip), level),
                std::cmp::Ordering::Equal => 0.0,
            };
            pairs.push((&a[m + main_levels][..], &b[s + skip_levels][..], align + drop + residual.us[level]));
        }
    }
    pairs
}

fn admits(gates: &[Gate], to_go: impl Fn(&ToGo) -> f64, us: f64, error: f64) -> bool {
    gates.iter().all(|g| {
        let sum = if g.timed { us + g.rate * error } else { g.rate * error };
        sum + to_go(&g.to_go) <= g.limit * (1.0 + SLACK)
    })
}

fn keep(levels: &mut Levels, gates: &[Gate], to_go: impl Fn(&ToGo) -> &Vec<f64>) {
    if gates.is_empty() {
        return;
    }
    for (level, front) in levels.iter_mut().enumerate() {
        front.retain(|l| admits(gates, |g| to_go(g)[level], l.us, l.error));
    }
}
