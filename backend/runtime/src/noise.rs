//! Runs a program in the clear twice at once: exactly, and with the error that encryption would add.
//!
//! The error is drawn from the model in [`NoiseModel`] with a seed, so a run can be repeated. After every op the two are
//! compared, and values that leave the range their ciphertext can hold, or the interval of the polynomial that reads
//! them, are reported.

mod intervals;
mod model;
mod random;

pub use intervals::chebyshev_arguments;
pub use model::NoiseModel;
pub use random::NoiseRng;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::ckks::exec::{Backend, ClearBackend, ClearCt, ClearError, Constant, LinearMap, Observer, Step};
use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Entity, Module, OpInfo};
use serde::Serialize;

use crate::keys::rotation_in;

/// A value without and with error.
#[derive(Clone, Debug)]
pub struct NoisyCt {
    /// What the program computes.
    pub exact: ClearCt,
    /// What the decrypted ciphertext would hold.
    pub noisy: ClearCt,
}

/// Adds modelled error to every op.
#[derive(Clone, Debug)]
pub struct NoiseBackend<'a> {
    model: &'a NoiseModel,
    rng: NoiseRng,
}

impl<'a> NoiseBackend<'a> {
    /// A backend that draws from stream `stream` of `seed`: one stream per image.
    pub fn new(model: &'a NoiseModel, seed: u64, stream: u64) -> Self {
        Self { model, rng: NoiseRng::new(seed, stream) }
    }

    /// A fresh encryption of `slots`.
    pub fn encrypt(&mut self, slots: Vec<f64>, level: u32) -> NoisyCt {
        let exact = ClearCt { slots, ty: CtTy::at(level) };
        let mut noisy = exact.clone();
        self.disturb(&mut noisy.slots, self.model.fresh());
        NoisyCt { exact, noisy }
    }

    fn disturb(&mut self, slots: &mut [f64], deviation: f64) {
        slots.iter_mut().for_each(|x| *x += deviation * self.rng.gaussian());
    }

    /// Applies `op` to both values, then adds error to the noisy one.
    fn unary(
        &mut self,
        x: &NoisyCt,
        op: impl Fn(&mut ClearBackend, &ClearCt) -> Result<ClearCt, ClearError>,
        deviation: impl FnOnce(&ClearCt) -> f64,
    ) -> Result<NoisyCt, ClearError> {
        let exact = op(&mut ClearBackend, &x.exact)?;
        let mut noisy = op(&mut ClearBackend, &x.noisy)?;
        let deviation = deviation(&noisy);
        if deviation > 0.0 {
            self.disturb(&mut noisy.slots, deviation);
        }
        Ok(NoisyCt { exact, noisy })
    }

    fn binary(
        a: &NoisyCt,
        b: &NoisyCt,
        op: impl Fn(&mut ClearBackend, &ClearCt, &ClearCt) -> Result<ClearCt, ClearError>,
    ) -> Result<NoisyCt, ClearError> {
        let exact = op(&mut ClearBackend, &a.exact, &b.exact)?;
        Ok(NoisyCt { exact, noisy: op(&mut ClearBackend, &a.noisy, &b.noisy)? })
    }
}

/// Slots rotated to the left.
fn rotated(slots: &[f64], by: u32) -> Vec<f64> {
    let mut out = slots.to_vec();
    out.rotate_left(by as usize);
    out
}

