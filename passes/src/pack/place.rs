//! The choice of layouts: a beam search over the sources in order, by the cost of the transforms between them.
//!
//! A layout that is cheap to reach may be expensive for all that follows, so several partial choices are kept. Two that agree on
//! every source still to be read are compared at once and only the cheaper one stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use super::affine::AffineMap;
use super::cost::LinearCost;
use super::graph::{SourceGraph, SourceKind};
use super::layout::{self, Digits, Placing};
use super::sparse::Sparse;
use super::{hints, transform};

/// Partial choices kept.
const BEAM: usize = 8;

/// Placements met so far, and costs of transforms between them.
pub(super) struct LayoutSearch<'a> {
    slots: usize,
    cost: &'a LinearCost,
    placements: Vec<Placing>,
    /// By pattern of the map, operand's and result's placement.
    costs: HashMap<(u64, usize, usize), f64>,
    /// Of the source at hand: placements at the end of each trail, by the placement it starts from.
    ends: HashMap<(usize, usize), Vec<usize>>,
}

/// A partial choice: the placement of every root so far.
#[derive(Clone)]
struct State {
    chosen: Vec<Option<usize>>,
    cost: f64,
}

/// A term of a linear source, ready to be costed.
struct SourceTerm {
    source: usize,
    map: Arc<Sparse>,
    pattern: u64,
    uniform: bool,
    diagonal: bool,
}

fn terms(value: &AffineMap) -> Vec<SourceTerm> {
    let term = |(source, map): &(usize, Arc<Sparse>)| SourceTerm {
        source: *source,
        map: map.clone(),
        pattern: map.pattern(),
        uniform: map.uniform_diagonal().is_some(),
        diagonal: map.is_diagonal(),
    };
    value.terms.iter().map(term).collect()
}

/// The placement of every source's root; `None` when a tensor has no layout at all.
pub(super) fn choose(graph: &SourceGraph, slots: usize, cost: &LinearCost) -> Option<Vec<Placing>> {
    let mut placer = LayoutSearch { slots, cost, placements: Vec::new(), costs: HashMap::new(), ends: HashMap::new() };
    let last_read = last_read(graph);
    let mut beam = vec![State { chosen: vec![None; graph.sources.len()], cost: 0.0 }];
    for (number, source) in graph.sources.iter().enumerate() {
        let mut next: Vec<State> = Vec::new();
        match &source.kind {
            SourceKind::Polynomial { .. } | SourceKind::Square(_) | SourceKind::Product(..) => continue,
            SourceKind::Input(_) => {
                let len = source.shape.len();
                let id = placer.intern(Placing::new(layout::aligned_channels(&source.shape), len, slots)?);
                for mut state in beam {
                    state.chosen[number] = Some(id);
                    next.push(state);
                }
            }
            SourceKind::Linear { value, like } => {
                let terms = terms(value);
                placer.ends.clear();
                for state in &beam {
                    let at = |s: usize| state.chosen[graph.root(s)];
                    let candidates = match like {
                        Some(like) => at(*like).into_iter().collect(),
                        None => placer.candidates(value, &terms, &at, source.port),
                    };
                    next.extend(candidates.into_iter().map(|to| {
                        let mut state = state.clone();
                        state.chosen[source.root] = Some(to);
                        state
                    }));
                }
                // No term reads the source that is placed here.
                let reads = next.iter().filter_map(|s| Some((s.chosen[source.root]?, s)));
                let reads: Vec<(usize, Vec<Option<usize>>)> =
                    reads.map(|(to, s)| (to, terms.iter().map(|t| s.chosen[graph.root(t.source)]).collect())).collect();
                placer.price(&terms, &reads);
                for (state, (to, froms)) in next.iter_mut().zip(&reads) {
                    state.cost += placer.sum(&terms, froms, *to);
                }
            }
        }
        next.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let mut kept: Vec<State> = Vec::new();
        for state in next {
            let same_future =
                |other: &State| (0..=number).all(|r| last_read[r] <= number || other.chosen[r] == state.chosen[r]);
            if kept.len() < BEAM && !kept.iter().any(same_future) {
                kept.push(state);
            }
        }
        beam = kept;
    }
    let best = beam.into_iter().next()?;
    graph.sources.iter().map(|s| best.chosen[s.root].map(|id| placer.placements[id].clone())).collect()
}

