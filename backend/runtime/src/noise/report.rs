//! A simulated run reports the errors of every op and the values out of range.

use std::collections::BTreeSet;

use fhec_ir::ckks::CkksOp;
use fhec_ir::ckks::exec::{Observer, RunStep};
use fhec_ir::{Ckks, Entity, Module, OpInfo};
use serde::Serialize;

use super::backend::{LANES, Lanes, NoiseBackend, NoisyCt};
use super::histogram::ArgumentHistogram;
use super::model::NoiseModel;

/// What a value left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// The range that the modulus of its level can hold: the encrypted result would be garbage.
    Modulus,
    /// The interval of the polynomial that reads it: the polynomial is wrong there.
    Interval,
    /// The interval of bootstrapping, [-1, 1], at a bootstrap's input.
    Bootstrap,
}

/// An out-of-range value: it left its range in some image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeEscape {
    /// The value, as numbered in the plan.
    pub value: String,
    /// The model's node; for [`Range::Bootstrap`] that of the bootstrap.
    pub node: String,
    /// What it left.
    pub range: Range,
    /// The largest magnitude that is allowed.
    pub limit: f64,
    /// The largest magnitude met; infinite, in JSON null, for what is not finite.
    pub magnitude: f64,
    /// Slots beyond the limit, over all images.
    pub slots: u64,
    /// Images with such a slot.
    pub images: u64,
}

/// All values of one node that left one kind of range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerEscape {
    /// The model's node.
    pub node: String,
    /// What was left.
    pub range: Range,
    /// Images in which one of its values escaped.
    pub images: u64,
    /// Slots beyond their limit, over all values and images.
    pub slots: u64,
    /// The largest magnitude as a multiple of the limit; infinite, in JSON null, for what is not finite.
    pub multiple: f64,
}

impl LayerEscape {
    /// What happened in one of `runs` runs, of `batch` images each, in a sentence.
    pub fn warning(&self, runs: usize, batch: usize) -> String {
        let Self { node, range, images, slots, multiple } = self;
        let unit = if batch == 1 { "images" } else { "runs" };
        let what = match range {
            Range::Modulus => "a value leaves the ciphertext's modulus",
            Range::Interval => "the argument of the polynomial leaves its interval",
            Range::Bootstrap => "the bootstrap input leaves [-1, 1]",
        };
        // One out-of-range value feeds the next, up to numbers of hundreds of digits.
        let worst = match *multiple {
            x if x < 1e4 => format!("{x:.3}"),
            x if x.is_finite() => format!("{x:.1e}"),
            _ => "infinitely many".into(),
        };
        format!("`{node}`: {what}: {slots} values in {images} of {runs} {unit}, at worst {worst} times the limit")
    }
}

/// The error of one op over all images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpNoise {
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

/// Errors of the elements of all results, before they are rounded to single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ResultError {
    /// The largest.
    pub max: f64,
    #[serde(skip)]
    sum: f64,
    #[serde(skip)]
    count: u64,
}

impl ResultError {
    /// Adds the error of one element.
    pub(crate) fn add(&mut self, error: f64) {
        self.max = larger(self.max, error.abs());
        self.sum += error * error;
        self.count += 1;
    }

    /// The root of the mean square error.
    pub fn rms(&self) -> f64 {
        (self.sum / self.count.max(1) as f64).sqrt()
    }

    fn merge(&mut self, other: Self) {
        self.max = larger(self.max, other.max);
        self.sum += other.sum;
        self.count += other.count;
    }
}

/// The larger of two magnitudes; what is not a number is larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

/// Errors and out-of-range values of a run, or of many runs of one plan.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NoiseReport {
    /// Images in this report.
    pub images: u64,
    /// Errors of the results; none in a run without noise.
    pub results: ResultError,
    /// One entry per op in program order; empty where a run without noise was asked for.
    pub ops: Vec<OpNoise>,
    /// Values out of range, in program order.
    pub escapes: Vec<RangeEscape>,
    /// The same by node.
    pub layers: Vec<LayerEscape>,
    /// What the arguments of polynomials are, in program order.
    pub arguments: Vec<ArgumentHistogram>,
}

impl NoiseReport {
    /// Adds the report of further images of the same plan.
    pub fn merge(&mut self, other: Self) {
        self.images += other.images;
        self.results.merge(other.results);
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
        if self.arguments.is_empty() {
            self.arguments = other.arguments;
        } else {
            self.arguments.iter_mut().zip(&other.arguments).for_each(|(own, new)| own.merge(new));
        }
        for e in other.escapes {
            match self.escapes.iter_mut().find(|own| (&own.value, own.range) == (&e.value, e.range)) {
                Some(own) => {
                    own.magnitude = own.magnitude.max(e.magnitude);
                    own.slots += e.slots;
                    own.images += e.images;
                }
                None => self.escapes.push(e),
            }
        }
        for e in other.layers {
            match self.layers.iter_mut().find(|own| (&own.node, own.range) == (&e.node, e.range)) {
                Some(own) => {
                    own.multiple = own.multiple.max(e.multiple);
                    own.slots += e.slots;
                    own.images += e.images;
                }
                None => self.layers.push(e),
            }
        }
        self.escapes.sort_by_key(|e| (e.value.trim_start_matches('%').parse::<u64>().unwrap_or(0), e.range));
        let escapes = &self.escapes;
        self.layers.sort_by_key(|l| escapes.iter().position(|e| (&e.node, e.range) == (&l.node, l.range)));
    }
}

