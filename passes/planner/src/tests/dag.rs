//! Networks of any shape, against exhaustive enumeration and against the planner of series-parallel ones.

use proptest::prelude::*;

use super::*;

/// Every plan of `dag`, as (time, error), none pruned: all ways of all values, with all sets of bootstraps. Shares
/// nothing with the planner but the description of the network.
fn outcomes(dag: &Dag) -> Vec<(f64, f64)> {
    let decisions = |node: &DagNode| -> Vec<(Option<Way>, bool)> {
        let ways: Vec<Option<Way>> = match &node.work {
            NodeWork::Input => vec![None],
            NodeWork::Step(ways) | NodeWork::Activation(ways) => ways.iter().cloned().map(Some).collect(),
        };
        let refreshed: &[bool] = match node.point.site {
            Permission::Never => &[false],
            Permission::May(_) => &[false, true],
            Permission::Must(_) => &[true],
        };
        ways.iter().flat_map(|way| refreshed.iter().map(move |r| (way.clone(), *r))).collect()
    };
    let all: Vec<_> = dag.nodes.iter().map(decisions).collect();
    let count: usize = all.iter().map(Vec::len).product();
    let pick = |mut number: usize| -> Vec<&(Option<Way>, bool)> {
        let of_node = |options: &'_ Vec<(Option<Way>, bool)>| {
            let at = number % options.len();
            number /= options.len();
            at
        };
        let places: Vec<usize> = all.iter().map(of_node).collect();
        all.iter().zip(places).map(|(options, at)| &options[at]).collect()
    };
    (0..count).filter_map(|number| outcome(dag, &pick(number))).collect()
}

/// Time and error of one plan, unless levels run out: a value is asked for its level by those that read it.
fn outcome(dag: &Dag, decided: &[&(Option<Way>, bool)]) -> Option<(f64, f64)> {
    let levels = dag.nodes.len();
    let mut after = vec![0; levels];
    let (mut us, mut error) = (0.0, 0.0);
    for v in (0..levels).rev() {
        let mut wanted = if dag.results.contains(&v) { dag.output_level } else { 0 };
        for reader in v + 1..levels {
            let Some(way) = &decided[reader].0 else { continue };
            for (operand, above) in dag.nodes[reader].operands.iter().zip(&way.above) {
                if *operand == v {
                    wanted = wanted.max(after[reader] + above);
                }
            }
        }
        let node = &dag.nodes[v];
        after[v] = wanted;
        if decided[v].1 {
            let to = if dag.targets == Targets::Top { dag.max_level } else { wanted.max(1) };
            us += dag.bootstraps[0][to as usize] * f64::from(node.point.width);
            after[v] = dag.bootstrap_from + node.map_levels;
        }
        let start = after[v] + decided[v].0.as_ref().map_or(0, |way| *way.above.iter().max().unwrap());
        let most = if decided[v].0.is_none() { dag.input_level } else { dag.max_level };
        if start > most || wanted > dag.max_level {
            return None;
        }
        if let Some(way) = &decided[v].0 {
            us += way.us[start as usize];
            error += way.error;
        }
    }
    Some((us, error))
}

fn front_of(mut all: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let mut front: Vec<(f64, f64)> = Vec::new();
    for p in all {
        if front.last().is_none_or(|l| p.1 < l.1) {
            front.push(p);
        }
    }
    front
}

fn micros(l: u32) -> impl Strategy<Value = Micros> {
    prop::collection::vec(0u32..9, l as usize + 1).prop_map(|v| v.into_iter().map(f64::from).collect())
}

/// A value in a random network: its kind, operands as shares of the values before it, ways, and its site.
#[derive(Clone, Debug)]
struct Drawn {
    kind: u8,
    operands: Vec<u16>,
    ways: Vec<(Vec<u32>, Micros, u32)>,
    site: u8,
    width: u32,
    map_levels: u32,
}

fn drawn(l: u32) -> impl Strategy<Value = Drawn> {
    let way = (prop::collection::vec(0u32..3, 3), micros(l), 0u32..20);
    let bootstrap = (0u8..8, 1u32..3, 0u32..2);
    let parts = (0u8..8, prop::collection::vec(any::<u16>(), 1..4), prop::collection::vec(way, 2), bootstrap);
    parts.prop_map(|(kind, operands, ways, (site, width, map_levels))| Drawn {
        kind,
        operands,
        ways,
        site,
        width,
        map_levels,
    })
}

