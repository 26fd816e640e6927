//! Predicts how much memory a run will need.

use fhec_ckks::{KeyShape, Params, RECYCLED_BYTES};
use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::LinearSteps;
use fhec_ir::{Ckks, Entity, Node, OpInfo};
use serde::Serialize;

use crate::error::RuntimeError;
use crate::plan::Plan;
use crate::stats::{ciphertext_bytes, peak_ciphertext_bytes};

/// Predicted bytes of an encrypted run, by what they hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPrediction {
    /// Ciphertexts that live at one time.
    pub ciphertexts: u64,
    /// Temporary polynomials of the largest operation.
    pub scratch: u64,
    /// Evaluation keys, both halves.
    pub keys: u64,
    /// Encoded matrices of the bootstraps.
    pub matrices: u64,
    /// Encoded constants.
    pub encodings: u64,
    /// The plan's own constants.
    pub constants: u64,
    /// Transform tables and the program itself.
    pub tables: u64,
    /// Memory of dropped polynomials that is kept for the next ones.
    pub recycled: u64,
    /// Bytes of the largest key, and of the largest encoding: the least that can be held.
    #[serde(skip)]
    largest: (u64, u64),
}

/// Diagonals of the transform between slots and coefficients in `factors` factors: a product of k layers of butterflies has
/// 2^(k+1) - 1.
fn diagonals_of_factors(slots: usize, factors: u32) -> u64 {
    let (layers, factors) = (u64::from(slots.trailing_zeros()), u64::from(factors.max(1)));
    (0..factors).map(|i| (2u64 << (layers * (i + 1) / factors - layers * i / factors)) - 1).sum()
}

/// Predicted bytes while one op runs, beside what a run holds from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OpMemory {
    /// Ciphertexts, the result among them.
    pub ciphertexts: u64,
    /// Temporary polynomials of the op.
    pub scratch: u64,
}

impl OpMemory {
    /// The prediction for every op of a run of `plan` on `threads` threads, in order.
    pub fn of(plan: &Plan, threads: usize) -> Vec<Self> {
        let ciphertexts = ciphertext_bytes(plan.module(), 1 << plan.spec().log_n);
        let needs = Needs::of(plan, threads);
        ciphertexts.into_iter().zip(needs).map(|(ciphertexts, op)| Self { ciphertexts, scratch: op.scratch }).collect()
    }
}

/// Bytes that an op needs beside ciphertexts.
struct Needs {
    /// Of temporary polynomials.
    scratch: u64,
    /// Of its encoded constants.
    encoding: u64,
}

impl Needs {
    /// Those of every op of a run of `plan` on `threads` threads, in order.
    fn of(plan: &Plan, threads: usize) -> Vec<Self> {
        let params = &crate::engine::params(plan);
        let func = &plan.module().func;
        let live = func.live();
        let ops = func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none());
        ops.map(|(_, node)| Self::of_op(plan, params, node, threads)).collect()
    }

    fn of_op(plan: &Plan, params: &Params, node: &Node<Ckks>, threads: usize) -> Self {
        let limb = params.n() as u64 * 8;
        let limbs = u64::from(node.ty.level + 1);
        let alpha = params.key_alpha(node.ty.level as usize) as u64;
        let digits = KeyShape::new(params, node.ty.level as usize, node.ty.level as usize).digit_limbs() as u64;
        let (work, encoding) = match (&node.op, &params.spec().bootstrap) {
            (CkksOp::Linear { rotations, giants, diagonals, .. }, _) => {
                let steps = LinearSteps::of(rotations, giants, plan.module().consts.get(*diagonals), plan.slots());
                let sums = (steps.giants.len() as u64 + 2) * 2 * (limbs + alpha);
                // Each thread holds one limb of both halves of every rotated operand, and of every diagonal; a
                // diagonal has two values per slot.
                let values = (2 * steps.products * plan.slots()).div_ceil(params.n()) as u64;
                let per_thread = 2 * (steps.babies.len() as u64 + 1) + values;
                // Real diagonals are kept in pairs.
                let encoding = steps.products.div_ceil(2) as u64 * plan.slots() as u64 * 16;
                (digits + sums + threads as u64 * per_thread, encoding)
            }
            (CkksOp::Bootstrap { .. }, Some(bootstrap)) => {
                // CoeffsToSlots at the top: the digits, and the sums of its giant steps.
                let limbs = params.top_level() as u64 + 1;
                let alpha = params.key_alpha(params.top_level()) as u64;
                let sums = 2 * diagonals_of_factors(plan.slots(), bootstrap.circuit.cts_levels).isqrt() + 2;
                ((limbs.div_ceil(alpha) + 2 * sums) * (limbs + alpha), 0)
            }
            (CkksOp::Relinearize {} | CkksOp::Rotate { .. } | CkksOp::Conjugate {}, _) => {
                (digits + 2 * (limbs + alpha), 0)
            }
            (CkksOp::MulPlain { .. } | CkksOp::AddPlain { .. }, _) => (limbs, plan.slots() as u64 * 16),
            _ => (2 * limbs, 0),
        };
        Self { scratch: work * limb, encoding }
    }
}

