//! Limits, sweeps, controls, messages.

use super::*;

fn within_error(e: f64) -> Limits {
    Limits { max_error: Some(e), ..Limits::default() }
}

fn within_time(us: f64) -> Limits {
    Limits { max_latency_us: Some(us), ..Limits::default() }
}

#[test]
fn a_resnet20_of_full_size() {
    let network = timed(16, &sensitivities(19));
    let planner = Planner::new(&network, Effort::default()).unwrap();
    let front = planner.front(&Limits::default()).unwrap();
    assert!(front.plans.len() > 100);
    assert!(front.plans.windows(2).all(|p| p[0].latency_us < p[1].latency_us && p[0].error > p[1].error));
    // Without limits: the deepest candidate everywhere.
    let best = planner.plan(&Limits::default()).unwrap();
    assert!(best.activations.iter().all(|a| a.candidate == "depth13"));
    // A sweep of limits, answered exactly, is monotone and no more than the bound below the front.
    let (low, high) = (front.plans[0].latency_us, best.latency_us);
    let mut last = f64::INFINITY;
    for k in 1..4 {
        let time = low + (high - low) * f64::from(k) / 4.0;
        let plan = planner.plan(&within_time(time)).unwrap();
        assert!(plan.latency_us <= time && plan.error < last);
        last = plan.error;
        let near = front.plans.iter().filter(|p| p.latency_us <= time).map(|p| p.error).fold(f64::INFINITY, f64::min);
        assert!(plan.error <= near * (1.0 + 1e-9));
        let back = planner.plan(&within_error(plan.error * (1.0 + 1e-9))).unwrap();
        assert!(back.latency_us <= plan.latency_us * (1.0 + 1e-9));
        let kept = front.plans.iter().find(|p| p.error <= plan.error * (1.0 + 1e-9)).unwrap();
        assert!(kept.latency_us <= front.bound * back.latency_us * (1.0 + 1e-9));
    }
}

#[test]
fn thinned_fronts_keep_their_bound_and_limits_are_still_exact() {
    let body = Body { l: 10, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 3 };
    let truth = sensitivities(7);
    let costs = Costs {
        conv: &|i| rising(10, 1e5 + 777.0 * i as f64, 2e4),
        activation: &|i| surrogate(10, truth[i]).into_iter().take(8).collect(),
        bootstrap: rising(10, 1e6, 1e5),
        drop: rising(10, 1e3, 1e2),
    };
    let network = resnet(body, &costs);
    let whole = Planner::new(&network, Effort { epsilon: 0.0, exact_up_to: 0, ..Effort::default() }).unwrap();
    let whole = whole.front(&Limits::default()).unwrap();
    let planner = Planner::new(&network, Effort { epsilon: 0.2, exact_up_to: 8, ..Effort::default() }).unwrap();
    let thinned = planner.front(&Limits::default()).unwrap();
    assert_eq!((whole.bound, thinned.bound), (1.0, 1.2));
    assert!(thinned.plans.len() < whole.plans.len());
    for plan in &whole.plans {
        let error = plan.error * (1.0 + 1e-9);
        let kept = thinned.plans.iter().find(|p| p.error <= error).unwrap();
        assert!(kept.latency_us <= thinned.bound * plan.latency_us);
    }
    for plan in whole.plans.iter().step_by(7) {
        let found = planner.plan(&within_error(plan.error * (1.0 + 1e-9))).unwrap();
        assert!((found.latency_us - plan.latency_us).abs() < 1e-6 * plan.latency_us);
        let found = planner.plan(&within_time(plan.latency_us * (1.0 + 1e-12))).unwrap();
        assert!((found.error - plan.error).abs() < 1e-6 * plan.error);
    }
}