impl Backend for NoiseBackend<'_> {
    type Ct = NoisyCt;
    type Error = ClearError;

    fn ty(&self, ct: &NoisyCt) -> CtTy {
        ct.exact.ty
    }
    fn add(&mut self, a: &NoisyCt, b: &NoisyCt) -> Result<NoisyCt, ClearError> {
        Self::binary(a, b, |c, a, b| c.add(a, b))
    }
    fn sub(&mut self, a: &NoisyCt, b: &NoisyCt) -> Result<NoisyCt, ClearError> {
        Self::binary(a, b, |c, a, b| c.sub(a, b))
    }
    fn neg(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        self.unary(x, |c, x| c.neg(x), |_| 0.0)
    }
    fn add_plain(&mut self, x: &NoisyCt, value: Constant<'_>) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        self.unary(x, |c, x| c.add_plain(x, value), |y| model.encode(y.slots.len(), y.ty.sd))
    }
    fn add_scalar(&mut self, x: &NoisyCt, value: f64) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        self.unary(x, |c, x| c.add_scalar(x, value), |y| model.encode_scalar(y.ty.sd))
    }
    fn mul_plain(&mut self, x: &NoisyCt, value: Constant<'_>, at: u32) -> Result<NoisyCt, ClearError> {
        let mut out = self.unary(x, |c, x| c.mul_plain(x, value, at), |_| 0.0)?;
        let deviation = self.model.encode(x.noisy.slots.len(), 1);
        for (y, &x) in out.noisy.slots.iter_mut().zip(&x.noisy.slots) {
            *y += deviation * self.rng.gaussian() * x;
        }
        Ok(out)
    }
    fn mul_scalar(&mut self, x: &NoisyCt, value: f64, at: u32) -> Result<NoisyCt, ClearError> {
        // The rounded factor is the same number in every slot.
        let factor = value + self.model.encode_scalar(1) * self.rng.gaussian();
        let exact = ClearBackend.mul_scalar(&x.exact, value, at)?;
        Ok(NoisyCt { exact, noisy: ClearBackend.mul_scalar(&x.noisy, factor, at)? })
    }
    fn mul_int(&mut self, x: &NoisyCt, by: i64) -> Result<NoisyCt, ClearError> {
        self.unary(x, |c, x| c.mul_int(x, by), |_| 0.0)
    }
    fn mul(&mut self, a: &NoisyCt, b: &NoisyCt) -> Result<NoisyCt, ClearError> {
        Self::binary(a, b, |c, a, b| c.mul(a, b))
    }
    fn relinearize(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        self.unary(x, |c, x| c.relinearize(x), |y| model.key_switch(y.ty))
    }
    fn rescale(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        self.unary(x, |c, x| c.rescale(x), |y| model.rescale(y.ty.parts))
    }
    fn level_drop(&mut self, x: &NoisyCt, to: u32) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        let factor = 1.0 + model.level_drop_factor() * self.rng.gaussian();
        let mut out = self.unary(x, |c, x| c.level_drop(x, to), |_| model.rescale(2))?;
        out.noisy.slots.iter_mut().for_each(|x| *x *= factor);
        Ok(out)
    }
    fn rotate(&mut self, x: &NoisyCt, by: i64) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        let moves = rotation_in(by, x.exact.slots.len()) != 0;
        self.unary(x, |c, x| c.rotate(x, by), |y| if moves { model.key_switch(y.ty) } else { 0.0 })
    }
    fn conjugate(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        self.unary(x, |c, x| c.conjugate(x), |y| model.key_switch(y.ty))
    }
    fn linear(&mut self, x: &NoisyCt, map: LinearMap<'_>) -> Result<NoisyCt, ClearError> {
        let exact = ClearBackend.linear(&x.exact, map)?;
        let n = exact.slots.len();
        // Baby steps: one rotated copy each, with its own key-switching error at the scale of the operand.
        let mut babies: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        let switch = self.model.key_switch(CtTy::at(map.at));
        for (&rotation, &giant) in map.rotations.iter().zip(map.giants) {
            let baby = rotation_in(rotation - giant, n);
            if let Entry::Vacant(free) = babies.entry(baby) {
                let mut copy = rotated(&x.noisy.slots, baby);
                if baby != 0 {
                    self.disturb(&mut copy, switch);
                }
                free.insert(copy);
            }
        }
        // Giant steps rotate partial sums, that is, read the rotated copies further on; their key switches are at the
        // square of the scale and vanish. The rounded diagonals multiply the operand.
        let mut slots = vec![0.0; n];
        let mut energy = vec![0.0; n];
        for (rotation, giant, diagonal) in map.terms() {
            let copy = &babies[&rotation_in(rotation - giant, n)];
            let shift = rotation_in(giant, n) as usize;
            let operand = copy[shift..].iter().chain(&copy[..shift]);
            for (((y, e), &d), &x) in slots.iter_mut().zip(&mut energy).zip(diagonal).zip(operand) {
                *y += f64::from(d) * x;
                *e += x * x;
            }
        }
        let encode = self.model.encode(n, 1);
        for (y, e) in slots.iter_mut().zip(energy) {
            *y += encode * e.sqrt() * self.rng.gaussian();
        }
        let ty = exact.ty;
        Ok(NoisyCt { exact, noisy: ClearCt { slots, ty } })
    }
    fn bootstrap(&mut self, x: &NoisyCt, to: u32) -> Result<NoisyCt, ClearError> {
        let model = self.model;
        self.unary(x, |c, x| c.bootstrap(x, to), |_| model.bootstrap())
    }
}

/// What a value left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// The range that the modulus of its level can hold: the encrypted result would be garbage.
    Modulus,
    /// The interval of the polynomial that reads it: the polynomial is wrong there.
    Interval,
    /// The interval of bootstrapping, [-1, 1].
    Bootstrap,
}

/// A value that left its range in some image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeEscape {
    /// The value, as numbered in the plan.
    pub value: String,
    /// The model's node.
    pub node: String,
    /// What it left.
    pub range: Range,
    /// The largest magnitude that is allowed.
    pub limit: f64,
    /// The largest magnitude met.
    pub magnitude: f64,
    /// Slots beyond the limit, over all images.
    pub slots: u64,
    /// Images with such a slot.
    pub images: u64,
}