/// For every root the last source that reads it.
fn last_read(graph: &SourceGraph) -> Vec<usize> {
    let mut last = vec![0; graph.sources.len()];
    for (number, source) in graph.sources.iter().enumerate() {
        match &source.kind {
            SourceKind::Input(_) => {}
            SourceKind::Linear { value, like } => {
                let read = value.terms.iter().map(|t| t.0).chain(*like);
                read.for_each(|s| last[graph.root(s)] = number);
            }
            SourceKind::Polynomial { of, .. } | SourceKind::Square(of) => last[graph.root(*of)] = number,
            SourceKind::Product(a, b) => [a, b].into_iter().for_each(|s| last[graph.root(*s)] = number),
        }
    }
    last
}

/// The smallest power of two of slots that holds every source in its likeliest layout.
pub(super) fn slots_needed(graph: &SourceGraph) -> usize {
    let mut natural: Vec<Option<Digits>> = vec![None; graph.sources.len()];
    let mut most = 1;
    for (number, source) in graph.sources.iter().enumerate() {
        let len = source.shape.len();
        let digits = match &source.kind {
            SourceKind::Input(_) => layout::aligned_channels(&source.shape),
            SourceKind::Linear { value, like: None } => natural_digits(graph, value, &natural),
            _ => continue,
        };
        most = most.max(layout::extent(&digits, len).unwrap_or(len));
        natural[number] = Some(digits);
    }
    most.next_power_of_two()
}

/// The first layout that suits `value`, given one for every earlier root.
fn natural_digits(graph: &SourceGraph, value: &AffineMap, known: &[Option<Digits>]) -> Digits {
    let ends = value.trails.iter().filter_map(|t| Some((t, known[graph.root(t.source)].as_ref()?)));
    let found = ends.flat_map(|(t, d)| hints::follow(t, d)).find(|d| layout::extent(d, value.shape.len()).is_some());
    found.unwrap_or_else(|| layout::row_major(value.shape.len()))
}

/// Whether `together`, one map, costs no more than `first` put into slots and then `second` of it, including the level.
pub(super) fn better_together(
    graph: &SourceGraph,
    together: &AffineMap,
    first: &AffineMap,
    second: impl FnOnce(&AffineMap) -> Option<AffineMap>,
    cost: &LinearCost,
) -> bool {
    let slots = slots_needed(graph).max(first.shape.len().next_power_of_two());
    let mut placer = LayoutSearch { slots, cost, placements: Vec::new(), costs: HashMap::new(), ends: HashMap::new() };
    let mut natural: Vec<Option<Digits>> = vec![None; graph.sources.len()];
    for (number, source) in graph.sources.iter().enumerate() {
        natural[number] = match &source.kind {
            SourceKind::Input(_) => Some(layout::aligned_channels(&source.shape)),
            SourceKind::Linear { value, like: None } => Some(natural_digits(graph, value, &natural)),
            _ => None,
        };
    }
    let mut chosen: Vec<Option<usize>> = (0..graph.sources.len())
        .map(|s| {
            let digits = natural[graph.root(s)].clone()?;
            Some(placer.intern(Placing::new(digits, graph.sources[s].shape.len(), slots)?))
        })
        .collect();
    let at_once = placer.cheapest(together, &|s| chosen[s]);
    let Some((before, placement)) = placer.cheapest(first, &|s| chosen[s]) else { return true };
    let number = chosen.len();
    chosen.push(Some(placement));
    let Some(rest) = second(&AffineMap::source(number, first.shape.clone())) else { return true };
    let after = placer.cheapest(&rest, &|s| chosen[s]);
    match (at_once, after) {
        (Some((at_once, _)), Some((after, _))) => at_once <= before + after + cost.level,
        _ => true,
    }
}