#[test]
fn true_sensitivities_beat_permuted_ones() {
    let truth = sensitivities(13);
    let mut permuted = truth.clone();
    permuted.reverse();
    let body = Body { l: 12, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 6 };
    let network = |a: &[f64]| {
        let costs = Costs {
            conv: &|_| rising(12, 1e5, 2e4),
            activation: &|i| surrogate(12, a[i]).into_iter().step_by(2).collect(),
            bootstrap: rising(12, 1e6, 1e5),
            drop: flat(12, 0.0),
        };
        resnet(body, &costs)
    };
    let (right, wrong) = (network(&truth), network(&permuted));
    let right = Planner::new(&right, Effort::default()).unwrap();
    let wrong = Planner::new(&wrong, Effort::default()).unwrap();
    let times = right.front(&Limits::default()).unwrap();
    let time = times.plans[times.plans.len() / 2].latency_us;
    let best = right.plan(&within_time(time)).unwrap();
    let picks: Vec<usize> = wrong.plan(&within_time(time)).unwrap().activations.iter().map(|a| a.index).collect();
    let control = right.with_candidates(&picks).unwrap();
    assert!(control.latency_us <= time * (1.0 + 1e-9));
    assert!(control.error > 1.5 * best.error, "{} against {}", control.error, best.error);
}

#[test]
fn the_joint_plan_beats_every_baseline() {
    let network = timed(15, &sensitivities(19));
    let planner = Planner::new(&network, Effort::default()).unwrap();
    let single = network.bootstrap_every_activation().single_chain();
    let uniform = baseline::uniform(&single, "depth13").unwrap();
    assert_eq!(uniform.bootstraps.len(), 18);
    assert!(uniform.bootstraps.iter().all(|b| b.to == 15));
    let ola = baseline::ola(&network, 0.5 * uniform.latency_us, 1e3).unwrap();
    assert_eq!(ola.bootstraps.len(), 18);
    assert!(ola.latency_us <= 0.5 * uniform.latency_us);
    let joint = planner.plan(&within_error(ola.error)).unwrap();
    assert!(joint.latency_us < 0.95 * ola.latency_us, "{} against {}", joint.latency_us, ola.latency_us);
    let picks: Vec<usize> = joint.activations.iter().map(|a| a.index).collect();
    let greedy = baseline::greedy(&network, &picks).unwrap();
    assert!(joint.latency_us < greedy.latency_us);
    let picks: Vec<usize> = uniform.activations.iter().map(|a| a.index).collect();
    assert!(planner.with_candidates(&picks).unwrap().latency_us < uniform.latency_us);
}

#[test]
fn bootstraps_restore_only_what_is_used() {
    let network = timed(16, &sensitivities(19));
    let plan = Planner::new(&network, Effort::default()).unwrap().plan(&within_error(1.0)).unwrap();
    assert_eq!(plan.output_level, 0);
    assert!(plan.bootstraps.iter().any(|b| b.to < 16));
    let total: f64 = plan.bootstraps.iter().map(|b| b.us).sum();
    assert!(total < plan.latency_us);
}

#[test]
fn starvation_names_the_stage() {
    let mut network = counting(Body { l: 8, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 2 }, &[2, 2, 9, 2, 2]);
    let error = Planner::new(&network, Effort::default()).err().unwrap();
    assert_eq!(error, PlanError::Starved { stage: "act2".into(), needs: 9, level: 8 });
    // One level more is enough, unless there are no bootstraps.
    network = counting(Body { l: 9, conv: 1, stem: 1, skips: Skips::None, blocks: 2 }, &[2, 2, 9, 2, 2]);
    assert!(exact(&network).is_ok());
    network.chain.points.iter_mut().for_each(|p| p.site = Permission::Never);
    let error = Planner::new(&network, Effort::default()).err().unwrap();
    assert_eq!(error.to_string(), "levels run out at `act2`: it needs at least 9, at most 2 are left");
}

#[test]
fn limits_that_cannot_be_kept_name_the_nearest_figure() {
    let network = timed(16, &sensitivities(19));
    let planner = Planner::new(&network, Effort::default()).unwrap();
    let fastest = planner.front(&within_error(1e9)).unwrap().plans[0].latency_us;
    let error = planner.plan(&within_time(0.5 * fastest)).err().unwrap();
    assert!(error.to_string().contains(&format!("the fastest plan takes {fastest:.0} µs")), "{error}");
    assert!(matches!(planner.plan(&within_error(1e-30)), Err(PlanError::Limits { .. })));
    let both = Limits { max_latency_us: Some(fastest * 1.01), max_error: Some(1e-3), max_candidate_error: None };
    assert!(matches!(planner.plan(&both), Err(PlanError::Limits { .. })));
    // The largest error of a candidate is a limit of its own: 2^-4 admits depths from 4 on.
    let close = Limits { max_candidate_error: Some(0.07), ..within_error(1e9) };
    let plan = planner.plan(&close).unwrap();
    assert!(plan.activations.iter().all(|a| a.index >= 2));
    assert_eq!(plan.max_error, 0.0625);
}