/// The network of drawn values; what nothing reads is a result.
fn dag_of(l: u32, drawn: &[Drawn], boot: Micros, levels: (u32, u32, u32), top: bool) -> Dag {
    let mut nodes: Vec<DagNode> = Vec::new();
    for (i, d) in drawn.iter().enumerate() {
        let input = i == 0 || d.kind == 0;
        let operands: Vec<usize> =
            if input { Vec::new() } else { d.operands.iter().map(|o| *o as usize % i).collect() };
        let way = |(k, (above, us, error)): (usize, &(Vec<u32>, Micros, u32))| {
            let error = if d.kind > 4 { f64::from(*error) } else { 0.0 };
            let way = Way { above: above[..operands.len()].to_vec(), ..Way::exact(format!("{k}"), 0, 0, us.clone()) };
            way.with_errors(error, 0.0)
        };
        let work = match d.kind {
            _ if input => NodeWork::Input,
            0..=4 => NodeWork::Step(d.ways.iter().take(1).enumerate().map(way).collect()),
            _ => NodeWork::Activation(d.ways.iter().enumerate().map(way).collect()),
        };
        let site = match d.site {
            0..=3 => Permission::Never,
            4..=6 => Permission::May(0),
            _ => Permission::Must(0),
        };
        let point = Point { width: d.width, site, key: i };
        nodes.push(DagNode { name: format!("v{i}"), key: i, point, map_levels: d.map_levels, operands, work });
    }
    let read = |i: usize| nodes.iter().any(|node| node.operands.contains(&i));
    let mut results: Vec<usize> = (0..nodes.len()).filter(|&i| !read(i)).collect();
    // A result may be read, too.
    results.push(nodes.len() / 2);
    let (input_level, output_level, bootstrap_from) = levels;
    Dag {
        name: "random".into(),
        max_level: l,
        input_level,
        output_level,
        bootstrap_from,
        targets: if top { Targets::Top } else { Targets::Any },
        bootstraps: vec![boot],
        nodes,
        results,
    }
}

fn dag() -> impl Strategy<Value = Dag> {
    let l = 4;
    let levels = (2u32..5, 0u32..2, 0u32..2);
    let parts = (prop::collection::vec(drawn(l), 2..11), micros(l), levels, any::<bool>());
    parts.prop_map(move |(drawn, boot, levels, top)| dag_of(l, &drawn, boot, levels, top))
}

const EXACT: Effort = Effort { epsilon: 0.0, exact_up_to: 0, states: usize::MAX };

