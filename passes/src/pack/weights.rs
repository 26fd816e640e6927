//! Which weights of a network reach which diagonals: what zeros among them would save.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fhec_ir::{Loc, Value};

use super::affine::AffineMap;
use super::cost::LinearCost;
use super::graph::{SourceGraph, SourceKind};
use super::layout::Placing;
use super::sparse::Sparse;
use super::transform::{self, Block, TransformPlan};

/// The elements of a constant that entries of a source's map are multiples of.
#[derive(Clone, Debug)]
pub(super) struct WeightUse {
    /// The constant; none where the entries hold something else as well.
    pub(super) constant: Option<Value>,
    /// The source whose map it is.
    pub(super) source: usize,
    /// Row and column of the map, and the element.
    pub(super) entries: Arc<Vec<[u32; 3]>>,
}

impl WeightUse {
    /// The use under a further map: what read a row now reads every row that is made of it.
    pub(super) fn mapped(&self, map: &Sparse) -> Self {
        let mut readers: Vec<Vec<u32>> = vec![Vec::new(); map.columns()];
        for row in 0..map.rows() {
            map.row(row).for_each(|(column, _)| readers[column].push(row as u32));
        }
        let spread = |&[row, column, element]: &[u32; 3]| {
            readers[row as usize].iter().map(move |&row| [row, column, element]).collect::<Vec<_>>()
        };
        Self { entries: Arc::new(self.entries.iter().flat_map(spread).collect()), ..self.clone() }
    }
}

impl AffineMap {
    /// Notes that this value is `x` under a map whose entries are elements of `constant`: of these, `elements` holds the
    /// places, counted from 1.
    pub(super) fn with_weights(mut self, x: &Self, constant: Value, elements: &Sparse) -> Self {
        for (source, map) in &x.terms {
            let mut entries = Vec::new();
            for row in 0..elements.rows() {
                for (mid, place) in elements.row(row) {
                    entries.extend(map.row(mid).map(|(column, _)| [row as u32, column as u32, place as u32 - 1]));
                }
            }
            self.uses.push(WeightUse { constant: Some(constant), source: *source, entries: Arc::new(entries) });
        }
        self
    }

    /// The uses of a sum of this value and `other`: where both read a source, what is no weight of either stays.
    pub(super) fn summed_uses(&self, other: &Self) -> Vec<WeightUse> {
        let mut uses: Vec<WeightUse> = self.uses.iter().chain(&other.uses).cloned().collect();
        for (source, mine) in &self.terms {
            let traced = uses.iter().any(|u| u.source == *source);
            let Some((_, theirs)) = other.terms.iter().find(|(s, _)| s == source && traced) else { continue };
            for (map, of) in [(mine, &self.uses), (theirs, &other.uses)] {
                let of: Vec<&WeightUse> = of.iter().filter(|u| u.source == *source).collect();
                let entries = Entries::of(map).not_owned(&of).into_iter().map(|[row, column]| [row, column, 0]);
                let entries: Vec<[u32; 3]> = entries.collect();
                uses.extend((!entries.is_empty()).then(|| WeightUse {
                    constant: None,
                    source: *source,
                    entries: Arc::new(entries),
                }));
            }
        }
        uses
    }
}

/// The entries of a map, row by row.
struct Entries {
    starts: Vec<usize>,
    columns: Vec<u32>,
}

impl Entries {
    fn of(map: &Sparse) -> Self {
        let (mut starts, mut columns) = (vec![0], Vec::with_capacity(map.nnz()));
        for row in 0..map.rows() {
            columns.extend(map.row(row).map(|(column, _)| column as u32));
            starts.push(columns.len());
        }
        Self { starts, columns }
    }

    /// The number of an entry; none where the map is zero.
    fn find(&self, row: u32, column: u32) -> Option<usize> {
        let (start, end) = (self.starts[row as usize], self.starts[row as usize + 1]);
        self.columns[start..end].binary_search(&column).ok().map(|k| start + k)
    }

    /// Row and column of the entries that no weight is in.
    fn not_owned(&self, uses: &[&WeightUse]) -> Vec<[u32; 2]> {
        let mut owned = vec![false; self.columns.len()];
        for &[row, column, _] in uses.iter().flat_map(|weight| weight.entries.iter()) {
            self.find(row, column).into_iter().for_each(|k| owned[k] = true);
        }
        let rows = self.starts.windows(2).enumerate();
        let entries = rows.flat_map(|(row, range)| (range[0]..range[1]).map(move |k| (row, k)));
        entries.filter(|(_, k)| !owned[*k]).map(|(row, k)| [row as u32, self.columns[k]]).collect()
    }
}

/// A diagonal of a transform and the weights in it.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalWeights {
    /// The baby step.
    pub baby: i64,
    /// The giant step.
    pub giant: i64,
    /// The constant whose elements it holds, and these; `None` where it holds something else, so that no zeros among the
    /// elements of one constant make it vanish.
    pub weights: Option<(Value, Vec<u32>)>,
}

