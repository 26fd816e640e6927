//! Against exhaustive enumeration, which shares nothing with the planner but the description of the network.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// (level, bits of the time, bits of the error): every outcome, none pruned. Times and errors are whole numbers, so sums are exact.
type Outcomes = BTreeSet<(u32, u64, u64)>;

fn outcome(level: u32, us: f64, error: f64) -> (u32, u64, u64) {
    (level, us.to_bits(), error.to_bits())
}

fn at_point(network: &Network, point: Point, from: &Outcomes) -> Outcomes {
    let mut out = Outcomes::new();
    for &(level, us, error) in from {
        let (us, error) = (f64::from_bits(us), f64::from_bits(error));
        let mut arrivals = vec![(level, us)];
        if let Permission::May(kind) = point.site
            && level >= network.bootstrap_from
        {
            let boot = |to: u32| (to, us + network.bootstraps[kind][to as usize] * f64::from(point.width));
            arrivals.extend((1..=network.max_level).map(boot));
        }
        for (level, us) in arrivals {
            out.insert(outcome(level, us, error));
            for to in 0..level {
                out.insert(outcome(to, us + network.drop[to as usize] * f64::from(point.width), error));
            }
        }
    }
    out
}

fn along(network: &Network, chain: &Chain, start: Outcomes, inner: bool) -> Outcomes {
    let mut now = start;
    for (i, &point) in chain.points.iter().enumerate() {
        if !inner || (i > 0 && i < chain.stages.len()) {
            now = at_point(network, point, &now);
        }
        let Some(stage) = chain.stages.get(i) else { break };
        let mut next = Outcomes::new();
        for &(level, us, error) in &now {
            let (us, error) = (f64::from_bits(us), f64::from_bits(error));
            let one = || Outcomes::from([outcome(level, 0.0, 0.0)]);
            match stage {
                Stage::Step(s) => {
                    for v in &s.variants {
                        for run in if s.plain { 0..=level } else { level..=level } {
                            if run >= v.levels {
                                next.insert(outcome(run - v.levels, us + v.us[run as usize], error));
                            }
                        }
                    }
                }
                Stage::Activation(a) => {
                    for c in &a.candidates {
                        for (l, t, e) in along(network, &c.body, one(), true) {
                            next.insert(outcome(l, us + f64::from_bits(t), error + c.error + f64::from_bits(e)));
                        }
                    }
                }
                Stage::Residual(r) => {
                    let width = |c: &Chain| f64::from(c.points[c.points.len() - 1].width);
                    let skips = along(network, &r.skip, one(), false);
                    for (m, t, e) in along(network, &r.main, one(), false) {
                        for &(s, t2, e2) in &skips {
                            if m < r.main_align.levels || s < r.skip_align.levels {
                                continue;
                            }
                            let (lm, ls) = (m - r.main_align.levels, s - r.skip_align.levels);
                            let l = lm.min(ls);
                            let dropped = match (lm > l, ls > l) {
                                (true, _) => network.drop[l as usize] * width(&r.main),
                                (_, true) => network.drop[l as usize] * width(&r.skip),
                                _ => 0.0,
                            };
                            let align = r.main_align.us[m as usize] + r.skip_align.us[s as usize];
                            let own = f64::from_bits(t) + f64::from_bits(t2) + dropped + align + r.us[l as usize];
                            next.insert(outcome(l, us + own, error + f64::from_bits(e) + f64::from_bits(e2)));
                        }
                    }
                }
            }
        }
        now = next;
    }
    now
}

