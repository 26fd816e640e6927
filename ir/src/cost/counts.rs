//! How many homomorphic operations (HOPs) a program has: the one rule by which rotations, key switches, products and sums are
//! counted, for plans, for predictions and for reports.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ckks::{Ckks, CkksOp};
use crate::consts::{Const, ConstPool};
use crate::dialect::OpInfo;
use crate::entity::Entity;
use crate::func::{Module, Node};

/// Operations of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpCounts {
    /// How many ops of each mnemonic.
    pub ops: BTreeMap<String, u64>,
    /// Rotations, those inside linear transforms included.
    pub rotations: u64,
    /// Key switches: rotations, conjugations, relinearisations.
    pub key_switches: u64,
    /// Products of two ciphertexts.
    pub products: u64,
    /// Products with plain vectors, diagonals of linear transforms included.
    pub plain_products: u64,
    /// Products with one number.
    pub scalar_products: u64,
    /// Sums and differences, of ciphertexts and with constants, those inside linear transforms included.
    pub additions: u64,
    /// Rescalings.
    pub rescales: u64,
    /// Bootstraps.
    pub bootstraps: u64,
}

impl OpCounts {
    /// Counts the ops that the results depend on, on vectors of `slots` slots.
    pub fn of(module: &Module<Ckks>, slots: usize) -> Self {
        let mut out = Self::default();
        let live = module.func.live();
        for (_, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
            out.add(node, &module.consts, slots);
        }
        out
    }

    /// All homomorphic operations: products of every kind, sums, key switches, rescalings and bootstraps. Negations and
    /// level drops, which copy, are none, and a bootstrap is one.
    pub fn total(&self) -> u64 {
        self.plain_products
            + self.scalar_products
            + self.products
            + self.additions
            + self.key_switches
            + self.rescales
            + self.bootstraps
    }

    /// Counts one op; an input is none.
    pub fn add(&mut self, node: &Node<Ckks>, consts: &ConstPool, slots: usize) {
        if node.op.as_input().is_some() {
            return;
        }
        *self.ops.entry(node.op.mnemonic().to_string()).or_default() += 1;
        let mut rotations = 0;
        match &node.op {
            CkksOp::Rotate { by } => rotations = u64::from(rotation_in(*by, slots) != 0),
            CkksOp::Linear { rotations: all, giants, diagonals, .. } => {
                let steps = LinearSteps::of(all, giants, consts.get(*diagonals), slots);
                rotations = steps.rotations() as u64;
                self.plain_products += steps.products as u64;
                // Baby steps are summed up for each giant step, and these once more: one sum less than there are products.
                self.additions += steps.products.saturating_sub(1) as u64;
            }
            CkksOp::Conjugate {} | CkksOp::Relinearize {} => self.key_switches += 1,
            CkksOp::Mul {} => self.products += 1,
            CkksOp::MulPlain { .. } => self.plain_products += 1,
            CkksOp::MulScalar { .. } | CkksOp::MulInt { .. } => self.scalar_products += 1,
            CkksOp::Add {} | CkksOp::Sub {} | CkksOp::AddPlain { .. } | CkksOp::AddScalar { .. } => self.additions += 1,
            CkksOp::Rescale {} => self.rescales += 1,
            CkksOp::Bootstrap { .. } => self.bootstraps += 1,
            _ => {}
        }
        self.rotations += rotations;
        self.key_switches += rotations;
    }
}

/// The work of a linear transform: every `rotations[k]` is a baby step after a giant step. Diagonals of zeros cost
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinearSteps {
    /// Distinct non-zero baby steps in 1..n: hoisted rotations of the operand.
    pub babies: BTreeSet<u32>,
    /// Distinct non-zero giant steps in 1..n: rotations of the partial sums.
    pub giants: BTreeSet<u32>,
    /// Distinct pairs of steps: products with diagonals.
    pub products: usize,
}

impl LinearSteps {
    /// The steps of a linear transform with `diagonals` [rotations, slots].
    pub fn of(rotations: &[i64], giants: &[i64], diagonals: &Const, slots: usize) -> Self {
        let filled = diagonals.filled_rows();
        let steps = rotations.iter().zip(giants).zip(filled).filter(|(_, filled)| **filled);
        Self::of_pairs(steps.map(|((&rotation, &giant), _)| (rotation, giant)), slots)
    }
    /// The steps of a linear transform whose diagonals have these rotations and giant steps; none of them is zero.
    pub fn of_pairs(pairs: impl IntoIterator<Item = (i64, i64)>, slots: usize) -> Self {
        let mut out = Self::default();
        let mut distinct = BTreeSet::new();
        for (rotation, giant) in pairs {
            let (giant, baby) = (rotation_in(giant, slots), rotation_in(rotation.wrapping_sub(giant), slots));
            out.babies.extend((baby != 0).then_some(baby));
            out.giants.extend((giant != 0).then_some(giant));
            distinct.insert((giant, baby));
        }
        out.products = distinct.len();
        out
    }
    /// Number of rotations.
    pub fn rotations(&self) -> usize {
        self.babies.len() + self.giants.len()
    }
}

/// A rotation as steps to the left in 0..n. Vectors of n slots repeat through a ciphertext, so only the rest counts.
pub fn rotation_in(by: i64, slots: usize) -> u32 {
    by.rem_euclid(slots.max(1) as i64) as u32
}
