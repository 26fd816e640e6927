//! Runs a `ckks` function on a [`Backend`]: in the clear, in the clear with modelled noise, or encrypted.
//!
//! [`execute`] walks the nodes in order, frees every value after its last use, and checks after every op that the level,
//! scale degree and parts of the result are those the module states, so a backend that drifts from the program is
//! stopped at the op where it does.

mod clear;
pub mod rules;

pub use clear::{ClearBackend, ClearCt};
pub use rules::ClearError;

use std::error::Error as StdError;
use std::ops::ControlFlow;

use miette::Diagnostic;
use thiserror::Error;

use super::{Ckks, CkksOp, CtTy};
use crate::consts::Const;
use crate::dialect::OpInfo;
use crate::entity::{ConstId, Entity, Value};
use crate::func::{Module, Node};

/// A constant operand: its id, by which a backend may cache an encoding, and its content.
#[derive(Clone, Copy, Debug)]
pub struct Constant<'a> {
    /// Id in the module's pool.
    pub id: ConstId,
    /// Name and elements.
    pub entry: &'a Const,
}

impl<'a> Constant<'a> {
    /// The elements.
    pub fn data(&self) -> &'a [f32] {
        self.entry.tensor.data()
    }
}

/// A linear transform: y\[s\] = Σ_k diagonal_k\[s\] · x\[s + rotations\[k\]\].
#[derive(Clone, Copy, Debug)]
pub struct LinearMap<'a> {
    /// Rotation of every diagonal.
    pub rotations: &'a [i64],
    /// Giant-step part of every rotation.
    pub giants: &'a [i64],
    /// The diagonals, [rotations, n].
    pub diagonals: Constant<'a>,
    /// Level of the products.
    pub at: u32,
}

impl<'a> LinearMap<'a> {
    /// Slots of one diagonal.
    pub fn slots(&self) -> usize {
        self.diagonals.entry.tensor.shape().0.last().copied().unwrap_or(0)
    }
    /// Every rotation with its giant step and its diagonal.
    pub fn terms(&self) -> impl Iterator<Item = (i64, i64, &'a [f32])> {
        let n = self.slots().max(1);
        let diagonals = self.diagonals.data().chunks_exact(n);
        self.rotations.iter().zip(self.giants).zip(diagonals).map(|((&r, &g), d)| (r, g, d))
    }
}

/// What computes the ops of the `ckks` level. Operands are borrowed; every method gives a new ciphertext.
pub trait Backend {
    /// A ciphertext, or what stands for one.
    type Ct: Clone;
    /// Why an op cannot be computed.
    type Error: StdError + 'static;

