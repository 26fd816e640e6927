//! What a program costs, counted from its text: operations, live ciphertexts.

use std::collections::BTreeMap;

use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Entity, Module, OpInfo};
use serde::{Deserialize, Serialize};

use crate::keys::{Steps, rotation_in};

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
    /// Bootstraps.
    pub bootstraps: u64,
}

impl OpCounts {
    /// Counts the ops that the results depend on.
    pub fn of(module: &Module<Ckks>, slots: usize) -> Self {
        let mut out = Self::default();
        let live = module.func.live();
        for (_, node) in module.func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none()) {
            *out.ops.entry(node.op.mnemonic().to_string()).or_default() += 1;
            match &node.op {
                CkksOp::Rotate { by } => out.rotations += u64::from(rotation_in(*by, slots) != 0),
                CkksOp::Linear { rotations, giants, diagonals, .. } => {
                    let steps = Steps::of(rotations, giants, module.consts.get(*diagonals), slots);
                    out.rotations += steps.rotations() as u64;
                    out.plain_products += steps.products as u64;
                }
                CkksOp::Conjugate {} | CkksOp::Relinearize {} => out.key_switches += 1,
                CkksOp::Mul {} => out.products += 1,
                CkksOp::MulPlain { .. } => out.plain_products += 1,
                CkksOp::Bootstrap { .. } => out.bootstraps += 1,
                _ => {}
            }
        }
        out.key_switches += out.rotations;
        out
    }
}

/// One executed op, as a run records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Mnemonic.
    pub op: &'static str,
    /// What the op gave.
    pub ty: CtTy,
}

/// The ops a run of `module` has to execute, in order.
pub fn expected_trace(module: &Module<Ckks>) -> Vec<TraceEntry> {
    let live = module.func.live();
    let nodes = module.func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none());
    nodes.map(|(_, n)| TraceEntry { op: n.op.mnemonic(), ty: n.ty }).collect()
}

/// The most bytes that the ciphertexts of a run occupy at one time, when every value is freed after its last use.
pub fn peak_ciphertext_bytes(module: &Module<Ckks>, ring_degree: usize) -> u64 {
    let bytes = |ty: &CtTy| u64::from(ty.parts) * u64::from(ty.level + 1) * ring_degree as u64 * 8;
    let func = &module.func;
    let live = func.live();
    let mut uses = vec![0u32; func.len()];
    let operands = func.iter().filter(|(v, _)| live[v.index()]).flat_map(|(_, n)| n.operands.iter());
    for v in operands.chain(func.results()) {
        uses[v.index()] += 1;
    }
    let mut now: u64 = func.params().iter().map(|&p| bytes(func.ty(p))).sum();
    let mut peak = now;
    for (_, node) in func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none()) {
        now += bytes(&node.ty);
        peak = peak.max(now);
        for &o in &node.operands {
            uses[o.index()] -= 1;
            if uses[o.index()] == 0 {
                now -= bytes(func.ty(o));
            }
        }
    }
    peak
}