/// A transform from one ciphertext to another, by diagonals.
#[derive(Clone, Debug)]
pub struct TransformWeights {
    /// The node that it belongs to in the packed program.
    pub loc: Loc,
    /// Its diagonals.
    pub diagonals: Vec<DiagonalWeights>,
}

/// The transforms of a packed program, with the weights in them.
pub(super) fn transforms(graph: &SourceGraph, placements: &[Placing], cost: &LinearCost) -> Vec<TransformWeights> {
    let mut out = Vec::new();
    for (number, source) in graph.sources.iter().enumerate() {
        let SourceKind::Linear { value, .. } = &source.kind else { continue };
        let to = &placements[number];
        for (operand, map) in &value.terms {
            let from = &placements[*operand];
            if map.uniform_diagonal().is_some() && from == to {
                continue;
            }
            let plan = transform::plan(map, from, to, cost);
            let uses: Vec<&WeightUse> = value.uses.iter().filter(|u| u.source == *operand).collect();
            out.extend(of_plan(&plan, map, &uses, from, to, &source.loc));
        }
    }
    out
}

fn of_plan(
    plan: &TransformPlan,
    map: &Sparse,
    uses: &[&WeightUse],
    from: &Placing,
    to: &Placing,
    loc: &Loc,
) -> Vec<TransformWeights> {
    let entries = Entries::of(map);
    let places = Places::of(plan);
    let mut weights: BTreeMap<(usize, usize), Vec<(Value, u32)>> = BTreeMap::new();
    let mut fixed: BTreeSet<(usize, usize)> = BTreeSet::new();
    let address = |row: u32, column: u32| (from.addresses[column as usize], to.addresses[row as usize]);
    for weight in uses {
        for &[row, column, element] in weight.entries.iter() {
            // A weight of zero is in no diagonal.
            if entries.find(row, column).is_some() {
                places.each(address(row, column), from, to, |place| match weight.constant {
                    Some(constant) => weights.entry(place).or_default().push((constant, element)),
                    None => {
                        fixed.insert(place);
                    }
                });
            }
        }
    }
    for [row, column] in entries.not_owned(uses) {
        places.each(address(row, column), from, to, |place| {
            fixed.insert(place);
        });
    }
    let diagonal = |number: usize, block: &Block, residue: usize| {
        let step = block.split.steps[residue];
        let weights = weights.get(&(number, residue)).filter(|_| !fixed.contains(&(number, residue)));
        let weights = weights.and_then(|weights| {
            let constant = weights[0].0;
            let mut elements: Vec<u32> = weights.iter().map(|(_, element)| *element).collect();
            elements.sort_unstable();
            elements.dedup();
            weights.iter().all(|(other, _)| *other == constant).then_some((constant, elements))
        });
        DiagonalWeights { baby: step.rotation - step.giant, giant: step.giant, weights }
    };
    let transform = |(number, block): (usize, &Block)| TransformWeights {
        loc: loc.clone(),
        diagonals: (0..block.split.steps.len()).map(|residue| diagonal(number, block, residue)).collect(),
    };
    plan.blocks.iter().enumerate().map(transform).collect()
}

/// Where the diagonals of a plan are found.
struct Places {
    modulus: usize,
    /// The block by operand's and result's ciphertext, and the number of each residue in it.
    blocks: BTreeMap<(usize, usize), (usize, Vec<u32>)>,
}

impl Places {
    fn of(plan: &TransformPlan) -> Self {
        let numbers = |block: &Block| {
            let mut numbers = vec![u32::MAX; plan.modulus];
            block.residues().iter().enumerate().for_each(|(k, &residue)| numbers[residue as usize] = k as u32);
            numbers
        };
        let entry = |(k, block): (usize, &Block)| ((block.from, block.to), (k, numbers(block)));
        Self { modulus: plan.modulus, blocks: plan.blocks.iter().enumerate().map(entry).collect() }
    }

    /// Calls `found` with block and number of every diagonal that takes address `a` of the operand to `b` of the result.
    fn each(&self, (a, b): (u32, u32), from: &Placing, to: &Placing, mut found: impl FnMut((usize, usize))) {
        let (n, mask) = (from.slots as u32, self.modulus - 1);
        let Some((block, numbers)) = self.blocks.get(&((a / n) as usize, (b / n) as usize)) else { return };
        let (a, b) = ((a % n) as usize, (b % n) as usize);
        // The result's repetitions within the modulus take shares of their own.
        for repetition in (0..self.modulus.max(to.period)).step_by(to.period) {
            let number = numbers[a.wrapping_sub(b + repetition) & mask];
            if number != u32::MAX {
                found((*block, number as usize));
            }
        }
    }
}