impl MemoryPrediction {
    /// The prediction for a run of `plan` on `threads` threads.
    pub fn of(plan: &Plan, threads: usize) -> Self {
        let params = &crate::engine::params(plan);
        let limb = params.n() as u64 * 8;
        let module = plan.module();
        let key_bytes = |level: u32| params.key_bytes(level as usize) as u64;
        let keys: u64 = plan.keys().levels().map(key_bytes).sum();
        let largest_key = plan.keys().levels().map(key_bytes).max().unwrap_or(0);
        let needs = Needs::of(plan, threads);
        let scratch = needs.iter().map(|op| op.scratch).max().unwrap_or(0);
        let encodings = needs.iter().map(|op| op.encoding).sum();
        let largest_encoding = needs.iter().map(|op| op.encoding).max().unwrap_or(0);
        let matrices = plan.spec().bootstrap.as_ref().map_or(0, |bootstrap| {
            let circuit = &bootstrap.circuit;
            let diagonals = diagonals_of_factors(plan.slots(), circuit.cts_levels)
                + diagonals_of_factors(plan.slots(), circuit.stc_levels);
            plan.bootstrap_levels().len() as u64 * diagonals * plan.slots() as u64 * 16
        });
        let primes = (params.q().len() + params.p().len()) as u64;
        // Per prime: forward and inverse twiddles with their Shoup companions. Per rotation: a permutation.
        let tables = primes * 4 * limb + plan.keys().rotations.len() as u64 * limb / 2;
        let constants = module.consts.iter().map(|(_, c)| c.tensor.data().len() as u64 * 4).sum();
        let ciphertexts = peak_ciphertext_bytes(module, params.n());
        Self {
            ciphertexts,
            scratch,
            keys,
            matrices,
            encodings,
            constants,
            tables: tables + (16 << 20),
            recycled: (ciphertexts + scratch).min(RECYCLED_BYTES as u64),
            largest: (largest_key, largest_encoding),
        }
    }

    /// Everything together.
    pub fn total(&self) -> u64 {
        self.fixed() + self.recycled + self.keys + self.encodings
    }

    /// What a run holds from its start to its end, whatever its bound.
    fn fixed(&self) -> u64 {
        self.ciphertexts + self.scratch + self.matrices + self.constants + self.tables
    }

    /// Shares out what a memory bound leaves beside the `resident` bytes of stored key halves in memory. Keys come before
    /// encodings: a run uses most of them several times, an encoding once.
    ///
    /// # Errors
    /// When not even one key and one transform fit.
    pub fn within(&self, bound: u64, resident: u64) -> Result<MemoryShares, RuntimeError> {
        let (key, encoding) = self.largest;
        let fixed = self.fixed() + resident;
        let least = fixed + key + encoding;
        if bound < least {
            return Err(RuntimeError::Memory { bound, least, unbounded: self.total() });
        }
        let (all_keys, all_encodings) = (self.keys.saturating_sub(resident), self.encodings);
        if fixed + self.recycled + all_keys + all_encodings <= bound {
            let (keys, encodings, recycled) = (usize::MAX, usize::MAX, self.recycled as usize);
            return Ok(MemoryShares { keys, encodings, recycled, total: self.total().max(resident) });
        }
        let recycled = self.recycled.min((bound - least) / RECYCLED_SHARE);
        // One encoding is in use that may not be among those kept.
        let share = bound - fixed - encoding - recycled;
        let keys = share.min(all_keys.max(key));
        let encodings = (share - keys).min(all_encodings);
        let total = fixed + recycled + encoding + keys + encodings;
        Ok(MemoryShares { keys: keys as usize, encodings: encodings as usize, recycled: recycled as usize, total })
    }
}

/// The part, one in this many, of what a bound leaves beyond the least that is kept for dropped polynomials: without any, the kernel
/// clears pages as long as a product takes; with all, every key is made again.
const RECYCLED_SHARE: u64 = 3;

/// Bytes that the parts of a run may take within a memory bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Of prepared keys beyond their stored halves in memory.
    pub keys: usize,
    /// Of encoded constants that are kept.
    pub encodings: usize,
    /// Of dropped polynomials that are kept for the next ones.
    pub recycled: usize,
    /// Of everything together.
    pub total: u64,
}
