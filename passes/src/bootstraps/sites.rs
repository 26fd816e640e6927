//! Bootstraps of values that no polynomial reads: how each is brought into [-1, 1] and back.
//!
//! The factor is a power of two, 2^-k in front and 2^k behind. Behind it is an integer, which takes no level. In front it is
//! taken by constants where it can be: those of the linear maps that the value is the sum of, of what is added to them, and
//! of the linear maps in front of the products among its terms. Elsewhere it takes a level of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use fhec_ir::attr::F64;
use fhec_ir::slot::SlotOp;
use fhec_ir::{ConstId, ConstPool, Entity, Module, Slot, Tensor, Value};

use super::ranges::RangeSamples;
use crate::lower::small_integer;
use crate::pack::{Packed, TensorKind};

/// Values beyond 2^30 are not bootstrapped: their sums would come close to what a level holds.
const MOST_BITS: u32 = 30;

/// How a tensor is brought into [-1, 1] and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Site {
    /// The factor is 2 to this power.
    bits: u32,
    /// Ops whose constants take the factor; `None` where a multiplication of its own does.
    folded: Option<BTreeSet<Value>>,
}

impl Site {
    /// Levels that bringing the values into [-1, 1] takes.
    pub(super) fn levels(&self) -> u32 {
        u32::from(self.factors()[0].is_some())
    }

    /// What the values are multiplied by before and after the bootstrap, where no constants do that.
    pub(super) fn factors(&self) -> [Option<f64>; 2] {
        let bits = (self.bits > 0).then_some(f64::from(self.bits));
        [bits.filter(|_| self.folded.is_none()).map(|bits| (-bits).exp2()), bits.map(f64::exp2)]
    }
}

/// The tensors that may be bootstrapped although no polynomial reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    sites: BTreeMap<usize, Site>,
    /// Of tensors that would be sites if they were smaller, or finite: the first.
    pub(super) too_large: Option<(usize, f64)>,
}

impl Sites {
    /// The sites of a packed program, by what its values are on `samples`; nothing where it does not run on them.
    pub(super) fn measure(packed: &Packed, samples: &RangeSamples, batch: usize) -> Option<Self> {
        Some(Self::of(packed, &samples.magnitudes(packed, batch)?))
    }

    /// The sites of a packed program whose tensors have these magnitudes.
    ///
    /// What lies inside the sum that another site scales is no site: both would claim its constants, and nothing is gained by
    /// bootstrapping a term in place of the sum.
    fn of(packed: &Packed, magnitudes: &[f64]) -> Self {
        let scaling = Scaling::new(&packed.module);
        let polynomials = packed.tensors.iter().filter(|t| t.kind == TensorKind::Activation);
        let operands = polynomials.flat_map(|t| &t.operands).map(|&o| &packed.tensors[o]);
        // Bootstraps of these need neither a range nor a factor.
        let mut taken: BTreeSet<Value> = operands.flat_map(|t| t.values.iter().copied()).collect();
        let mut out = Self::default();
        for (number, (tensor, &magnitude)) in packed.tensors.iter().zip(magnitudes).enumerate().rev() {
            let is_own = tensor.kind != TensorKind::Input && !tensor.nodes.is_empty();
            if !is_own || !scaling.are_read(&tensor.values) || tensor.values.iter().any(|v| taken.contains(v)) {
                continue;
            }
            let Some(bits) = bits(magnitude) else {
                out.too_large = Some((number, magnitude));
                continue;
            };
            let scaled = scaling.of(&tensor.values).filter(|_| bits > 0);
            let folded = scaled.map(|Scaled { sums, constants }| {
                taken.extend(sums);
                constants
            });
            out.sites.insert(number, Site { bits, folded });
        }
        out
    }

    /// How `tensor` is bootstrapped, if it may be.
    pub(super) fn get(&self, tensor: usize) -> Option<&Site> {
        self.sites.get(&tensor)
    }
}

/// The least power of two that is no less than `magnitude`, and no less than 1.
fn bits(magnitude: f64) -> Option<u32> {
    (0..=MOST_BITS).find(|&bits| magnitude <= f64::from(bits).exp2())
}

/// What takes a factor on a value.
struct Scaled {
    /// The sums and products on the way, whose values take the factor too; those asked for are not among them.
    sums: BTreeSet<Value>,
    /// The ops whose constants take it.
    constants: BTreeSet<Value>,
}

/// The program, and who reads its values.
struct Scaling<'a> {
    module: &'a Module<Slot>,
    readers: Vec<BTreeSet<Value>>,
    results: BTreeSet<Value>,
}

impl<'a> Scaling<'a> {
    fn new(module: &'a Module<Slot>) -> Self {
        let live = module.func.live();
        let mut readers = vec![BTreeSet::new(); module.func.len()];
        for (value, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
            node.operands.iter().for_each(|o| _ = readers[o.index()].insert(value));
        }
        Self { module, readers, results: module.func.results().iter().copied().collect() }
    }

    /// Whether anything reads one of the values.
    fn are_read(&self, values: &[Value]) -> bool {
        values.iter().any(|v| !self.readers[v.index()].is_empty())
    }

