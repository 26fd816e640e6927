//! Linear maps between placements as sums of diagonals.
//!
//! Element i at slot a reaches element o at slot b over the diagonal of rotation a − b. Two freedoms keep diagonals few:
//! the operand's content repeats with its period, so rotations count modulo the period; and when the result repeats with a
//! smaller period than the operand, every repetition may sum up another share of the operand, rotations then count modulo a
//! `modulus` between the two and log2(period / modulus) rotate-and-add steps collect the shares. With the modulus at the
//! next power of two above the number of outputs this is the hybrid matrix-vector product of GAZELLE (Juvekar et al., 2018).

use super::cost::{LinearCost, Split, least_cost, split};
use super::layout::Placing;
use super::sparse::Sparse;

/// One transform from a ciphertext of the operand to one of the result.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Rotations modulo the modulus, increasing.
    residues: Vec<u32>,
    pub(super) split: Split,
}

impl Block {
    /// The rotations of its diagonals modulo the modulus, in the order of the steps of `split`.
    pub(super) fn residues(&self) -> &[u32] {
        &self.residues
    }
}

/// How one linear map between two placements is carried out.
#[derive(Clone, Debug)]
pub(super) struct TransformPlan {
    pub(super) modulus: usize,
    pub(super) blocks: Vec<Block>,
    pub(super) cost: f64,
}

/// The diagonals of a block: one row of slots each, in the order of `rotations`.
pub(super) struct Diagonals {
    pub(super) rotations: Vec<i64>,
    pub(super) giants: Vec<i64>,
    pub(super) rows: Vec<f32>,
}

/// Rotations (modulo the operand's period) between ciphertext pairs, for the first repetition of the result.
fn offsets(map: &Sparse, from: &Placing, to: &Placing) -> Vec<(usize, usize, Vec<u32>)> {
    let mask = from.period as u32 - 1;
    let n = from.slots as u32;
    let mut sets = vec![Vec::<bool>::new(); from.ciphertexts * to.ciphertexts];
    for o in 0..map.rows() {
        let b = to.addresses[o];
        for (i, _) in map.row(o) {
            let a = from.addresses[i];
            let set = &mut sets[(a / n) as usize * to.ciphertexts + (b / n) as usize];
            if set.is_empty() {
                set.resize(from.period, false);
            }
            set[((a % n).wrapping_sub(b % n) & mask) as usize] = true;
        }
    }
    sets.into_iter()
        .enumerate()
        .filter(|(_, set)| !set.is_empty())
        .map(|(k, set)| {
            let list = set.iter().enumerate().filter(|(_, hit)| **hit).map(|(r, _)| r as u32).collect();
            (k / to.ciphertexts, k % to.ciphertexts, list)
        })
        .collect()
}

/// The rotations modulo `modulus` for all repetitions of a result with period `period`.
fn reduced(base: &[u32], modulus: usize, period: usize) -> Vec<u32> {
    let mut set = vec![false; modulus];
    for &r in base {
        for repetition in (0..modulus.max(period)).step_by(period) {
            set[(r as usize).wrapping_sub(repetition) & (modulus - 1)] = true;
        }
    }
    set.iter().enumerate().filter(|(_, hit)| **hit).map(|(r, _)| r as u32).collect()
}

/// The cheapest plan for `map` from one placement to another.
pub(super) fn plan(map: &Sparse, from: &Placing, to: &Placing, cost: &LinearCost) -> TransformPlan {
    let base = offsets(map, from, to);
    let mut best: Option<TransformPlan> = None;
    let mut modulus = from.period;
    loop {
        let folds = (from.period / modulus).trailing_zeros();
        let folding = f64::from(folds) * cost.rotation;
        let residues: Vec<Vec<u32>> = base.iter().map(|(_, _, list)| reduced(list, modulus, to.period)).collect();
        let least = folding + residues.iter().map(|r| least_cost(r.len(), cost)).sum::<f64>();
        if best.as_ref().is_none_or(|b| least < b.cost) {
            let blocks: Vec<Block> = base
                .iter()
                .zip(residues)
                .map(|((a, b, _), residues)| Block {
                    from: *a,
                    to: *b,
                    split: split(&residues, modulus, cost),
                    residues,
                })
                .collect();
            let total = folding + blocks.iter().map(|b| b.split.cost).sum::<f64>();
            if best.as_ref().is_none_or(|b| total < b.cost) {
                best = Some(TransformPlan { modulus, blocks, cost: total });
            }
        }
        if modulus <= to.period || modulus == 1 {
            break;
        }
        modulus /= 2;
    }
    best.unwrap_or(TransformPlan { modulus: from.period, blocks: Vec::new(), cost: 0.0 })
}

impl TransformPlan {
    /// Whether no rotation is needed: slots are only multiplied.
    pub(super) fn is_slotwise(&self, from: &Placing) -> bool {
        self.modulus == from.period && self.blocks.iter().all(|b| b.from == b.to && b.residues == [0])
    }

    /// The diagonals of block `block`.
    pub(super) fn diagonals(&self, block: &Block, map: &Sparse, from: &Placing, to: &Placing) -> Diagonals {
        let n = from.slots;
        let mut order: Vec<usize> = (0..block.residues.len()).collect();
        order.sort_by_key(|&k| block.split.steps[k]);
        let mut row_of = vec![u32::MAX; self.modulus];
        for (row, &k) in order.iter().enumerate() {
            row_of[block.residues[k] as usize] = row as u32;
        }
        let rotations: Vec<i64> = order.iter().map(|&k| block.split.steps[k].rotation).collect();
        let giants = order.iter().map(|&k| block.split.steps[k].giant).collect();
        // Every slot of a diagonal belongs to one pair of elements.
        let mut rows = vec![0.0f32; rotations.len() * n];
        let (period, modulus) = (from.period, self.modulus);
        for o in 0..map.rows() {
            let b = to.addresses[o] as usize;
            if b / n != block.to {
                continue;
            }
            let b = b % n;
            for (i, w) in map.row(o) {
                let a = from.addresses[i] as usize;
                if a / n != block.from {
                    continue;
                }
                let a = a % n;
                if modulus == period {
                    for s in (b..n).step_by(to.period) {
                        let row = row_of[a.wrapping_sub(s) & (modulus - 1)] as usize;
                        rows[row * n + s] = w as f32;
                    }
                } else {
                    for start in (b..modulus).step_by(to.period) {
                        let row = row_of[a.wrapping_sub(start) & (modulus - 1)] as usize;
                        let share = (a as i64 - rotations[row]).rem_euclid(period as i64) as usize;
                        for s in (share..n).step_by(period) {
                            rows[row * n + s] = w as f32;
                        }
                    }
                }
            }
        }
        Diagonals { rotations, giants, rows }
    }
}
