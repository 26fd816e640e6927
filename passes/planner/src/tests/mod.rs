//! The planners are compared with enumeration, with published plans and with each other.

mod brute;
mod dag;
mod golden;
mod limits;

use super::baseline::{KnapsackItem, knapsack};
use super::*;

/// The same time at every level up to `l`.
fn flat(l: u32, us: f64) -> Micros {
    vec![us; l as usize + 1].into()
}

/// `base` at level 0 and `slope` more per level.
fn rising(l: u32, base: f64, slope: f64) -> Micros {
    (0..=l).map(|k| base + slope * f64::from(k)).collect()
}

fn step(name: &str, levels: u32, us: Micros) -> Stage {
    Stage::Step(Step::linear(name, levels, us))
}

fn align(l: u32, levels: u32) -> Align {
    Align { levels, us: flat(l, 0.0) }
}

/// What the nine blocks of a ResNet-20 (or more) look like.
#[derive(Clone, Copy, PartialEq)]
enum Skips {
    /// A shortcut around every block.
    Blocks,
    /// The first tensor of each third of the blocks is added at the end of each of its blocks.
    Shared,
    /// None.
    None,
}

/// Levels of a residual network.
#[derive(Clone, Copy)]
struct Body {
    l: u32,
    conv: u32,
    stem: u32,
    skips: Skips,
    blocks: usize,
}

/// Times and candidates of a residual network.
struct Costs<'a> {
    conv: &'a dyn Fn(usize) -> Micros,
    activation: &'a dyn Fn(usize) -> Vec<Candidate>,
    bootstrap: Micros,
    drop: Micros,
}

fn resnet(body: Body, costs: &Costs<'_>) -> Network {
    let Body { l, conv, stem, skips, blocks } = body;
    let here = Point::open(1, 0);
    let activation =
        |i: usize| Stage::Activation(Activation { name: format!("act{i}"), key: 0, candidates: (costs.activation)(i) });
    let layer = |i: usize, levels: u32| step(&format!("conv{i}"), levels, (costs.conv)(i));
    let join = |b: usize, main: Chain, skip_levels: u32| {
        Stage::Residual(Residual {
            name: format!("block{b}"),
            main,
            skip: Chain::new(here),
            main_align: align(l, 0),
            skip_align: align(l, skip_levels),
            us: flat(l, 0.0),
        })
    };
    // Up to the addition: two convolutions with an activation between.
    let half = |chain: Chain, b: usize| {
        chain.then(layer(2 * b + 1, conv), here).then(activation(2 * b + 1), here).then(layer(2 * b + 2, conv), here)
    };
    let mut chain = Chain::new(here).then(layer(0, stem), here).then(activation(0), here);
    match skips {
        Skips::None => {
            for b in 0..blocks {
                chain = half(chain, b).then(activation(2 * b + 2), here);
            }
        }
        Skips::Blocks => {
            for b in 0..blocks {
                let main = half(Chain::new(here), b);
                chain = chain.then(join(b, main, 1), here).then(activation(2 * b + 2), here);
            }
        }
        Skips::Shared => {
            let third = blocks / 3;
            for stage in 0..3 {
                let first = stage * third;
                let mut inner = Chain::new(here);
                for b in first..first + third {
                    // The region so far ends after the addition; its activation and the next block follow on the main branch.
                    let main = half(inner, b);
                    inner = Chain::new(here).then(join(b, main, 1), here);
                    if b + 1 < first + third {
                        inner = inner.then(activation(2 * b + 2), here);
                    }
                }
                let Some(region) = inner.stages.pop() else { continue };
                chain = chain.then(region, here).then(activation(2 * (first + third)), here);
            }
        }
    }
    let chain = chain.then(step("tail", 2, flat(l, 0.0)), Point::closed(1));
    Network {
        name: "resnet".into(),
        max_level: l,
        input_level: l,
        output_level: 0,
        bootstrap_from: 0,
        targets: Targets::Any,
        bootstraps: vec![costs.bootstrap.clone()],
        drop: costs.drop.clone(),
        chain,
    }
}

/// A residual network whose only cost is the number of bootstraps.
fn counting(body: Body, depths: &[u32]) -> Network {
    let l = body.l;
    let costs = Costs {
        conv: &|_| flat(l, 0.0),
        activation: &|i| vec![Candidate::polynomial("p", depths[i], flat(l, 0.0), 0.0, 0.0)],
        bootstrap: flat(l, 1.0),
        drop: flat(l, 0.0),
    };
    resnet(body, &costs)
}

fn exact(network: &Network) -> Result<Plan, PlanError> {
    Planner::new(network, Effort { epsilon: 0.0, exact_up_to: 0, ..Effort::default() })?.plan(&Limits::default())
}

/// Least-squares-like candidates: depth `2..=13`, error falling fourfold per level, time rising with products and level.
fn surrogate(l: u32, sensitivity: f64) -> Vec<Candidate> {
    (2..14u32)
        .map(|depth| {
            let error = sensitivity * 0.02 * 0.25f64.powi(depth as i32 - 2);
            let us = rising(l, 8e3 * f64::from(depth), 1.5e3 * f64::from(depth) * (1.0 + 0.1 * f64::from(depth)));
            Candidate::polynomial(format!("depth{depth}"), depth, us, error, 0.5f64.powi(depth as i32))
        })
        .collect()
}

/// Sensitivities over three decades, in no order.
fn sensitivities(n: usize) -> Vec<f64> {
    (0..n).map(|i| 10f64.powf(3.0 * ((i * 7 + 3) % n) as f64 / n as f64)).collect()
}

/// A ResNet-20 with measured-like times: bootstraps of 1.3 to 3 s, convolutions of a few hundred ms.
fn timed(l: u32, sensitivity: &[f64]) -> Network {
    let costs = Costs {
        conv: &|i| rising(l, 1.5e5 + 1e3 * i as f64, 3e4 - 7e2 * i as f64),
        activation: &|i| surrogate(l, sensitivity[i]),
        bootstrap: rising(l, 1.1e6, 9e4),
        drop: rising(l, 500.0, 400.0),
    };
    resnet(Body { l, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 9 }, &costs)
}