    /// What takes a factor on `values`, one tensor's; nothing where constants alone cannot.
    fn of(&self, values: &[Value]) -> Option<Scaled> {
        let mut reached: BTreeSet<Value> = values.iter().copied().collect();
        let mut constants = BTreeSet::new();
        // Of every value reached, through which ops.
        let mut through: BTreeMap<Value, BTreeSet<Value>> = BTreeMap::new();
        let mut open: Vec<Value> = reached.iter().copied().collect();
        while let Some(value) = open.pop() {
            let node = self.module.func.node(value);
            let next: &[Value] = match &node.op {
                SlotOp::Linear { .. } | SlotOp::MulPlain { .. } => {
                    constants.insert(value);
                    &[]
                }
                // An integer takes no level, but its product with the factor would.
                SlotOp::MulScalar { value: by } if small_integer(by.0).is_none() => {
                    constants.insert(value);
                    &[]
                }
                SlotOp::AddPlain { .. } | SlotOp::AddScalar { .. } => {
                    constants.insert(value);
                    &node.operands
                }
                SlotOp::Add {} | SlotOp::Sub {} | SlotOp::Neg {} | SlotOp::Rotate { .. } | SlotOp::MulScalar { .. } => {
                    &node.operands
                }
                SlotOp::Mul {} => self.factor(value, &node.operands)?,
                SlotOp::Input { .. } | SlotOp::Polynomial { .. } | SlotOp::Refresh {} => return None,
            };
            for &operand in next {
                through.entry(operand).or_default().insert(value);
                if reached.insert(operand) {
                    open.push(operand);
                }
            }
        }
        // Nothing else may read what changes.
        let is_own = |(value, by): (&Value, &BTreeSet<Value>)| {
            !self.results.contains(value) && self.readers[value.index()] == *by && !values.contains(value)
        };
        let sums: BTreeSet<Value> = through.keys().copied().collect();
        through.iter().all(is_own).then_some(Scaled { sums, constants })
    }

    /// The factor of a product that nothing else reads, as a slice of its operands; of a square there is none.
    fn factor<'b>(&self, product: Value, operands: &'b [Value]) -> Option<&'b [Value]> {
        let is_own = |factor: &&[Value]| self.readers[factor[0].index()] == BTreeSet::from([product]);
        let is_linear = |factor: &&[Value]| {
            let op = &self.module.func.node(factor[0]).op;
            !matches!(op, SlotOp::Input { .. } | SlotOp::Polynomial { .. })
        };
        operands.chunks(1).filter(|_| operands[0] != operands[1]).find(|f| is_own(f) && is_linear(f))
    }
}

/// What of a program is bootstrapped: its values, with the powers of two that they take before and after, and the ops that
/// take some of these.
#[derive(Default)]
pub(super) struct Refreshed {
    values: BTreeMap<Value, Site>,
    scaled: BTreeMap<Value, u32>,
}

impl Refreshed {
    /// Bootstraps `values` as well.
    pub(super) fn add(&mut self, values: &[Value], site: &Site) {
        self.values.extend(values.iter().map(|v| (*v, site.clone())));
        self.scaled.extend(site.folded.iter().flatten().map(|v| (*v, site.bits)));
    }

    /// The module with every value refreshed for all that read it.
    pub(super) fn apply(&self, module: &Module<Slot>) -> Module<Slot> {
        let built: Result<_, Infallible> = module.rebuild(|out, value, node, operands| {
            let mut op = node.op.clone();
            if let Some(&bits) = self.scaled.get(&value) {
                op = scaled(&mut out.consts, op, (-f64::from(bits)).exp2());
            }
            let mut made = out.func.push_unchecked(op, operands, node.ty, node.loc.clone());
            let Some(site) = self.values.get(&value) else { return Ok(made) };
            let push = |op| {
                made = out.func.push_unchecked(op, [made].into_iter().collect(), node.ty, node.loc.clone());
            };
            let [before, after] = site.factors().map(|f| f.map(|value| SlotOp::MulScalar { value: F64(value) }));
            before.into_iter().chain([SlotOp::Refresh {}]).chain(after).for_each(push);
            Ok(made)
        });
        match built {
            Ok(module) => module,
            Err(never) => match never {},
        }
    }
}

/// The op with its constant times `factor`.
fn scaled(consts: &mut ConstPool, op: SlotOp, factor: f64) -> SlotOp {
    let mut times = |id: ConstId| {
        let (name, tensor) = (consts.get(id).name.clone(), consts.tensor(id));
        let data: Vec<f32> = tensor.data().iter().map(|&x| (f64::from(x) * factor) as f32).collect();
        let scaled = Tensor::new(tensor.shape().clone(), data);
        consts.insert(&name, scaled)
    };
    match op {
        SlotOp::Linear { rotations, giants, diagonals } => {
            SlotOp::Linear { rotations, giants, diagonals: times(diagonals) }
        }
        SlotOp::MulPlain { value } => SlotOp::MulPlain { value: times(value) },
        SlotOp::AddPlain { value } => SlotOp::AddPlain { value: times(value) },
        SlotOp::MulScalar { value } => SlotOp::MulScalar { value: F64(value.0 * factor) },
        SlotOp::AddScalar { value } => SlotOp::AddScalar { value: F64(value.0 * factor) },
        other => other,
    }
}
