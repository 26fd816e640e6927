//! What part of a slot program costs at every level: it is lowered by itself and priced op by op.

use std::collections::BTreeMap;

use fhec_ir::attr::F64;
use fhec_ir::cost::{CostError, LatencyTable, Timed, TimedStep, steps};
use fhec_ir::nn::Basis;
use fhec_ir::slot::{SlotOp, SlotTy};
use fhec_ir::{Loc, Module, Slot, Tensor, Value};

use crate::lower::{LowerToCkks, depth};
use crate::pack::PackedTensor;
use crate::pass::{Lower, PassError};

/// What the cost of a polynomial depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PolynomialShape {
    pub(super) degree: usize,
    pub(super) per_channel: bool,
}

/// The ops of a part of a program by their level below the part's operands.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragment {
    /// Levels it consumes.
    pub(super) levels: u32,
    /// How often an op runs, by how many levels below the operands.
    steps: BTreeMap<(Timed, u32), u64>,
    /// Levels by which each tensor that it reads must lie above what it computes.
    above: BTreeMap<usize, u32>,
}

impl Fragment {
    /// The ops of `module`, whose parameters are ciphertexts of these tensors.
    fn of(module: &Module<Slot>, tensors: &[Vec<usize>]) -> Result<Self, PassError> {
        let slots = module.func.iter().next().map_or(1, |(_, node)| node.ty.0);
        let lowered = LowerToCkks::default().run(module)?;
        let levels = depth(&lowered);
        let mut by_level = BTreeMap::new();
        for (_, node) in lowered.func.iter() {
            for TimedStep { op, level, times, .. } in steps(node, &lowered.func, &lowered.consts, slots) {
                *by_level.entry((op, levels - level)).or_default() += times;
            }
        }
        let mut above = BTreeMap::new();
        for (&param, tensors) in lowered.func.params().iter().zip(tensors) {
            for &tensor in tensors {
                let most = above.entry(tensor).or_default();
                *most = lowered.func.ty(param).level.max(*most);
            }
        }
        Ok(Self { levels, steps: by_level, above })
    }

    /// The ops that compute `tensor`, one of `tensors`.
    pub(super) fn of_tensor(
        module: &Module<Slot>,
        tensors: &[PackedTensor],
        tensor: &PackedTensor,
    ) -> Result<Self, PassError> {
        let mut part = Module::new("part");
        let mut read: Vec<Vec<usize>> = Vec::new();
        let owners = |v: Value| tensor.operands.iter().copied().filter(move |&o| tensors[o].values.contains(&v));
        let mut moved: BTreeMap<Value, Value> = BTreeMap::new();
        let nodes = || module.func.iter().skip(tensor.nodes.start).take(tensor.nodes.len());
        let own: Vec<Value> = nodes().map(|(v, _)| v).collect();
        for (_, node) in nodes() {
            for &operand in node.operands.iter().filter(|o| !own.contains(o)) {
                moved.entry(operand).or_insert_with(|| {
                    read.push(owners(operand).collect());
                    part.func.add_param(*module.func.ty(operand), Loc::default())
                });
            }
        }
        if own.is_empty() {
            return Ok(Self::default());
        }
        part.consts = module.consts.clone();
        for (value, node) in nodes() {
            let operands = node.operands.iter().map(|o| moved[o]).collect();
            moved.insert(value, part.func.push_unchecked(node.op.clone(), operands, node.ty, node.loc.clone()));
        }
        let results = tensor.values.iter().filter_map(|v| moved.get(v).copied());
        part.func.set_results(results.collect::<Vec<_>>());
        Self::of(&part, &read)
    }

    /// The evaluation of a polynomial on one ciphertext.
    pub(super) fn of_polynomial(
        PolynomialShape { degree, per_channel }: PolynomialShape,
        slots: usize,
    ) -> Result<Self, PassError> {
        // Coefficients that no step of the evaluation can leave out.
        let coefficient = |k: usize| 1.0 / (k as f64 + 1.5);
        let mut part = Module::new("part");
        let x = part.func.add_param(SlotTy(slots), Loc::default());
        let coeffs: Vec<F64> = (0..=degree).map(|k| F64(coefficient(k))).collect();
        let vectors = per_channel.then(|| {
            let halves =
                |k: usize| (0..slots).map(move |s| (coefficient(k) * if s % 2 == 0 { 1.0 } else { 0.5 }) as f32);
            part.consts.insert(
                "polynomials",
                Tensor::new([degree + 1, slots], (0..=degree).flat_map(halves).collect::<Vec<_>>()),
            )
        });
        let coeffs = if per_channel { Vec::new() } else { coeffs };
        let op = SlotOp::Polynomial { basis: Basis::Chebyshev, lo: F64(-1.0), hi: F64(1.0), coeffs, vectors };
        let y = part.func.push_unchecked(op, [x].into_iter().collect(), SlotTy(slots), Loc::default());
        part.func.set_results([y]);
        Self::of(&part, &[])
    }

    /// The product of one ciphertext with a number.
    pub(super) fn of_factor(factor: f64, slots: usize) -> Result<Self, PassError> {
        let mut part = Module::new("part");
        let x = part.func.add_param(SlotTy(slots), Loc::default());
        let op = SlotOp::MulScalar { value: F64(factor) };
        let y = part.func.push_unchecked(op, [x].into_iter().collect(), SlotTy(slots), Loc::default());
        part.func.set_results([y]);
        Self::of(&part, &[])
    }

    /// Levels by which a tensor that it reads must lie above what it computes; `None` where it does not read it.
    pub(super) fn above(&self, tensor: usize) -> Option<u32> {
        self.above.get(&tensor).copied()
    }

    /// The same ops on `ciphertexts` of them.
    pub(super) fn repeated(mut self, ciphertexts: u32) -> Self {
        self.steps.values_mut().for_each(|times| *times *= u64::from(ciphertexts));
        self
    }

    /// Microseconds by the level of the operands, 0 up to `top`; below the levels it consumes it cannot run.
    ///
    /// # Errors
    /// An op that the table has no time for.
    pub(super) fn times(&self, table: &LatencyTable, top: u32) -> Result<Vec<f64>, CostError> {
        (0..=top)
            .map(|level| {
                let steps = self.steps.iter().filter(|_| level >= self.levels);
                steps.map(|(&(op, below), &times)| Ok(table.time(op, level - below)? * times as f64)).sum()
            })
            .collect()
    }
}

/// The degree of the polynomial that computes an activation.
pub(super) fn degree_of(module: &Module<Slot>, tensor: &PackedTensor) -> usize {
    let nodes = module.func.iter().skip(tensor.nodes.start).take(tensor.nodes.len());
    let found = nodes.filter_map(|(_, node)| match &node.op {
        SlotOp::Polynomial { coeffs, vectors: None, .. } => Some(coeffs.len().saturating_sub(1)),
        SlotOp::Polynomial { vectors: Some(id), .. } => {
            let rows = module.consts.tensor(*id).shape().0.first().copied().unwrap_or(1);
            Some(rows.saturating_sub(1))
        }
        // The square that a quadratic is completed to.
        SlotOp::Mul {} => Some(2),
        _ => None,
    });
    found.max().unwrap_or(1)
}