    /// Level, scale degree and parts of a ciphertext.
    fn ty(&self, ct: &Self::Ct) -> CtTy;
    /// `ckks.add`
    fn add(&mut self, a: &Self::Ct, b: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.sub`
    fn sub(&mut self, a: &Self::Ct, b: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.neg`
    fn neg(&mut self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.add_plain`
    fn add_plain(&mut self, x: &Self::Ct, value: Constant<'_>) -> Result<Self::Ct, Self::Error>;
    /// `ckks.add_scalar`
    fn add_scalar(&mut self, x: &Self::Ct, value: f64) -> Result<Self::Ct, Self::Error>;
    /// `ckks.mul_plain`
    fn mul_plain(&mut self, x: &Self::Ct, value: Constant<'_>, at: u32) -> Result<Self::Ct, Self::Error>;
    /// `ckks.mul_scalar`
    fn mul_scalar(&mut self, x: &Self::Ct, value: f64, at: u32) -> Result<Self::Ct, Self::Error>;
    /// `ckks.mul_int`
    fn mul_int(&mut self, x: &Self::Ct, by: i64) -> Result<Self::Ct, Self::Error>;
    /// `ckks.mul`
    fn mul(&mut self, a: &Self::Ct, b: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.mul` of a ciphertext with itself.
    fn square(&mut self, x: &Self::Ct) -> Result<Self::Ct, Self::Error> {
        self.mul(x, x)
    }
    /// `ckks.relinearize`
    fn relinearize(&mut self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.rescale`
    fn rescale(&mut self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.level_drop`
    fn level_drop(&mut self, x: &Self::Ct, to: u32) -> Result<Self::Ct, Self::Error>;
    /// `ckks.rotate`
    fn rotate(&mut self, x: &Self::Ct, by: i64) -> Result<Self::Ct, Self::Error>;
    /// `ckks.conjugate`
    fn conjugate(&mut self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;
    /// `ckks.linear`
    fn linear(&mut self, x: &Self::Ct, map: LinearMap<'_>) -> Result<Self::Ct, Self::Error>;
    /// `ckks.bootstrap`
    fn bootstrap(&mut self, x: &Self::Ct, to: u32) -> Result<Self::Ct, Self::Error>;
}

/// One op of a run.
#[derive(Clone, Copy)]
pub struct RunStep<'a> {
    /// Position among the ops (inputs not counted).
    pub index: usize,
    /// Number of ops of the run.
    pub total: usize,
    /// The value it defines.
    pub value: Value,
    /// Op, operands, result type, origin.
    pub node: &'a Node<Ckks>,
}

/// Watches a run.
pub trait Observer<B: Backend> {
    /// Before an op is computed: whether the run goes on.
    fn before(&mut self, backend: &mut B, step: RunStep<'_>) -> ControlFlow<()> {
        let _ = (backend, step);
        ControlFlow::Continue(())
    }
    /// After it was computed.
    fn after(&mut self, backend: &mut B, step: RunStep<'_>, result: &B::Ct) {
        let _ = (backend, step, result);
    }
}

/// Watches nothing.
impl<B: Backend> Observer<B> for () {}

/// Why a run stopped.
#[derive(Debug, Error)]
pub enum ExecError<E: StdError + 'static> {
    /// The number of ciphertexts does not fit the function.
    #[error("the program takes {expected} ciphertexts, {found} were given")]
    InputCount {
        /// Parameters of the function.
        expected: usize,
        /// Ciphertexts given.
        found: usize,
    },
    /// An input is at another level than the program expects.
    #[error("input ciphertext {index} is {found}, the program expects {expected}")]
    InputType {
        /// Which input.
        index: usize,
        /// Type of the parameter.
        expected: CtTy,
        /// Type of the ciphertext.
        found: CtTy,
    },
    /// An op failed.
    #[error("`{op}` at {value} (from node `{node}`) failed")]
    Op {
        /// Mnemonic.
        op: &'static str,
        /// The value that was being computed.
        value: Value,
        /// Name of the ONNX node.
        node: String,
        /// The backend's reason.
        source: E,
    },
    /// An op gave a ciphertext of another type than the module states.
    #[error("`{op}` at {value} (from node `{node}`) gave {found}, the program states {expected}")]
    ResultType {
        /// Mnemonic.
        op: &'static str,
        /// The value.
        value: Value,
        /// Name of the ONNX node.
        node: String,
        /// Type in the module.
        expected: CtTy,
        /// Type of the result.
        found: CtTy,
    },
    /// The observer said to stop.
    #[error("the run was cancelled")]
    Cancelled,
}

impl<E: Diagnostic + 'static> Diagnostic for ExecError<E> {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        match self {
            Self::InputCount { .. } | Self::InputType { .. } => {
                Some(Box::new("give the ciphertexts that were encrypted for this plan, one set per run"))
            }
            Self::Op { source, .. } => source.help(),
            Self::Cancelled => Some(Box::new("start it again: what was done is lost, nothing else is")),
            Self::ResultType { .. } => Some(Box::new("this is an error in fhec: report it with the plan")),
        }
    }
}

