//! The planner's network of a packed program of any shape: one value per tensor.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use super::fragment::Fragment;
use super::network::{Tensors, Times, Work};
use super::sites::Sites;
use crate::pack::TensorKind;
use crate::pass::PassError;
use crate::planner::{Dag, DagNode, Micros, NodeWork, Point, Targets, Way};

/// The network with these times, whose bootstraps stand before polynomials and at `sites`.
///
/// # Errors
/// An op without a time.
pub(super) fn dag(times: &Times<'_>, output_level: u32, sites: &Sites) -> Result<Dag, PassError> {
    let tensors = times.tensors;
    let values = Values::of(tensors);
    let first = values.place.keys().next().copied().unwrap_or_default();
    let mut bootstraps = vec![times.bootstraps(first)?];
    let mut nodes = Vec::with_capacity(values.place.len());
    for &tensor in values.place.keys() {
        let mut node = node(times, &values, tensor)?;
        if let Some(site) = sites.get(tensor).filter(|_| !values.before.contains_key(&tensor)) {
            let us = times.bootstraps_at(site, tensor)?;
            let kind = bootstraps.iter().position(|known| *known == us).unwrap_or(bootstraps.len());
            if kind == bootstraps.len() {
                bootstraps.push(us);
            }
            let key = Key::Value(tensor).number(tensors.packed());
            node.point = Point::open(tensors.width(tensor), kind).with_key(key);
            node.map_levels = site.levels();
        }
        nodes.push(node);
    }
    Ok(Dag {
        name: tensors.module().func.name.clone(),
        max_level: times.top,
        input_level: times.top,
        output_level,
        bootstrap_from: 0,
        targets: Targets::Any,
        bootstraps,
        nodes,
        results: tensors.results().iter().map(|r| values.place[&values.same[*r]]).collect(),
    })
}

/// The tensors that are values of their own.
struct Values {
    /// Of every tensor, the one whose ciphertexts it has: another than itself where it only renames that.
    same: Vec<usize>,
    /// The tensors that are computed on the way to a result, each with its place among them.
    place: BTreeMap<usize, usize>,
    /// Of the tensors that polynomials read, the first such polynomial: they lie in [-1, 1], so bootstraps may stand
    /// there.
    before: BTreeMap<usize, usize>,
}

impl Values {
    fn of(tensors: &Tensors<'_>) -> Self {
        let all = tensors.tensors();
        let mut same: Vec<usize> = Vec::with_capacity(all.len());
        for (i, tensor) in all.iter().enumerate() {
            let renamed = tensor.operands.iter().find(|&&o| tensor.nodes.is_empty() && all[o].values == tensor.values);
            same.push(renamed.map_or(i, |&o| same[o]));
        }
        let mut live: BTreeSet<usize> = BTreeSet::new();
        let mut open: Vec<usize> = tensors.results().iter().map(|&r| same[r]).collect();
        while let Some(tensor) = open.pop() {
            if live.insert(tensor) {
                open.extend(read(tensors, tensor).into_keys().map(|o| same[o]));
            }
        }
        let mut before = BTreeMap::new();
        for &tensor in live.iter().filter(|&&t| all[t].kind == TensorKind::Activation) {
            for &operand in &all[tensor].operands {
                before.entry(same[operand]).or_insert(tensor);
            }
        }
        Self { same, place: live.into_iter().zip(0..).collect(), before }
    }
}

/// The tensors that `tensor` is computed from, with the levels by which each way of computing it needs them above it.
fn read(tensors: &Tensors<'_>, tensor: usize) -> BTreeMap<usize, Vec<u32>> {
    let operands = tensors.tensors()[tensor].operands.iter().copied();
    match &tensors.work()[&tensor] {
        Work::Input => BTreeMap::new(),
        Work::Fixed(fragment) => operands.filter_map(|o| Some((o, vec![fragment.above(o)?]))).collect(),
        // A polynomial reads all of its operand, at the top of its levels.
        Work::Activation(ways) => operands.map(|o| (o, ways.iter().map(|way| way.fragment.levels).collect())).collect(),
    }
}

fn node(times: &Times<'_>, values: &Values, tensor: usize) -> Result<DagNode, PassError> {
    let tensors = times.tensors;
    // Tensors that are the same value are one operand, which lies above by the most that either needs.
    let mut operands: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (operand, levels) in read(tensors, tensor) {
        let most = operands.entry(values.place[&values.same[operand]]).or_insert_with(|| vec![0; levels.len()]);
        most.iter_mut().zip(levels).for_each(|(most, level)| *most = level.max(*most));
    }
    let above = |way: usize| operands.values().map(|levels| levels[way]).collect::<Vec<u32>>();
    let timed = |id: &str, way: usize, fragment: &Fragment| -> Result<Way, PassError> {
        let us: Micros = times.of(fragment, tensor)?;
        Ok(Way { above: above(way), ..Way::exact(id, 0, 0, us) })
    };
    let work = match &tensors.work()[&tensor] {
        Work::Input => NodeWork::Input,
        Work::Fixed(fragment) => NodeWork::Step(vec![timed("only", 0, fragment)?]),
        Work::Activation(ways) => {
            let way = |(number, way): (usize, &super::network::Priced)| {
                Ok(timed(&way.id, number, &way.fragment)?.with_errors(way.error, way.max_error))
            };
            NodeWork::Activation(ways.iter().enumerate().map(way).collect::<Result<_, PassError>>()?)
        }
    };
    let width = tensors.width(tensor);
    let point = match values.before.get(&tensor) {
        // The point goes by the polynomial, whose operand the pass refreshes.
        Some(&polynomial) => Point::open(width, 0).with_key(Key::Before(polynomial).number(tensors.packed())),
        None => Point::closed(width),
    };
    let operands = operands.into_keys().collect();
    Ok(DagNode { name: tensors.name(tensor), key: tensor, point, map_levels: 0, operands, work })
}
