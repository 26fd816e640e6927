//! The two questions, the best plan within limits and the front, answered alike for every kind of network.

use super::error::PlanError;
use super::front::{Front as Labels, PartialPlan};
use super::plan::Plan;
use super::planner::{Effort, Frontier, Limits};

/// Room for the rounding of sums.
pub(super) const ROUNDING: f64 = 1e-12;

/// Limits of one search.
pub(super) struct Bounds<'a> {
    /// Microseconds and error at most.
    pub corner: (f64, f64),
    /// Rates of exchange at which labels are also compared with the corner.
    pub rates: &'a [f64],
    /// How sets are thinned, if they are.
    pub thinning: Option<Thinning>,
}

/// Sets of labels beyond some size are thinned: of those within a cell of time one stands for all.
#[derive(Clone, Copy)]
pub(super) struct Thinning {
    /// Cells on the way to one plan add up to this share of the least time, as far as the search can.
    pub epsilon: f64,
    /// The least time, microseconds.
    pub fastest: f64,
    /// Sets up to this size are kept whole.
    pub exact_up_to: usize,
}

/// A search over the plans of one network under one set of rules.
pub(super) trait Search {
    /// The fastest plan; ties by error.
    fn fastest(&self) -> Option<Plan>;
    /// The plan of least error; ties by time.
    fn most_accurate(&self) -> Option<Plan>;
    /// What to say where there is no plan at all.
    fn unreachable(&self) -> PlanError;
    /// The labels within the bounds: for every plan there is one of no more error and at most so many times its time as
    /// the second value says.
    fn labels(&mut self, bounds: &Bounds<'_>) -> (Labels, f64);
    /// The plan of a label that was found last.
    fn replay(&self, label: PartialPlan) -> Plan;
    /// The best plan within the limits.
    fn best(&mut self, effort: Effort, limits: &Limits) -> Result<Plan, PlanError>;
    /// Plans that the search leaves out: of every kind of them the least time and the least error that one could have.
    fn left_out(&self) -> &[(f64, f64)];
}

/// Best plans found so far, and how far from the optimum thinning may have left them.
struct Answer {
    labels: Labels,
    bound: f64,
    /// The fastest plan there is.
    fastest: Plan,
}

/// As [`Planner::plan`](super::Planner::plan).
pub(super) fn plan(search: &mut impl Search, effort: Effort, limits: &Limits) -> Result<Plan, PlanError> {
    let by_time = limits.max_error.is_some();
    // With both limits the least time within the error decides.
    let one = if by_time { Limits { max_latency_us: None, ..*limits } } else { *limits };
    let Answer { mut labels, bound, fastest: first } = answer(search, effort, limits, &one)?;
    let pick = |labels: &Labels| if by_time { labels.first().copied() } else { labels.last().copied() };
    if bound > 1.0 {
        // What is known bounds what is worth looking at; rates of exchange near the answer cut most of the rest.
        let known = pick(&labels).map_or((first.latency_us, first.error), |l| (l.us, l.error));
        let corner = if by_time {
            (known.0, limits.max_error.unwrap_or(known.1))
        } else {
            (limits.max_latency_us.unwrap_or(known.0), known.1)
        };
        let rates = rates(&labels, corner.1);
        labels = search.labels(&Bounds { corner, rates: &rates, thinning: None }).0;
    }
    let plan = pick(&labels).map_or(first, |l| search.replay(l));
    judged(search, plan, limits)
}

/// The best plan found within the limits, with what is known of its distance from the best there is.
pub(super) fn judged(search: &impl Search, mut plan: Plan, limits: &Limits) -> Result<Plan, PlanError> {
    let by_time = limits.max_error.is_some();
    let one = if by_time { Limits { max_latency_us: None, ..*limits } } else { *limits };
    plan.bound = distance(&plan, search.left_out(), &one, by_time);
    match (limits.max_latency_us, limits.max_error) {
        (Some(t), Some(e)) if plan.latency_us > t * (1.0 + ROUNDING) => {
            let asked = format!("latency {t:.0} µs and error {e:.3e}");
            Err(PlanError::Limits { asked, nearest: format!("that error takes {:.0} µs", plan.latency_us) })
        }
        _ => Ok(plan),
    }
}

/// As [`Planner::front`](super::Planner::front).
pub(super) fn front(search: &mut impl Search, effort: Effort, limits: &Limits) -> Result<Frontier, PlanError> {
    let Answer { labels, bound, fastest } = answer(search, effort, limits, limits)?;
    let mut plans: Vec<Plan> = labels.iter().map(|&l| search.replay(l)).collect();
    if plans.is_empty() {
        if limits.max_error.is_some_and(|e| fastest.error > e) {
            plans.push(search.best(effort, limits)?);
        } else {
            plans.push(fastest);
        }
    }
    // What is beyond the limits is missed by nobody.
    let (time, error) = (limits.max_latency_us.unwrap_or(f64::INFINITY), limits.max_error.unwrap_or(f64::INFINITY));
    let missed = search.left_out().iter().filter(|(us, e)| *us <= time && *e <= error);
    let reached = |&(us, error): &(f64, f64)| {
        let kept = plans.iter().find(|p| p.error <= error * (1.0 + ROUNDING));
        kept.map_or(f64::INFINITY, |p| p.latency_us / us)
    };
    let bound = missed.map(reached).fold(bound, f64::max);
    plans.iter_mut().for_each(|plan| plan.bound = bound);
    Ok(Frontier { plans, bound })
}

/// The front within the limits of `within`, thinned where sets grow beyond the effort. `limits` are checked one by one.
fn answer(search: &mut impl Search, effort: Effort, limits: &Limits, within: &Limits) -> Result<Answer, PlanError> {
    let (fastest, best) = ends(search, limits)?;
    // Plans slower than the most accurate one are of no use.
    let time = within.max_latency_us.unwrap_or(f64::INFINITY).min(best.latency_us);
    let Effort { epsilon, exact_up_to, .. } = effort;
    let thinning = Thinning { epsilon, fastest: fastest.latency_us, exact_up_to };
    let corner = (time, within.max_error.unwrap_or(f64::INFINITY));
    let (labels, bound) = search.labels(&Bounds { corner, rates: &[], thinning: Some(thinning) });
    Ok(Answer { labels, bound, fastest })
}

/// The fastest and the most accurate plan, each within its limit.
pub(super) fn ends(search: &impl Search, limits: &Limits) -> Result<(Plan, Plan), PlanError> {
    let fastest = search.fastest().ok_or_else(|| search.unreachable())?;
    let best = search.most_accurate().ok_or_else(|| search.unreachable())?;
    let found = if search.left_out().is_empty() { "" } else { " found" };
    if let Some(t) = limits.max_latency_us.filter(|t| fastest.latency_us > t * (1.0 + ROUNDING)) {
        let nearest = format!("the fastest plan{found} takes {:.0} µs", fastest.latency_us);
        return Err(PlanError::Limits { asked: format!("latency {t:.0} µs"), nearest });
    }
    if let Some(e) = limits.max_error.filter(|e| best.error > e * (1.0 + ROUNDING)) {
        let nearest = format!("the most accurate plan{found} has error {:.3e}", best.error);
        return Err(PlanError::Limits { asked: format!("error {e:.3e}"), nearest });
    }
    Ok((fastest, best))
}

/// How many times what is asked for (time, or else error and then time) a plan has of what one that was left out could
/// have.
fn distance(plan: &Plan, left_out: &[(f64, f64)], limits: &Limits, by_time: bool) -> f64 {
    let (time, error) = (limits.max_latency_us.unwrap_or(f64::INFINITY), limits.max_error.unwrap_or(f64::INFINITY));
    let admitted = left_out.iter().filter(|(us, e)| *us <= time && *e <= error * (1.0 + ROUNDING));
    let factor = |&(us, e): &(f64, f64)| {
        if by_time || (e <= plan.error * (1.0 + ROUNDING) && e >= plan.error * (1.0 - ROUNDING)) {
            plan.latency_us / us
        } else {
            plan.error / e
        }
    };
    admitted.map(factor).fold(1.0, f64::max)
}

/// Rates of exchange, microseconds per unit of error, around `error`: slopes of the front's convex hull.
fn rates(labels: &Labels, error: f64) -> Vec<f64> {
    let slope = |a: &PartialPlan, b: &PartialPlan| (b.us - a.us) / (a.error - b.error);
    let mut hull: Vec<PartialPlan> = Vec::new();
    for l in labels {
        while let [.., a, b] = hull[..]
            && slope(&a, &b) >= slope(&b, l)
        {
            hull.pop();
        }
        hull.push(*l);
    }
    let slopes: Vec<f64> = hull.windows(2).map(|w| slope(&w[0], &w[1])).collect();
    let at = hull.iter().position(|l| l.error <= error).unwrap_or(hull.len());
    let near = at.saturating_sub(3)..slopes.len().min(at + 2);
    slopes.get(near).unwrap_or_default().iter().copied().filter(|r| r.is_finite() && *r > 0.0).collect()
}
