//! What a run has to execute, and how many bytes its ciphertexts take.

use fhec_ir::ckks::CtTy;
use fhec_ir::{Ckks, Entity, Module, OpInfo};

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
    let func = &module.func;
    let inputs = func.params().iter().map(|&p| bytes(func.ty(p), ring_degree)).sum();
    ciphertext_bytes(module, ring_degree).into_iter().fold(inputs, u64::max)
}

fn bytes(ty: &CtTy, ring_degree: usize) -> u64 {
    u64::from(ty.parts) * u64::from(ty.level + 1) * ring_degree as u64 * 8
}

/// The bytes that the ciphertexts of a run occupy when the result of each op is there and its operands still are, in order;
/// every value is freed after its last use.
pub fn ciphertext_bytes(module: &Module<Ckks>, ring_degree: usize) -> Vec<u64> {
    let bytes = |ty: &CtTy| bytes(ty, ring_degree);
    let func = &module.func;
    let live = func.live();
    let mut uses = vec![0u32; func.len()];
    let operands = func.iter().filter(|(v, _)| live[v.index()]).flat_map(|(_, n)| n.operands.iter());
    for v in operands.chain(func.results()) {
        uses[v.index()] += 1;
    }
    let mut now: u64 = func.params().iter().map(|&p| bytes(func.ty(p))).sum();
    let mut over = Vec::new();
    for (_, node) in func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none()) {
        now += bytes(&node.ty);
        over.push(now);
        for &o in &node.operands {
            uses[o.index()] -= 1;
            if uses[o.index()] == 0 {
                now -= bytes(func.ty(o));
            }
        }
    }
    over
}