/// Watches a simulated run and writes its report.
#[derive(Debug)]
pub struct NoiseObserver<'a> {
    model: &'a NoiseModel,
    arguments: &'a BTreeSet<usize>,
    /// Lanes that hold an image.
    images: usize,
    report: NoiseReport,
    /// Images of every entry of the report's layers.
    escaped: Vec<Lanes<bool>>,
}

impl<'a> NoiseObserver<'a> {
    /// An observer of a run over the first `images` lanes; `arguments` are those of
    /// [`chebyshev_arguments`](super::chebyshev_arguments).
    pub fn new(model: &'a NoiseModel, arguments: &'a BTreeSet<usize>, images: usize) -> Self {
        let images = images.min(LANES);
        let report = NoiseReport { images: images as u64, ..NoiseReport::default() };
        Self { model, arguments, images, report, escaped: Vec::new() }
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
        self.range(value, node, ct, Range::Modulus, self.model.capacity(ct.ty));
        if self.arguments.contains(&value) {
            self.range(value, node, ct, Range::Interval, 1.0);
            let mut histogram = ArgumentHistogram::new(value, node);
            histogram.add(&ct.exact.slots, self.images);
            self.report.arguments.push(histogram);
        }
    }

    /// Values are compared without their errors, which are far smaller than any limit unless a value has left one before.
    fn range(&mut self, value: usize, node: &str, ct: &NoisyCt, range: Range, limit: f64) {
        let magnitude = |lane: usize| ct.exact.magnitude[lane];
        let beyond: Lanes<bool> = std::array::from_fn(|lane| lane < self.images && magnitude(lane) > limit);
        if beyond == [false; LANES] {
            return;
        }
        let escaped =
            |x: &Lanes<f64>| (0..LANES).filter(|&i| beyond[i] && (x[i].is_nan() || x[i].abs() > limit)).count();
        let slots = ct.exact.slots.iter().map(escaped).sum::<usize>() as u64;
        let worst = (0..self.images).map(magnitude).fold(0.0, f64::max);
        self.report.escapes.push(RangeEscape {
            value: format!("%{value}"),
            node: node.to_string(),
            range,
            limit,
            magnitude: worst,
            slots,
            images: count(&beyond),
        });
        let layers = &mut self.report.layers;
        let known = layers.iter().position(|l| l.node == node && l.range == range);
        let at = known.unwrap_or_else(|| {
            layers.push(LayerEscape { node: node.to_string(), range, images: 0, slots: 0, multiple: 0.0 });
            self.escaped.push([false; LANES]);
            layers.len() - 1
        });
        self.escaped[at].iter_mut().zip(beyond).for_each(|(all, new)| *all |= new);
        let layer = &mut layers[at];
        layer.images = count(&self.escaped[at]);
        layer.slots += slots;
        layer.multiple = layer.multiple.max(worst / limit);
    }
}

fn count(images: &Lanes<bool>) -> u64 {
    images.iter().filter(|&&escaped| escaped).count() as u64
}

/// The largest error and the sum of squares of every image. What is not a number counts as infinite.
fn errors(ct: &NoisyCt) -> (Lanes<f32>, Lanes<f64>) {
    let (mut largest, mut sum) = ([0.0f32; LANES], [0.0; LANES]);
    // Sums of a few hundred numbers in single precision lose nothing that shows in a mean.
    for block in ct.error.chunks(256) {
        let mut part = [0.0f32; LANES];
        for e in block {
            for ((largest, part), e) in largest.iter_mut().zip(&mut part).zip(e) {
                let size = if e.is_nan() { f32::INFINITY } else { e.abs() };
                *largest = if size > *largest { size } else { *largest };
                *part += e * e;
            }
        }
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part));
    }
    (largest, sum)
}

impl<'b> Observer<NoiseBackend<'b>> for NoiseObserver<'_> {
    fn after(&mut self, _: &mut NoiseBackend<'b>, step: RunStep<'_>, ct: &NoisyCt) {
        let node = step.node.loc.name();
        if !ct.error.is_empty() {
            let (largest, sums) = errors(ct);
            let largest = largest[..self.images].iter().fold(0.0f32, |m, &e| m.max(e));
            let sum: f64 = sums[..self.images].iter().sum();
            let count = (ct.error.len() * self.images) as u64;
            self.report.ops.push(OpNoise {
                value: step.value.to_string(),
                op: step.node.op.mnemonic(),
                node: node.to_string(),
                level: ct.ty.level,
                magnitude: ct.exact.magnitude[..self.images].iter().fold(0.0, |m: f64, &x| m.max(x)),
                max_error: f64::from(largest),
                rms_error: (sum / count.max(1) as f64).sqrt(),
                sum,
                count,
            });
        }
        self.ranges(step.value.index(), node, ct);
        // A bootstrap gives back the slots it reads.
        if matches!(step.node.op, CkksOp::Bootstrap { .. }) {
            self.range(step.node.operands[0].index(), node, ct, Range::Bootstrap, 1.0);
        }
    }
}