/// The error of one op over all images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpError {
    /// The value, as numbered in the plan.
    pub value: String,
    /// Mnemonic.
    pub op: &'static str,
    /// The model's node.
    pub node: String,
    /// Level of the result.
    pub level: u32,
    /// Largest magnitude of the exact result.
    pub magnitude: f64,
    /// Largest error.
    pub max_error: f64,
    /// Root of the mean square error.
    pub rms_error: f64,
    #[serde(skip)]
    sum: f64,
    #[serde(skip)]
    count: u64,
}

/// Errors and range escapes of a run, or of many runs of one plan.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NoiseReport {
    /// Images in this report.
    pub images: u64,
    /// One entry per op in program order.
    pub ops: Vec<OpError>,
    /// Values out of range, in program order.
    pub escapes: Vec<RangeEscape>,
}

impl NoiseReport {
    /// Adds the report of further images of the same plan.
    pub fn merge(&mut self, other: Self) {
        self.images += other.images;
        if self.ops.is_empty() {
            self.ops = other.ops;
        } else {
            for (a, b) in self.ops.iter_mut().zip(other.ops) {
                a.magnitude = a.magnitude.max(b.magnitude);
                a.max_error = a.max_error.max(b.max_error);
                a.sum += b.sum;
                a.count += b.count;
                a.rms_error = (a.sum / a.count.max(1) as f64).sqrt();
            }
        }
        for escape in other.escapes {
            match self.escapes.iter_mut().find(|e| e.value == escape.value && e.range == escape.range) {
                Some(e) => {
                    e.magnitude = e.magnitude.max(escape.magnitude);
                    e.slots += escape.slots;
                    e.images += escape.images;
                }
                None => self.escapes.push(escape),
            }
        }
        self.escapes.sort_by_key(|e| (e.value.trim_start_matches('%').parse::<u64>().unwrap_or(0), e.range));
    }
}

/// Watches a simulated run and writes its report.
#[derive(Debug)]
pub struct NoiseObserver<'a> {
    model: &'a NoiseModel,
    arguments: &'a BTreeSet<usize>,
    report: NoiseReport,
}

impl<'a> NoiseObserver<'a> {
    /// An observer; `arguments` are those of [`chebyshev_arguments`].
    pub fn new(model: &'a NoiseModel, arguments: &'a BTreeSet<usize>) -> Self {
        Self { model, arguments, report: NoiseReport { images: 1, ..NoiseReport::default() } }
    }
    /// Checks the inputs, which no op computes.
    pub fn inputs(&mut self, module: &Module<Ckks>, inputs: &[NoisyCt]) {
        for (&value, ct) in module.func.params().iter().zip(inputs) {
            let node = module.func.node(value).loc.name();
            self.ranges(value.index(), node, ct);
        }
    }
    /// The report.
    pub fn finish(self) -> NoiseReport {
        self.report
    }

    fn ranges(&mut self, value: usize, node: &str, ct: &NoisyCt) {
        self.range(value, node, &ct.noisy.slots, Range::Modulus, self.model.capacity(ct.exact.ty));
        if self.arguments.contains(&value) {
            self.range(value, node, &ct.exact.slots, Range::Interval, 1.0);
        }
    }

    fn range(&mut self, value: usize, node: &str, slots: &[f64], range: Range, limit: f64) {
        let beyond = slots.iter().filter(|x| x.is_nan() || x.abs() > limit).count() as u64;
        if beyond > 0 {
            self.report.escapes.push(RangeEscape {
                value: format!("%{value}"),
                node: node.to_string(),
                range,
                limit,
                magnitude: slots.iter().fold(0.0, |m: f64, x| m.max(x.abs())),
                slots: beyond,
                images: 1,
            });
        }
    }
}

impl<'b> Observer<NoiseBackend<'b>> for NoiseObserver<'_> {
    fn after(&mut self, _: &mut NoiseBackend<'b>, step: Step<'_>, ct: &NoisyCt) {
        let node = step.node.loc.name();
        let errors = || ct.exact.slots.iter().zip(&ct.noisy.slots).map(|(x, y)| (x - y).abs());
        let sum: f64 = errors().map(|e| e * e).sum();
        let count = ct.exact.slots.len() as u64;
        self.report.ops.push(OpError {
            value: step.value.to_string(),
            op: step.node.op.mnemonic(),
            node: node.to_string(),
            level: ct.exact.ty.level,
            magnitude: ct.exact.slots.iter().fold(0.0, |m: f64, x| m.max(x.abs())),
            max_error: errors().fold(0.0, f64::max),
            rms_error: (sum / count.max(1) as f64).sqrt(),
            sum,
            count,
        });
        self.ranges(step.value.index(), node, ct);
        if matches!(step.node.op, CkksOp::Bootstrap { .. }) {
            self.range(step.node.operands[0].index(), node, &ct.exact.slots, Range::Bootstrap, 1.0);
        }
    }
}