impl LayoutSearch<'_> {
    fn intern(&mut self, p: Placing) -> usize {
        self.placements.iter().position(|q| *q == p).unwrap_or_else(|| {
            self.placements.push(p);
            self.placements.len() - 1
        })
    }

    /// Placements worth trying for a value, the likeliest first.
    fn candidates(
        &mut self,
        value: &AffineMap,
        terms: &[SourceTerm],
        at: &dyn Fn(usize) -> Option<usize>,
        port: bool,
    ) -> Vec<usize> {
        let len = value.shape.len();
        let mut out: Vec<usize> = Vec::new();
        let mut add = |p: usize, placements: &[Placing]| {
            let states = !port || placements[p].to_layout(&value.shape).is_some();
            if states && !out.contains(&p) {
                out.push(p);
            }
        };
        // Sources that are read in place: nothing to rotate if the value stays where they are.
        for id in terms.iter().filter(|t| t.diagonal).filter_map(|t| at(t.source)) {
            if self.placements[id].addresses.len() == len {
                add(id, &self.placements);
            }
        }
        for (number, trail) in value.trails.iter().enumerate() {
            let Some(from) = at(trail.source) else { continue };
            if !self.ends.contains_key(&(number, from)) {
                let digits = hints::follow(trail, &self.placements[from].digits);
                let ends = self.both(digits, len);
                self.ends.insert((number, from), ends);
            }
            self.ends[&(number, from)].iter().for_each(|&id| add(id, &self.placements));
        }
        const ROW_MAJOR: (usize, usize) = (usize::MAX, 0);
        if !self.ends.contains_key(&ROW_MAJOR) {
            let ends = self.both(vec![layout::row_major(len)], len);
            self.ends.insert(ROW_MAJOR, ends);
        }
        self.ends[&ROW_MAJOR].iter().for_each(|&id| add(id, &self.placements));
        out
    }

    /// The placements of layouts, each repeated as often as it fits and not repeated.
    fn both(&mut self, digits: Vec<Digits>, len: usize) -> Vec<usize> {
        let slots = self.slots;
        let found: Vec<Placing> = digits.into_iter().filter_map(|d| Placing::new(d, len, slots)).collect();
        found
            .into_iter()
            .flat_map(|p| {
                let whole = p.with_period(slots);
                [self.intern(p), self.intern(whole)]
            })
            .collect()
    }

    /// Whether a term stays where it is and costs nothing.
    fn stays(t: &SourceTerm, from: usize, to: usize) -> bool {
        t.uniform && from == to
    }

    /// Finds the costs of all terms for results at the given placements, each with its operands' placements.
    fn price(&mut self, terms: &[SourceTerm], reads: &[(usize, Vec<Option<usize>>)]) {
        let mut wanted: BTreeMap<(u64, usize, usize), &Sparse> = BTreeMap::new();
        for (to, froms) in reads {
            for (t, from) in terms.iter().zip(froms).filter_map(|(t, from)| Some((t, (*from)?))) {
                let key = (t.pattern, from, *to);
                if !Self::stays(t, from, *to) && !self.costs.contains_key(&key) {
                    wanted.insert(key, &t.map);
                }
            }
        }
        let cost = |(key, map): ((u64, usize, usize), &Sparse)| {
            (key, transform::plan(map, &self.placements[key.1], &self.placements[key.2], self.cost).cost)
        };
        let found: Vec<_> = wanted.into_par_iter().map(cost).collect();
        self.costs.extend(found);
    }

    /// The cost of a sum of terms, priced before, in placement `to`, by the placements of their operands.
    fn sum(&self, terms: &[SourceTerm], froms: &[Option<usize>], to: usize) -> f64 {
        let of_term = |(t, from): (&SourceTerm, &Option<usize>)| match *from {
            Some(from) if !Self::stays(t, from, to) => self.costs[&(t.pattern, from, to)],
            _ => 0.0,
        };
        let total: f64 = terms.iter().zip(froms).map(of_term).sum();
        // A value in several ciphertexts makes everything after it more expensive, too.
        total + (self.placements[to].ciphertexts - 1) as f64 * self.cost.level
    }

    fn cheapest(&mut self, value: &AffineMap, at: &dyn Fn(usize) -> Option<usize>) -> Option<(f64, usize)> {
        let terms = terms(value);
        self.ends.clear();
        let candidates = self.candidates(value, &terms, at, false);
        let froms: Vec<Option<usize>> = terms.iter().map(|t| at(t.source)).collect();
        let reads: Vec<_> = candidates.into_iter().map(|to| (to, froms.clone())).collect();
        self.price(&terms, &reads);
        reads.iter().map(|(to, froms)| (self.sum(&terms, froms, *to), *to)).min_by(|a, b| a.0.total_cmp(&b.0))
    }
}
