//! Which evaluation keys a program needs, and at which levels.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ckks::{KeyName, KeyRequest};
use fhec_ir::ckks::CkksOp;
use fhec_ir::{Ckks, Module};
use serde::{Deserialize, Serialize};

/// The evaluation keys of a program. A key is made for the highest level it is used at: a lower one is smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Level of the relinearisation key.
    pub relinearization: Option<u32>,
    /// Level of the conjugation key.
    pub conjugation: Option<u32>,
    /// Level of the key of every rotation, by slots to the left in 1..n.
    pub rotations: BTreeMap<u32, u32>,
}

/// The work of a linear transform: every `rotations[k]` is a baby step after a giant step. Diagonals of zeros cost
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Distinct non-zero baby steps in 1..n: hoisted rotations of the operand.
    pub babies: BTreeSet<u32>,
    /// Distinct non-zero giant steps in 1..n: rotations of the partial sums.
    pub giants: BTreeSet<u32>,
    /// Distinct pairs of steps: products with diagonals.
    pub products: usize,
}

/// A rotation as steps to the left in 0..n. Vectors of n slots repeat through a ciphertext, so only the rest counts.
pub fn rotation_in(by: i64, slots: usize) -> u32 {
    by.rem_euclid(slots.max(1) as i64) as u32
}

impl Steps {
    /// The steps of a linear transform with `diagonals` [rotations, slots].
    pub fn of(rotations: &[i64], giants: &[i64], diagonals: &[f32], slots: usize) -> Self {
        let mut out = Self::default();
        let mut pairs = BTreeSet::new();
        for ((&rotation, &giant), diagonal) in rotations.iter().zip(giants).zip(diagonals.chunks(slots.max(1))) {
            if diagonal.iter().all(|&x| x == 0.0) {
                continue;
            }
            let (giant, baby) = (rotation_in(giant, slots), rotation_in(rotation.wrapping_sub(giant), slots));
            out.babies.extend((baby != 0).then_some(baby));
            out.giants.extend((giant != 0).then_some(giant));
            pairs.insert((giant, baby));
        }
        out.products = pairs.len();
        out
    }
    /// Number of rotations.
    pub fn rotations(&self) -> usize {
        self.babies.len() + self.giants.len()
    }
}

impl KeyList {
    /// The keys that the ops of `module` use.
    pub fn of(module: &Module<Ckks>, slots: usize) -> Self {
        let mut keys = Self::default();
        let live = module.func.live();
        let raise = |slot: &mut Option<u32>, level: u32| *slot = Some(slot.map_or(level, |l| l.max(level)));
        for ((_, node), _) in module.func.iter().zip(&live).filter(|(_, live)| **live) {
            match &node.op {
                CkksOp::Relinearize {} => raise(&mut keys.relinearization, node.ty.level),
                CkksOp::Conjugate {} => raise(&mut keys.conjugation, node.ty.level),
                CkksOp::Rotate { by } => keys.rotation(rotation_in(*by, slots), node.ty.level),
                CkksOp::Linear { rotations, giants, at, diagonals } => {
                    let steps = Steps::of(rotations, giants, module.consts.tensor(*diagonals).data(), slots);
                    steps.babies.iter().chain(&steps.giants).for_each(|&by| keys.rotation(by, *at));
                }
                _ => {}
            }
        }
        keys
    }
    fn rotation(&mut self, by: u32, level: u32) {
        if by != 0 {
            let entry = self.rotations.entry(by).or_insert(level);
            *entry = level.max(*entry);
        }
    }
    /// Levels of all keys.
    pub fn levels(&self) -> impl Iterator<Item = u32> {
        self.relinearization.into_iter().chain(self.conjugation).chain(self.rotations.values().copied())
    }
    /// What the client has to generate.
    pub fn requests(&self) -> Vec<KeyRequest> {
        let request = |name: KeyName, level: u32| KeyRequest { name, level: level as usize };
        let relin = self.relinearization.map(|l| request(KeyName::Relin, l));
        let conj = self.conjugation.map(|l| request(KeyName::Conj, l));
        let rotations = self.rotations.iter().map(|(&by, &l)| request(KeyName::Rotation(by), l));
        relin.into_iter().chain(conj).chain(rotations).collect()
    }
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.levels().count()
    }
    /// Whether no key is needed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