#[test]
fn descriptions_that_contradict_themselves_are_refused() {
    let good = counting(Body { l: 4, conv: 1, stem: 1, skips: Skips::None, blocks: 1 }, &[1, 1, 1]);
    let refused = |change: &dyn Fn(&mut Network)| {
        let mut network = good.clone();
        change(&mut network);
        matches!(Planner::new(&network, Effort::default()).err(), Some(PlanError::Network { .. }))
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|n| n.max_level = 5));
    assert!(refused(&|n| n.max_level = u32::MAX));
    assert!(refused(&|n| n.input_level = 5));
    assert!(refused(&|n| n.bootstraps.clear()));
    assert!(refused(&|n| n.drop = flat(4, f64::NAN)));
    assert!(refused(&|n| n.chain.points[1].width = 0));
    assert!(refused(&|n| n.chain.points.truncate(1)));
    assert!(refused(&|n| {
        let Stage::Activation(a) = &mut n.chain.stages[1] else { return };
        a.candidates.clear();
    }));
    let mut chain = Chain::new(Point::closed(1));
    for _ in 0..100 {
        let skip = Chain::new(Point::closed(1));
        let (main_align, skip_align, us) = (align(4, 0), align(4, 0), flat(4, 0.0));
        let residual = Residual { name: "r".into(), main: chain, skip, main_align, skip_align, us };
        chain = Chain::new(Point::closed(1)).then(Stage::Residual(residual), Point::closed(1));
    }
    assert!(refused(&|n| n.chain = chain.clone()));
}

#[test]
fn composite_members_may_be_bootstrapped_between() {
    // Depth 4 + 4 + 5 + 1 with 10 levels: only a bootstrap inside makes it possible.
    let l = 10;
    let members = [(4, flat(l, 1.0)), (4, flat(l, 1.0)), (5, flat(l, 1.0))];
    let build = |inner: Point| {
        let relu = Candidate::composite("15,15,27", &members, flat(l, 1.0), inner, 0.0, 0.0);
        let act = Stage::Activation(Activation { name: "relu".into(), key: 0, candidates: vec![relu] });
        let mut network = counting(Body { l, conv: 1, stem: 1, skips: Skips::None, blocks: 0 }, &[1]);
        network.chain.stages[1] = act;
        network
    };
    let plan = exact(&build(Point::open(1, 0))).unwrap();
    assert!(plan.bootstraps.iter().any(|b| matches!(&b.place, Place::Before(s) if s.starts_with("15,15,27 member"))));
    assert_eq!(plan.joins.len(), 1);
    let error = exact(&build(Point::closed(1))).err().unwrap();
    assert!(matches!(error, PlanError::Starved { stage, needs: 13, level: 10 } if stage == "relu"));
}

#[test]
fn decisions_are_explained() {
    let network = counting(Body { l: 10, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 1 }, &[5, 4, 2]);
    let planner = Planner::new(&network, Effort::default()).unwrap();
    let plan = planner.plan(&Limits::default()).unwrap();
    insta::assert_snapshot!(planner.explain(&plan).to_string());
    let network = timed(12, &sensitivities(19));
    let planner = Planner::new(&network, Effort::default()).unwrap();
    let plan = planner.plan(&within_error(5.0)).unwrap();
    let explanation = planner.explain(&plan);
    // Nothing that keeps the error is faster: the plan is the best with its candidates.
    let all = explanation.decisions.iter().flat_map(|d| &d.alternatives);
    assert!(all.filter(|a| a.error <= 0.0).all(|a| a.us.is_none_or(|us| us >= -1e-3)));
    let joins = explanation.decisions.iter().filter(|d| d.what.starts_with("join")).count();
    assert_eq!((plan.activations.len(), joins), (19, 9));
}
