//! `batch`: several images in the slots of one ciphertext.
//!
//! Slot s of the program for one image becomes slots B·s to B·s + B - 1, one for each of B images. Slots that are B apart
//! turn under a rotation by B·k as neighbours do under one by k, so every op stays one op: rotations are multiplied by B
//! and constants repeat each element B times. No mask and no further rotation is needed, which laying the images one after
//! the other would take wherever a rotation crosses from one to the next.

use std::collections::HashMap;

use fhec_ir::nn::NnOp;
use fhec_ir::slot::{SlotOp, SlotTy};
use fhec_ir::{ConstId, Digit, Issue, Module, Nn, Node, OpInfo, Port, Slot, Tensor};

use crate::pass::{Pass, PassError};

/// The pass `batch`.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Images in the slots of one ciphertext, a power of two.
    pub images: usize,
}

const NAME: &str = "batch";

/// Elements that the constants of a batch's program may have: 2 GiB of them.
const MOST_ELEMENTS: usize = 1 << 29;

/// The most images that go together in ciphertexts of `slots` slots: with one slot left for each, and constants that fit
/// memory although they repeat every weight for every image.
pub fn most_images(module: &Module<Nn>, slots: usize) -> usize {
    let elements: usize = module.func.iter().map(|(_, node)| weights(module, node)).fold(0, usize::saturating_add);
    let most = (MOST_ELEMENTS / elements.max(1)).clamp(1, slots.max(1));
    1 << most.ilog2()
}

/// Weights of the linear map that a node is: what its result reads.
fn weights(module: &Module<Nn>, node: &Node<Nn>) -> usize {
    let shape = |k: usize| node.operands.get(k).map_or(&[][..], |&o| &module.func.ty(o).0.0[..]);
    let reads: usize = match &node.op {
        NnOp::Conv { .. } => shape(1).iter().skip(1).product(),
        NnOp::MatMul {} => shape(0).last().copied().unwrap_or(1),
        NnOp::AvgPool { kernel, .. } => kernel.iter().map(|&k| k.max(1) as usize).product(),
        NnOp::Const { .. } => 0,
        _ => 1,
    };
    node.ty.0.len().saturating_mul(reads)
}

impl Pass<Slot> for Batch {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The program for `images` images: its ports have them in dimension 0. Values keep their numbers.
    fn run(&self, module: &Module<Slot>) -> Result<Module<Slot>, PassError> {
        let error = |issues| PassError { pass: NAME, issues };
        if !self.images.is_power_of_two() {
            let reason = format!("a batch of {} images: the number of slots is a power of two", self.images);
            return Err(error(vec![Issue::of_network(reason, "choose a power of two")]));
        }
        if self.images == 1 {
            return Ok(module.clone());
        }
        let mut issues = Vec::new();
        let mut ports = |ports: &[Port]| -> Vec<Port> {
            ports.iter().filter_map(|port| self.port(port).map_err(|issue| issues.push(issue)).ok()).collect()
        };
        let mut out = Module::new(module.func.name.clone());
        (out.inputs, out.outputs) = (ports(&module.inputs), ports(&module.outputs));
        if !issues.is_empty() {
            return Err(error(issues));
        }
        let mut moved = HashMap::new();
        for (_, node) in module.func.iter() {
            if node.op.as_input().is_some() {
                out.func.add_param(SlotTy(node.ty.0 * self.images), node.loc.clone());
                continue;
            }
            let op = self.op(&node.op, &mut |id| {
                *moved.entry(id).or_insert_with(|| {
                    let constant = module.consts.get(id);
                    out.consts.insert(&constant.name, self.repeated(&constant.tensor))
                })
            });
            out.push(op, node.operands.iter().copied(), node.loc.clone()).map_err(|e| {
                let reason = format!("it became ill-typed: {e}");
                error(vec![Issue::new(&node.loc, node.op.mnemonic(), reason, "report this as a bug")])
            })?;
        }
        out.func.set_results(module.func.results().to_vec());
        Ok(out)
    }
}

impl Batch {
    fn op(&self, op: &SlotOp, constant: &mut dyn FnMut(ConstId) -> ConstId) -> SlotOp {
        let turned = |by: &i64| by * self.images as i64;
        let mut op = op.clone();
        match &mut op {
            SlotOp::Rotate { by } => *by = turned(by),
            SlotOp::AddPlain { value } | SlotOp::MulPlain { value } => *value = constant(*value),
            SlotOp::Linear { rotations, giants, diagonals } => {
                rotations.iter_mut().chain(giants).for_each(|by| *by = turned(by));
                *diagonals = constant(*diagonals);
            }
            SlotOp::Polynomial { vectors: Some(vectors), .. } => *vectors = constant(*vectors),
            SlotOp::Polynomial { vectors: None, .. }
            | SlotOp::Input { .. }
            | SlotOp::Add {}
            | SlotOp::Sub {}
            | SlotOp::Neg {}
            | SlotOp::Mul {}
            | SlotOp::AddScalar { .. }
            | SlotOp::MulScalar { .. }
            | SlotOp::Refresh {} => {}
        }
        op
    }

    /// Vectors of slots, along the last dimension, with every element repeated for all images.
    fn repeated(&self, tensor: &Tensor) -> Tensor {
        let mut shape = tensor.shape().clone();
        if let Some(slots) = shape.0.last_mut() {
            *slots *= self.images;
        }
        Tensor::new(shape, tensor.data().iter().flat_map(|&x| std::iter::repeat_n(x, self.images)).collect::<Vec<_>>())
    }

    fn port(&self, port: &Port) -> Result<Port, Issue> {
        let mut port = port.clone();
        match port.shape.0.first_mut() {
            Some(first) if *first == 1 => *first = self.images,
            _ => {
                let reason = format!("`{}` of shape {} has no batch dimension of 1 in front", port.name, port.shape);
                let repair = "export the model for one image with a batch dimension, or compile without a batch";
                return Err(Issue::new(&Default::default(), "port", reason, repair));
            }
        }
        if let Some(layout) = &mut port.layout {
            layout.digits.iter_mut().for_each(|digit| digit.stride *= self.images);
            layout.digits.push(Digit { dim: 0, divisor: 1, size: self.images, stride: 1 });
            for extent in [&mut layout.slots, &mut layout.period, &mut layout.offset] {
                *extent *= self.images;
            }
        }
        Ok(port)
    }
}