/// The Pareto front of all outcomes.
fn brute(network: &Network) -> Vec<(f64, f64)> {
    let start = (0..=network.input_level).map(|l| outcome(l, 0.0, 0.0)).collect();
    let mut all: Vec<(f64, f64)> = along(network, &network.chain, start, false)
        .into_iter()
        .filter(|o| o.0 >= network.output_level)
        .map(|(_, t, e)| (f64::from_bits(t), f64::from_bits(e)))
        .collect();
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

fn point() -> impl Strategy<Value = Point> {
    (1u32..3, any::<bool>()).prop_map(|(w, open)| if open { Point::open(w, 0) } else { Point::closed(w) })
}

fn linear(l: u32) -> impl Strategy<Value = Stage> {
    let variant = (0u32..3, micros(l)).prop_map(|(levels, us)| Variant { id: format!("{levels}"), levels, us });
    (prop::collection::vec(variant, 1..3), any::<bool>())
        .prop_map(|(variants, plain)| Stage::Step(Step { name: "linear".into(), variants, plain }))
}

fn activation(l: u32) -> impl Strategy<Value = Stage> {
    let polynomial = (1u32..3, micros(l), 0u32..20)
        .prop_map(|(d, us, e)| Candidate::polynomial(format!("p{d}"), d, us, f64::from(e), 0.0));
    let composite = (micros(l), micros(l), 0u32..5, point())
        .prop_map(|(a, b, e, inner)| Candidate::composite("c", &[(1, a.clone()), (1, a)], b, inner, f64::from(e), 0.0));
    (polynomial, composite)
        .prop_map(|(p, c)| Stage::Activation(Activation { name: "act".into(), key: 0, candidates: vec![p, c] }))
}

fn residual(l: u32) -> impl Strategy<Value = Stage> {
    let polynomial = (1u32..3, micros(l), 0u32..20)
        .prop_map(|(d, us, e)| Candidate::polynomial(format!("q{d}"), d, us, f64::from(e), 0.0));
    let aligned = (0u32..2, micros(l)).prop_map(|(levels, us)| Align { levels, us });
    let parts = (linear(l), polynomial, aligned, micros(l));
    (parts, prop::collection::vec(point(), 4)).prop_map(move |((linear, candidate, skip_align, us), p)| {
        let inner = Stage::Activation(Activation { name: "inner".into(), key: 0, candidates: vec![candidate] });
        Stage::Residual(Residual {
            name: "block".into(),
            main: Chain::new(p[0]).then(linear, p[1]).then(inner, p[2]),
            skip: Chain::new(p[3]),
            main_align: align(l, 0),
            skip_align,
            us,
        })
    })
}

fn network() -> impl Strategy<Value = Network> {
    let l = 3;
    let stages = (linear(l), activation(l), residual(l), linear(l));
    let rest = (micros(l), micros(l), prop::collection::vec(point(), 5), 0u32..2, 0u32..2);
    (stages, rest).prop_map(move |((a, b, c, d), (boot, drop, p, output_level, bootstrap_from))| Network {
        name: "random".into(),
        max_level: l,
        input_level: l - 1,
        output_level,
        bootstrap_from,
        targets: Targets::Any,
        bootstraps: vec![boot],
        drop,
        chain: Chain::new(p[0]).then(a, p[1]).then(b, p[2]).then(c, p[3]).then(d, p[4]),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fronts_equal_enumeration(network in network()) {
        let expected = brute(&network);
        let planner = match Planner::new(&network, Effort { epsilon: 0.0, exact_up_to: 0, ..Effort::default() }) {
            Ok(planner) => planner,
            Err(PlanError::Starved { .. }) => {
                prop_assert!(expected.is_empty());
                return Ok(());
            }
            Err(e) => return Err(TestCaseError::fail(e.to_string())),
        };
        let front = planner.front(&Limits::default()).unwrap();
        let found: Vec<(f64, f64)> = front.plans.iter().map(|p| (p.latency_us, p.error)).collect();
        prop_assert_eq!(&found, &expected);
        for &(us, error) in &expected {
            let limits = Limits { max_error: Some(error), ..Limits::default() };
            prop_assert_eq!(planner.plan(&limits).unwrap().latency_us, us);
            let limits = Limits { max_latency_us: Some(us), ..Limits::default() };
            prop_assert_eq!(planner.plan(&limits).unwrap().error, error);
        }
    }

    #[test]
    fn the_knapsack_equals_enumeration(
        layers in prop::collection::vec(prop::collection::vec((0u32..30, 0u32..50), 1..6), 1..6),
        budget in 0u32..100,
    ) {
        let item = |&(us, error): &(u32, u32)| KnapsackItem { us: f64::from(us), error: f64::from(error) };
        let layers: Vec<Vec<KnapsackItem>> = layers.iter().map(|l| l.iter().map(item).collect()).collect();
        let best = |budget: f64| {
            let mut sums = vec![(0.0, 0.0)];
            for items in &layers {
                sums = sums.iter().flat_map(|s| items.iter().map(|i| (s.0 + i.us, s.1 + i.error))).collect();
            }
            sums.into_iter().filter(|s| s.0 <= budget).map(|s| s.1).reduce(f64::min)
        };
        let sum = |picks: &[usize], f: fn(&KnapsackItem) -> f64| layers.iter().zip(picks).map(|(l, &p)| f(&l[p])).sum::<f64>();
        let budget = f64::from(budget);
        let picks = knapsack(&layers, budget, 1.0);
        prop_assert_eq!(picks.as_deref().map(|p| sum(p, |i| i.error)), best(budget));
        if let Some(picks) = &picks {
            prop_assert!(sum(picks, |i| i.us) <= budget);
            let more = knapsack(&layers, budget + 7.0, 1.0).unwrap();
            prop_assert!(sum(&more, |i| i.error) <= sum(picks, |i| i.error));
        }
        // Coarse units round up: what is returned still fits.
        if let Some(coarse) = knapsack(&layers, budget, 8.0) {
            prop_assert!(sum(&coarse, |i| i.us) <= budget);
        }
    }
}