/// Runs the function of `module`, which must have passed the verifier. Only values that the results depend on are computed.
///
/// # Errors
/// When the inputs do not fit, at the first op that fails or whose result is not of its stated type, or when the observer says to
/// stop.
pub fn execute<B: Backend>(
    module: &Module<Ckks>,
    backend: &mut B,
    inputs: Vec<B::Ct>,
    observer: &mut impl Observer<B>,
) -> Result<Vec<B::Ct>, ExecError<B::Error>> {
    let func = &module.func;
    if inputs.len() != func.params().len() {
        return Err(ExecError::InputCount { expected: func.params().len(), found: inputs.len() });
    }
    let live = func.live();
    let mut uses = remaining_uses(module, &live);
    let mut values: Vec<Option<B::Ct>> = vec![None; func.len()];
    for (index, (&param, ct)) in func.params().iter().zip(inputs).enumerate() {
        let (expected, found) = (*func.ty(param), backend.ty(&ct));
        if expected != found {
            return Err(ExecError::InputType { index, expected, found });
        }
        if uses[param.index()] > 0 {
            values[param.index()] = Some(ct);
        }
    }
    let is_step = |value: Value, node: &Node<Ckks>| live[value.index()] && node.op.as_input().is_none();
    let total = func.iter().filter(|(v, n)| is_step(*v, n)).count();
    let steps = func.iter().filter(|(v, n)| is_step(*v, n)).enumerate();
    for (index, (value, node)) in steps {
        let step = RunStep { index, total, value, node };
        if observer.before(backend, step).is_break() {
            return Err(ExecError::Cancelled);
        }
        let operand = |i: usize| {
            values[node.operands[i].index()].as_ref().expect("operands of live nodes are kept until their last use")
        };
        let result = apply(module, backend, node, operand).map_err(|source| ExecError::Op {
            op: node.op.mnemonic(),
            value,
            node: node.loc.name().to_string(),
            source,
        })?;
        let found = backend.ty(&result);
        if found != node.ty {
            return Err(ExecError::ResultType {
                op: node.op.mnemonic(),
                value,
                node: node.loc.name().to_string(),
                expected: node.ty,
                found,
            });
        }
        for &operand in &node.operands {
            uses[operand.index()] -= 1;
            if uses[operand.index()] == 0 {
                values[operand.index()] = None;
            }
        }
        observer.after(backend, step, &result);
        values[value.index()] = Some(result);
    }
    let mut take = |v: &Value| {
        uses[v.index()] -= 1;
        let slot = &mut values[v.index()];
        let ct = if uses[v.index()] == 0 { slot.take() } else { slot.clone() };
        ct.expect("results are kept")
    };
    Ok(func.results().iter().map(&mut take).collect())
}

/// How often the live part of the function reads each value.
fn remaining_uses(module: &Module<Ckks>, live: &[bool]) -> Vec<u32> {
    let func = &module.func;
    let mut uses = vec![0; func.len()];
    let operands = func.iter().filter(|(v, _)| live[v.index()]).flat_map(|(_, n)| n.operands.iter());
    for v in operands.chain(func.results()) {
        uses[v.index()] += 1;
    }
    uses
}

fn apply<'a, B: Backend>(
    module: &'a Module<Ckks>,
    backend: &mut B,
    node: &'a Node<Ckks>,
    x: impl Fn(usize) -> &'a B::Ct,
) -> Result<B::Ct, B::Error>
where
    B::Ct: 'a,
{
    let constant = |id: ConstId| Constant { id, entry: module.consts.get(id) };
    match &node.op {
        CkksOp::Input { .. } => unreachable!("inputs are no steps"),
        CkksOp::Add {} => backend.add(x(0), x(1)),
        CkksOp::Sub {} => backend.sub(x(0), x(1)),
        CkksOp::Neg {} => backend.neg(x(0)),
        CkksOp::AddPlain { value } => backend.add_plain(x(0), constant(*value)),
        CkksOp::AddScalar { value } => backend.add_scalar(x(0), value.0),
        CkksOp::MulPlain { value, at } => backend.mul_plain(x(0), constant(*value), *at),
        CkksOp::MulScalar { value, at } => backend.mul_scalar(x(0), value.0, *at),
        CkksOp::MulInt { by } => backend.mul_int(x(0), *by),
        CkksOp::Mul {} if node.operands[0] == node.operands[1] => backend.square(x(0)),
        CkksOp::Mul {} => backend.mul(x(0), x(1)),
        CkksOp::Relinearize {} => backend.relinearize(x(0)),
        CkksOp::Rescale {} => backend.rescale(x(0)),
        CkksOp::LevelDrop { to } => backend.level_drop(x(0), *to),
        CkksOp::Rotate { by } => backend.rotate(x(0), *by),
        CkksOp::Conjugate {} => backend.conjugate(x(0)),
        CkksOp::Linear { rotations, giants, diagonals, at } => {
            backend.linear(x(0), LinearMap { rotations, giants, diagonals: constant(*diagonals), at: *at })
        }
        CkksOp::Bootstrap { to } => backend.bootstrap(x(0), *to),
    }
}
