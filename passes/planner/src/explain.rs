//! Why a plan decides as it does: every decision beside what its alternatives would cost.

use std::fmt;

use serde::Serialize;

use super::network::Permission;
use super::plan::Plan;
use super::planner::Planner;
use super::solve::{Rules, SearchMode, Solver};
use super::tree::StageKind;

/// The decisions of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacementExplanation {
    /// Activations, steps with variants, bootstraps, joins.
    pub decisions: Vec<DecisionRow>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionRow {
    /// What is decided.
    pub what: String,
    /// What is chosen.
    pub chosen: String,
    /// What else there was.
    pub alternatives: Vec<Alternative>,
}

/// Something else that could have been chosen. All other candidates are kept; levels, variants and bootstraps are planned anew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The alternative.
    pub what: String,
    /// Time of the best plan with it minus that of the plan, microseconds; `None` when levels run out.
    pub us: Option<f64>,
    /// Error with it minus that of the plan.
    pub error: f64,
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.us {
            None => write!(f, "{}: levels run out", self.what),
            Some(us) if self.error == 0.0 => write!(f, "{}: {us:+.0} µs", self.what),
            Some(us) => write!(f, "{}: {us:+.0} µs, error {:+.2e}", self.what, self.error),
        }
    }
}

impl fmt::Display for PlacementExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in &self.decisions {
            writeln!(f, "{}: {}", d.what, d.chosen)?;
            d.alternatives.iter().try_for_each(|a| writeln!(f, "  instead {a}"))?;
        }
        Ok(())
    }
}

impl Planner<'_> {
    /// Every decision of `plan` beside its alternatives. `plan` is one of this planner's.
    pub fn explain(&self, plan: &Plan) -> PlacementExplanation {
        let candidate = plan.activations.iter().map(|a| (a.number, a.index)).collect();
        let fixed = Rules { candidate, ..Rules::default() };
        let mut base = Solver::new(&self.tree, &fixed, SearchMode::Weighted { rate: 0.0 });
        base.solve(&[]);
        let other = |what: String, rules: Rules, changed: Option<usize>, error: f64| {
            let us = base.variation(&rules, changed).solve(&[]).first().map(|l| l.us - plan.latency_us);
            Alternative { what, us, error }
        };
        let mut decisions = Vec::new();
        for a in &plan.activations {
            let Some(StageKind::Activation { candidates, .. }) = self.tree.stages.get(a.number).map(|s| &s.kind) else {
                continue;
            };
            let instead = |(i, c): (usize, &super::tree::StageChoice<'_>)| {
                let mut rules = fixed.clone();
                rules.candidate.insert(a.number, i);
                other(format!("`{}`", c.id), rules, Some(a.number), c.error - a.error)
            };
            let alternatives = candidates.iter().enumerate().filter(|(i, _)| *i != a.index).map(instead).collect();
            let chosen = format!("`{}` from level {} to {}", a.candidate, a.level, a.after);
            decisions.push(DecisionRow { what: format!("activation `{}`", a.activation), chosen, alternatives });
        }
        for s in &plan.steps {
            let Some(StageKind::Step { variants, .. }) = self.tree.stages.get(s.number).map(|s| &s.kind) else {
                continue;
            };
            if variants.len() < 2 {
                continue;
            }
            let instead = |(i, v): (usize, &super::network::Variant)| {
                let mut rules = fixed.clone();
                rules.variant.insert(s.number, i);
                other(format!("`{}`", v.id), rules, Some(s.number), 0.0)
            };
            let others = variants.iter().enumerate().filter(|(_, v)| v.id != s.variant);
            let (what, chosen) = (format!("step `{}`", s.stage), format!("`{}` at level {}", s.variant, s.level));
            decisions.push(DecisionRow { what, chosen, alternatives: others.map(instead).collect() });
        }
        for b in &plan.bootstraps {
            let mut rules = fixed.clone();
            rules.banned.insert(b.point);
            let without = other("no bootstrap here".into(), rules, self.tree.owners[b.point], 0.0);
            let chosen = format!("from level {} to {}, {:.0} µs", b.from, b.to, b.us);
            decisions.push(DecisionRow { what: format!("bootstrap {}", b.place), chosen, alternatives: vec![without] });
        }
        for j in &plan.joins {
            let Some(node) = self.tree.stages.get(j.number) else { continue };
            let StageKind::Residual { main, skip, .. } = &node.kind else { continue };
            let ends = [main, skip].into_iter().filter_map(|links| links.points.last());
            let mut alternatives = Vec::new();
            for &point in [node.point].iter().chain(ends) {
                let (place, p) = &self.tree.points[point];
                let used = plan.bootstraps.iter().any(|b| b.point == point);
                if p.site == Permission::Never || used {
                    continue;
                }
                let mut rules = fixed.clone();
                rules.forced.insert(point);
                alternatives.push(other(format!("a bootstrap {place}"), rules, self.tree.owners[point], 0.0));
            }
            let (main, skip) = (j.main.arrives, j.skip.arrives);
            let chosen = format!("main at level {main}, skip at {skip}, sum at {}; {}", j.level, j.paid());
            decisions.push(DecisionRow { what: format!("join of `{}`", j.residual), chosen, alternatives });
        }
        PlacementExplanation { decisions }
    }
}