/// What a plan comes to by its own decisions, by the enumeration's rules.
fn checked(dag: &Dag, plan: &Plan) -> Option<(f64, f64)> {
    let way = |v: usize| plan.steps.iter().find(|s| s.number == v).map(|s| &s.variant);
    let decided: Vec<(Option<Way>, bool)> = (0..dag.nodes.len())
        .map(|v| {
            let ways = match &dag.nodes[v].work {
                NodeWork::Input => &[][..],
                NodeWork::Step(ways) | NodeWork::Activation(ways) => ways,
            };
            let chosen = ways.iter().find(|w| Some(&w.id) == way(v)).cloned();
            (chosen, plan.bootstraps.iter().any(|b| b.point == v))
        })
        .collect();
    outcome(dag, &decided.iter().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fronts_of_any_shape_equal_enumeration(dag in dag()) {
        let expected = front_of(outcomes(&dag));
        let planner = match DagPlanner::new(&dag, EXACT) {
            Ok(planner) => planner,
            Err(PlanError::Starved { .. }) => {
                prop_assert!(expected.is_empty());
                return Ok(());
            }
            Err(e) => return Err(TestCaseError::fail(e.to_string())),
        };
        let front = planner.front(&Limits::default()).unwrap();
        prop_assert_eq!(front.bound, 1.0);
        let found: Vec<(f64, f64)> = front.plans.iter().map(|p| (p.latency_us, p.error)).collect();
        prop_assert_eq!(&found, &expected);
        for plan in &front.plans {
            prop_assert_eq!(checked(&dag, plan), Some((plan.latency_us, plan.error)));
        }
        for &(us, error) in &expected {
            let plan = planner.plan(&Limits { max_error: Some(error), ..Limits::default() }).unwrap();
            prop_assert_eq!((plan.latency_us, plan.bound), (us, 1.0));
            let plan = planner.plan(&Limits { max_latency_us: Some(us), ..Limits::default() }).unwrap();
            prop_assert_eq!(plan.error, error);
        }
    }

    #[test]
    fn bounds_hold_where_states_are_left_out(dag in dag(), states in 1usize..4) {
        let expected = front_of(outcomes(&dag));
        let Ok(planner) = DagPlanner::new(&dag, Effort { states, ..EXACT }) else { return Ok(()) };
        let Ok(front) = planner.front(&Limits::default()) else { return Ok(()) };
        for plan in &front.plans {
            prop_assert_eq!(checked(&dag, plan), Some((plan.latency_us, plan.error)));
        }
        for &(us, error) in expected.iter().filter(|_| front.bound.is_finite()) {
            let kept = front.plans.iter().find(|p| p.error <= error);
            prop_assert!(kept.is_some_and(|p| p.latency_us <= front.bound * us * (1.0 + 1e-9)));
        }
        for &(us, error) in &expected {
            if let Ok(plan) = planner.plan(&Limits { max_error: Some(error), ..Limits::default() }) {
                prop_assert!(plan.latency_us <= plan.bound * us * (1.0 + 1e-9) || plan.bound.is_infinite());
            }
            if let Ok(plan) = planner.plan(&Limits { max_latency_us: Some(us), ..Limits::default() }) {
                prop_assert!(plan.error <= plan.bound * error * (1.0 + 1e-9) || plan.bound.is_infinite());
            }
        }
    }

    #[test]
    fn explanations_name_the_best_alternative(dag in dag()) {
        let Ok(planner) = DagPlanner::new(&dag, EXACT) else { return Ok(()) };
        let plan = planner.plan(&Limits::default()).unwrap();
        let all = planner.explain(&plan);
        // The plan is the fastest with its own ways; every alternative of a bootstrap is enumerated.
        let mut fixed = dag.clone();
        for step in &plan.steps {
            if let NodeWork::Step(ways) | NodeWork::Activation(ways) = &mut fixed.nodes[step.number].work {
                ways.retain(|way| way.id == step.variant);
            }
        }
        let mut rows = all.decisions.iter().filter(|row| row.what.starts_with("bootstrap"));
        for b in &plan.bootstraps {
            let row = rows.next().unwrap();
            if matches!(dag.nodes[b.point].point.site, Permission::Must(_)) {
                prop_assert!(row.alternatives.is_empty());
                continue;
            }
            let mut without = fixed.clone();
            without.nodes[b.point].point.site = Permission::Never;
            let best = front_of(outcomes(&without)).first().map(|p| p.0 - plan.latency_us);
            prop_assert_eq!(row.alternatives[0].us, best);
        }
        let mut rows = all.decisions.iter().filter(|row| row.what.starts_with("activation"));
        for a in &plan.activations {
            let row = rows.next().unwrap();
            prop_assert_eq!(row.alternatives.len(), 1);
            let mut other = fixed.clone();
            other.nodes[a.number].work = dag.nodes[a.number].work.clone();
            if let NodeWork::Activation(ways) = &mut other.nodes[a.number].work {
                ways.retain(|way| way.id != a.candidate);
            }
            let best = front_of(outcomes(&other)).first().map(|p| p.0 - plan.latency_us);
            prop_assert_eq!(row.alternatives[0].us, best);
        }
    }
}

/// A series-parallel network of polynomials, without costs of drops and additions, as one of any shape. A point at the
/// start of a branch serves that branch alone, so it becomes a value of its own.
fn dag_of_tree(network: &Network) -> Dag {
    let mut dag = Dag {
        name: network.name.clone(),
        max_level: network.max_level,
        input_level: network.input_level,
        output_level: network.output_level,
        bootstrap_from: network.bootstrap_from,
        targets: network.targets,
        bootstraps: network.bootstraps.clone(),
        nodes: Vec::new(),
        results: Vec::new(),
    };
    let input = push(&mut dag, "input", Vec::new(), NodeWork::Input);
    dag.nodes[input].point = network.chain.points[0];
    let end = follow(&mut dag, &network.chain, input);
    dag.results.push(end);
    dag
}

fn push(dag: &mut Dag, name: &str, operands: Vec<usize>, work: NodeWork) -> usize {
    let key = dag.nodes.len();
    dag.nodes.push(DagNode { name: name.into(), key, point: Point::closed(1), map_levels: 0, operands, work });
    key
}

fn follow(dag: &mut Dag, chain: &Chain, mut value: usize) -> usize {
    let free = |dag: &Dag| flat(dag.max_level, 0.0);
    for (stage, point) in chain.stages.iter().zip(&chain.points[1..]) {
        value = match stage {
            Stage::Step(s) => {
                let way = |v: &Variant| Way::exact(&v.id, v.levels, 1, v.us.clone());
                push(dag, &s.name, vec![value], NodeWork::Step(s.variants.iter().map(way).collect()))
            }
            Stage::Activation(a) => {
                let way = |c: &Candidate| {
                    let Stage::Step(Step { variants, .. }) = &c.body.stages[0] else { panic!("a polynomial") };
                    let Variant { levels, us, .. } = &variants[0];
                    Way::exact(&c.id, *levels, 1, us.clone()).with_errors(c.error, c.max_error)
                };
                push(dag, &a.name, vec![value], NodeWork::Activation(a.candidates.iter().map(way).collect()))
            }
            Stage::Residual(r) => {
                let ends = [&r.main, &r.skip].map(|branch| {
                    let way = Way::exact("only", 0, 1, free(dag));
                    let start = push(dag, "branch", vec![value], NodeWork::Step(vec![way]));
                    dag.nodes[start].point = branch.points[0];
                    follow(dag, branch, start)
                });
                let above = vec![r.main_align.levels, r.skip_align.levels];
                let way = Way { above, ..Way::exact("only", 0, 2, free(dag)) };
                push(dag, &r.name, ends.to_vec(), NodeWork::Step(vec![way]))
            }
        };
        dag.nodes[value].point = *point;
    }
    value
}

/// A residual network with times that rise by level.
fn rising_resnet(skips: Skips, seed: &[u32]) -> Network {
    let number = |i: usize| f64::from(seed[i % seed.len()]);
    let l = 7;
    let costs = Costs {
        conv: &|i| rising(l, 3.0 + number(i), 1.0 + number(i + 1)),
        activation: &|i| {
            let way = |d: u32| {
                let (us, error) = (rising(l, number(i + 2), f64::from(d)), number(i + 3) / f64::from(d * d));
                Candidate::polynomial(format!("{d}"), d, us, error.floor(), 0.0)
            };
            (1..4).map(way).collect()
        },
        bootstrap: rising(l, 60.0 + number(5), 5.0),
        drop: flat(l, 0.0),
    };
    resnet(Body { l, conv: 1, stem: 1, skips, blocks: 3 }, &costs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn series_parallel_networks_have_the_same_fronts(seed in prop::collection::vec(0u32..40, 23), shape in 0usize..3) {
        let network = rising_resnet([Skips::Blocks, Skips::Shared, Skips::None][shape], &seed);
        let dag = dag_of_tree(&network);
        let (tree, any) = (Planner::new(&network, EXACT).unwrap(), DagPlanner::new(&dag, EXACT).unwrap());
        let figures = |f: Frontier| f.plans.iter().map(|p| (p.latency_us, p.error)).collect::<Vec<_>>();
        prop_assert_eq!(
            figures(tree.front(&Limits::default()).unwrap()),
            figures(any.front(&Limits::default()).unwrap())
        );
        let (best, same) = (tree.plan(&Limits::default()).unwrap(), any.plan(&Limits::default()).unwrap());
        prop_assert_eq!((best.latency_us, best.error), (same.latency_us, same.error));
        let (fixed, every) = (network.bootstrap_every_activation(), dag.bootstrap_every_activation());
        for (network, dag) in [(network, dag), (fixed, every)] {
            let (network, dag) = (network.single_chain(), dag.single_chain());
            match (Planner::new(&network, EXACT), DagPlanner::new(&dag, EXACT)) {
                (Ok(tree), Ok(any)) => prop_assert_eq!(
                    figures(tree.front(&Limits::default()).unwrap()),
                    figures(any.front(&Limits::default()).unwrap())
                ),
                (a, b) => prop_assert!(a.is_err() && b.is_err()),
            }
        }
    }
}

/// The times of [`timed`], without costs of drops, in networks drawn freely.
struct Drawing {
    dag: Dag,
    count: usize,
}

impl Drawing {
    fn new(l: u32, name: &str) -> Self {
        let dag = Dag {
            name: name.into(),
            max_level: l,
            input_level: l,
            output_level: 0,
            bootstrap_from: 0,
            targets: Targets::Any,
            bootstraps: vec![rising(l, 1.1e6, 9e4)],
            nodes: Vec::new(),
            results: Vec::new(),
        };
        Drawing { dag, count: 0 }
    }
    fn input(&mut self) -> usize {
        push(&mut self.dag, "input", Vec::new(), NodeWork::Input)
    }
    /// A convolution of the first operand, to which the others are added.
    fn conv(&mut self, of: &[usize]) -> usize {
        let i = self.dag.nodes.len() as f64;
        let us = rising(self.dag.max_level, 1.5e5 + 1e3 * i, 3e4 - 2e2 * i);
        let way = Way::exact("only", 1, of.len(), us);
        push(&mut self.dag, "conv", of.to_vec(), NodeWork::Step(vec![way]))
    }
    /// An activation of the convolution of the operands.
    fn layer(&mut self, of: &[usize]) -> usize {
        let before = self.conv(of);
        self.dag.nodes[before].point = Point::open(1, 0);
        let sensitivity = sensitivities(19)[self.count % 19];
        self.count += 1;
        let way = |c: Candidate| {
            let Stage::Step(Step { variants, .. }) = &c.body.stages[0] else { panic!("a polynomial") };
            Way::exact(&c.id, variants[0].levels, 1, variants[0].us.clone()).with_errors(c.error, c.max_error)
        };
        let ways = surrogate(self.dag.max_level, sensitivity).into_iter().map(way).collect();
        push(&mut self.dag, &format!("act{}", self.count), vec![before], NodeWork::Activation(ways))
    }
}

/// Nine blocks of two layers; the first tensor of each third is added at the end of each of its blocks.
fn shared_source(l: u32) -> Dag {
    let mut net = Drawing::new(l, "shared");
    let x = net.input();
    let mut x = net.layer(&[x]);
    for _ in 0..3 {
        let first = x;
        for _ in 0..3 {
            let y = net.layer(&[x]);
            x = net.layer(&[y, first]);
        }
    }
    let end = net.conv(&[x]);
    net.dag.results.push(end);
    net.dag
}

/// Blocks of layers that each read all before them.
fn dense(l: u32, blocks: usize, layers: usize) -> Dag {
    let mut net = Drawing::new(l, "dense");
    let x = net.input();
    let mut x = net.layer(&[x]);
    for _ in 0..blocks {
        let mut all = vec![x];
        for _ in 0..layers {
            all.push(net.layer(&all.clone()));
        }
        x = net.layer(&all);
    }
    let end = net.conv(&[x]);
    net.dag.results.push(end);
    net.dag
}

/// Cells that read the results of the two before them, each of a few pairs of branches.
fn cells(l: u32, count: usize, branches: usize) -> Dag {
    let mut net = Drawing::new(l, "cells");
    let x = net.input();
    let (mut before, mut last) = (net.layer(&[x]), net.layer(&[x]));
    for _ in 0..count {
        let parts: Vec<usize> = (0..branches).map(|i| net.layer(&[if i % 2 == 0 { before } else { last }])).collect();
        (before, last) = (last, net.layer(&parts));
    }
    let ends = [net.conv(&[before]), net.conv(&[last])];
    net.dag.results.extend(ends);
    net.dag
}

/// Blocks scaled by what a small network makes of them, to whose ends the first tensor of all is added, too.
fn excited(l: u32, blocks: usize) -> Dag {
    let mut net = Drawing::new(l, "se");
    let x = net.input();
    let first = net.layer(&[x]);
    let mut x = first;
    for _ in 0..blocks {
        let z = net.layer(&[x]);
        let s = net.layer(&[z]);
        let s = net.layer(&[s]);
        let p = net.conv(&[z, s]);
        x = net.layer(&[p, x, first]);
    }
    let end = net.conv(&[x]);
    net.dag.results.push(end);
    net.dag
}

#[test]
fn networks_of_full_size_are_planned_exactly() {
    for dag in [shared_source(16), dense(16, 3, 6), cells(16, 4, 2), excited(16, 6)] {
        let planner = DagPlanner::new(&dag, Effort::default()).unwrap();
        let best = planner.plan(&Limits::default()).unwrap();
        assert!(best.activations.iter().all(|a| a.candidate == "depth13"));
        let mut last = best.latency_us;
        for share in [30.0, 1000.0] {
            let limits = Limits { max_error: Some(best.error * share), ..Limits::default() };
            let plan = planner.plan(&limits).unwrap();
            assert!(plan.latency_us < last && plan.bound == 1.0 && !plan.bootstraps.is_empty(), "{}", dag.name);
            last = plan.latency_us;
        }
    }
    // Shortcuts around every block, where both planners know an answer.
    let truth = sensitivities(19);
    let costs = Costs {
        conv: &|i| rising(16, 1.5e5 + 1e3 * i as f64, 3e4 - 7e2 * i as f64),
        activation: &|i| surrogate(16, truth[i]),
        bootstrap: rising(16, 1.1e6, 9e4),
        drop: flat(16, 0.0),
    };
    let network = resnet(Body { l: 16, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 9 }, &costs);
    let dag = dag_of_tree(&network);
    let tree = Planner::new(&network, Effort::default()).unwrap();
    let any = DagPlanner::new(&dag, Effort::default()).unwrap();
    let error = tree.plan(&Limits::default()).unwrap().error;
    for share in [1.0 + 1e-9, 100.0] {
        let limits = Limits { max_error: Some(error * share), ..Limits::default() };
        let (a, b) = (tree.plan(&limits).unwrap(), any.plan(&limits).unwrap());
        assert!((a.latency_us - b.latency_us).abs() < 1e-9 * a.latency_us && b.bound == 1.0);
    }
}

#[test]
fn a_wide_front_states_its_bound() {
    let dag = cells(16, 2, 4);
    let effort = Effort { states: 256, ..Effort::default() };
    let planner = DagPlanner::new(&dag, effort).unwrap();
    let front = planner.front(&Limits::default()).unwrap();
    let whole = DagPlanner::new(&dag, Effort { states: usize::MAX, ..effort }).unwrap();
    let whole = whole.front(&Limits::default()).unwrap();
    assert!(whole.bound <= 1.01 && front.bound > 1.01 && front.bound.is_finite());
    for plan in &whole.plans {
        let kept = front.plans.iter().find(|p| p.error <= plan.error * (1.0 + 1e-9)).unwrap();
        assert!(kept.latency_us <= front.bound * plan.latency_us);
    }
    // What is left out is said where the plan is explained.
    let doubtful = Plan { bound: 1.5, ..front.plans[0].clone() };
    assert!(planner.explain(&doubtful).to_string().contains("at most 1.500 times what the best plan has"));
}

#[test]
fn the_walk_bootstraps_where_the_next_activation_needs_more() {
    let dag = shared_source(16).single_chain();
    let planner = DagPlanner::new(&dag, Effort::default()).unwrap();
    let walk = planner.greedy().unwrap();
    assert!(walk.bootstraps.iter().all(|b| b.to == 16));
    assert!(walk.activations.iter().all(|a| a.index == 0));
    let limits = Limits { max_error: Some(walk.error), ..Limits::default() };
    let joint = planner.plan(&limits).unwrap();
    assert!(joint.latency_us < walk.latency_us);
    let every = dag.bootstrap_every_activation();
    let every = DagPlanner::new(&every, Effort::default()).unwrap().plan(&limits).unwrap();
    assert_eq!(every.bootstraps.len(), 18);
    assert!(joint.latency_us <= every.latency_us);
}

#[test]
fn contradictions_and_starving_values_are_named() {
    let whole = shared_source(16);
    let message = |change: &dyn Fn(&mut Dag)| {
        let mut dag = whole.clone();
        change(&mut dag);
        DagPlanner::new(&dag, Effort::default()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let closed = |dag: &mut Dag| dag.nodes.iter_mut().for_each(|node| node.point.site = Permission::Never);
    assert_eq!(message(&closed), "levels run out at `act6`: it needs at least 2, at most 0 are left");
    assert!(message(&|dag| dag.nodes[3].operands = vec![7]).contains("a value that comes after it"));
    assert!(message(&|dag| dag.nodes[3].operands.push(1)).contains("levels of 2 operands"));
    assert!(message(&|dag| dag.results = vec![999]).contains("result 999 is no value"));
    assert!(message(&|dag| dag.results = vec![3]).contains("nothing reads it"));
    assert!(message(&|dag| dag.nodes[3].work = NodeWork::Input).contains("computed from nothing"));
    assert!(message(&|dag| dag.nodes[3].work = NodeWork::Step(Vec::new())).contains("no way of computing it"));
    assert!(message(&|dag| dag.nodes[3].point.site = Permission::May(1)).contains("there are 1 kinds"));
    assert!(message(&|dag| dag.bootstraps = vec![flat(3, 1.0)]).contains("levels 0 to 4, but L = 16"));
    assert!(message(&|dag| dag.output_level = 17).contains("above L = 16"));
}
