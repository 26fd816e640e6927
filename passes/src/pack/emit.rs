//! The slot ops of a graph whose layouts are chosen.

use std::sync::Arc;

use fhec_ir::attr::F64;
use fhec_ir::nn::Basis;
use fhec_ir::slot::{SlotOp, SlotTy};
use fhec_ir::{Hashed, Issue, Loc, Module, Nn, OpInfo, Port, Slot, Tensor, Value};
use rayon::prelude::*;

use super::affine::AffineMap;
use super::cost::LinearCost;
use super::graph::{Rows, Source, SourceGraph, SourceKind};
use super::layout::Placing;
use super::sparse::Sparse;
use super::transform::{self, Diagonals};
use super::{PackedTensor, TensorKind};
use crate::approx::{Interval, Polynomial};

type Result<T> = std::result::Result<T, Issue>;

/// A source in slots.
#[derive(Clone)]
struct Emitted {
    /// One value per ciphertext.
    values: Vec<Value>,
    /// What slots without an element hold.
    fill: f64,
}

/// A term of a linear source: what is read, and how.
struct SourceTerm {
    source: usize,
    read: Read,
}

/// How the slots of a term are read.
enum Read {
    /// In place, times a number.
    Scaled(f64),
    /// Through transforms of diagonals that rotate modulo `modulus`.
    Through { modulus: usize, transforms: Vec<Transform> },
}

/// The transform from one ciphertext of the operand to one of the result.
struct Transform {
    from: usize,
    to: usize,
    /// Steps of the diagonals, unless all slots stay where they are.
    steps: Option<(Vec<i64>, Vec<i64>)>,
    diagonals: Hashed,
}

/// The terms of every linear source. They are independent of each other, and most of the work of packing.
fn terms(graph: &SourceGraph, placements: &[Placing], slots: usize, cost: &LinearCost) -> Vec<Vec<SourceTerm>> {
    let of_term = |map: &Sparse, from: &Placing, to: &Placing| {
        if let Some(factor) = map.uniform_diagonal().filter(|_| from == to) {
            return Read::Scaled(factor);
        }
        let plan = transform::plan(map, from, to, cost);
        let slotwise = plan.is_slotwise(from);
        let transform = |block: &transform::Block| {
            let Diagonals { rotations, giants, rows } = plan.diagonals(block, map, from, to);
            let tensor = match slotwise {
                true => Tensor::new([slots], rows),
                false => Tensor::new([rotations.len(), slots], rows),
            };
            let steps = (!slotwise).then_some((rotations, giants));
            Transform { from: block.from, to: block.to, steps, diagonals: tensor.into() }
        };
        Read::Through { modulus: plan.modulus, transforms: plan.blocks.iter().map(transform).collect() }
    };
    let of_source = |(number, source): (usize, &Source)| match &source.kind {
        SourceKind::Linear { value, .. } => {
            let term = |(source, map): &(usize, Arc<Sparse>)| SourceTerm {
                source: *source,
                read: of_term(map, &placements[*source], &placements[number]),
            };
            value.terms.iter().map(term).collect()
        }
        SourceKind::Input(_) | SourceKind::Polynomial { .. } | SourceKind::Square(_) | SourceKind::Product(..) => {
            Vec::new()
        }
    };
    graph.sources.par_iter().enumerate().map(of_source).collect()
}

struct SlotEmitter<'a> {
    placements: &'a [Placing],
    slots: usize,
    out: Module<Slot>,
    emitted: Vec<Emitted>,
}

/// The slot module of `graph`, whose sources lie as `placements` say, for the ports of `nn`; and its tensors.
pub(super) fn emit(
    nn: &Module<Nn>,
    graph: &SourceGraph,
    placements: &[Placing],
    slots: usize,
    cost: &LinearCost,
) -> Result<(Module<Slot>, Vec<PackedTensor>)> {
    let out = Module::new(nn.func.name.clone());
    let mut e = SlotEmitter { placements, slots, out, emitted: Vec::new() };
    let mut tensors = Vec::with_capacity(graph.sources.len());
    let terms = terms(graph, placements, slots, cost);
    for (number, (source, terms)) in graph.sources.iter().zip(&terms).enumerate() {
        let loc = &source.loc;
        let start = e.out.func.len();
        let emitted = match &source.kind {
            SourceKind::Input(index) => {
                let placement = &placements[number];
                let parameter = |_| e.out.func.add_param(SlotTy(slots), loc.clone());
                let values = (0..placement.ciphertexts).map(parameter).collect();
                let (shape, layout) = (source.shape.clone(), placement.to_layout(&source.shape));
                let described = nn.inputs.get(*index);
                let name = described.map_or_else(|| format!("input{index}"), |port| port.name.clone());
                e.out.inputs.push(Port {
                    name,
                    shape,
                    layout,
                    range: described.and_then(|port| port.range),
                    ..Default::default()
                });
                Emitted { values, fill: 0.0 }
            }
            SourceKind::Linear { value, .. } => e.linear(number, value, terms, loc)?,
            SourceKind::Polynomial { of, polynomials, rows } => e.polynomial(number, *of, polynomials, *rows, loc)?,
            SourceKind::Square(of) => e.product(*of, *of, loc)?,
            SourceKind::Product(a, b) => e.product(*a, *b, loc)?,
        };
        let kind = match &source.kind {
            SourceKind::Input(_) => TensorKind::Input,
            SourceKind::Linear { .. } | SourceKind::Product(..) => TensorKind::Fixed,
            SourceKind::Polynomial { .. } | SourceKind::Square(_) => TensorKind::Activation,
        };
        let values = emitted.values.clone();
        let (operands, nodes) = (source.kind.operands(), start..e.out.func.len());
        tensors.push(PackedTensor { kind, operands, values, nodes, origin: source.origin, loc: loc.clone() });
        e.emitted.push(emitted);
    }
    let mut results = Vec::new();
    for (at, port) in &graph.results {
        let shape = graph.sources[*at].shape.clone();
        let layout = placements[*at].to_layout(&shape);
        e.out.outputs.push(Port { shape, layout, ..port.clone() });
        results.extend(e.emitted[*at].values.iter().copied());
    }
    e.out.func.set_results(results);
    Ok((e.out, tensors))
}

/// A constant's name: where it belongs and what it is.
fn hint(loc: &Loc, what: &str) -> String {
    match &loc.onnx {
        Some(name) => format!("{}.{what}", name.trim_matches('/').replace('/', ".")),
        None => what.to_string(),
    }
}

impl SlotEmitter<'_> {
    /// Appends a slot op; the packer's own ops are well typed.
    fn push(&mut self, op: SlotOp, operands: impl IntoIterator<Item = Value>, loc: &Loc) -> Result<Value> {
        let name = op.mnemonic();
        self.out
            .push(op, operands, loc.clone())
            .map_err(|e| Issue::new(loc, name, format!("packing made an ill-typed op: {e}"), "report this as a bug"))
    }

    /// The element-wise product of two sources of one layout.
    fn product(&mut self, a: usize, b: usize, loc: &Loc) -> Result<Emitted> {
        let (a, b) = (self.emitted[a].clone(), self.emitted[b].clone());
        let pairs = a.values.iter().zip(&b.values);
        let values = pairs.map(|(&a, &b)| self.push(SlotOp::Mul {}, [a, b], loc)).collect::<Result<Vec<_>>>()?;
        Ok(Emitted { values, fill: a.fill * b.fill })
    }

    /// The polynomials, on `[-1, 1]`, of what source `of` holds.
    fn polynomial(
        &mut self,
        number: usize,
        of: usize,
        polynomials: &[Polynomial],
        rows: Rows,
        loc: &Loc,
    ) -> Result<Emitted> {
        let Emitted { values, fill } = self.emitted[of].clone();
        let degree = polynomials.iter().map(Polynomial::degree).max().unwrap_or(0);
        let mut outs = Vec::with_capacity(values.len());
        for (ct, value) in values.into_iter().enumerate() {
            let (coeffs, vectors) = match polynomials {
                [one] => (one.coefficients().iter().map(|&c| F64(c)).collect(), None),
                many => {
                    let data = self.coefficients(number, many, degree, rows, ct);
                    let tensor = Tensor::new([degree + 1, self.slots], data);
                    (Vec::new(), Some(self.out.consts.insert(&hint(loc, "poly"), tensor)))
                }
            };
            let op = SlotOp::Polynomial { basis: Basis::Chebyshev, lo: F64(-1.0), hi: F64(1.0), coeffs, vectors };
            outs.push(self.push(op, [value], loc)?);
        }
        let fill = match polynomials {
            [one] => Polynomial::new(Interval::UNIT, one.coefficients().to_vec()).map_or(0.0, |p| p.eval(fill)),
            _ => 0.0,
        };
        Ok(Emitted { values: outs, fill })
    }

    /// Coefficients `[degree + 1, n]` of a polynomial per channel; zero where no element lies.
    fn coefficients(&self, number: usize, many: &[Polynomial], degree: usize, rows: Rows, ct: usize) -> Vec<f32> {
        let (n, placement) = (self.slots, &self.placements[number]);
        let mut data = vec![0.0f32; (degree + 1) * n];
        for (e, &a) in placement.addresses.iter().enumerate() {
            if a as usize / n != ct {
                continue;
            }
            for (k, &c) in many[rows.of(e)].coefficients().iter().enumerate() {
                for s in (a as usize % n..n).step_by(placement.period) {
                    data[k * n + s] = c as f32;
                }
            }
        }
        data
    }

    /// A linear source: transforms and bias.
    fn linear(&mut self, number: usize, value: &AffineMap, terms: &[SourceTerm], loc: &Loc) -> Result<Emitted> {
        let to = &self.placements[number];
        if let Some((1.0, source)) = value.as_scaled_source()
            && self.placements[source] == *to
        {
            return Ok(self.emitted[source].clone());
        }
        let values = (0..to.ciphertexts)
            .map(|ct| {
                let sum = self.sum(terms, ct, loc)?;
                self.bias(value, to, terms, ct, sum, loc)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Emitted { values, fill: 0.0 })
    }

    /// Σ map · source for ciphertext `ct` of the result.
    fn sum(&mut self, terms: &[SourceTerm], ct: usize, loc: &Loc) -> Result<Value> {
        let mut sum: Option<Value> = None;
        // Partial sums by operand period and modulus: they share their rotate-and-add steps.
        let mut shares: Vec<((usize, usize), Value)> = Vec::new();
        for term in terms {
            let operand = self.emitted[term.source].values.clone();
            let (modulus, transforms) = match &term.read {
                Read::Scaled(c) => {
                    let x = operand[ct];
                    let x = if *c == 1.0 { x } else { self.push(SlotOp::MulScalar { value: F64(*c) }, [x], loc)? };
                    sum = Some(self.add(sum, x, loc)?);
                    continue;
                }
                Read::Through { modulus, transforms } => (*modulus, transforms),
            };
            for transform in transforms.iter().filter(|t| t.to == ct) {
                let what = if transform.steps.is_some() { "diag" } else { "mask" };
                let constant = self.out.consts.insert(&hint(loc, what), transform.diagonals.clone());
                let op = match &transform.steps {
                    None => SlotOp::MulPlain { value: constant },
                    Some((rotations, giants)) => {
                        SlotOp::Linear { rotations: rotations.clone(), giants: giants.clone(), diagonals: constant }
                    }
                };
                let y = self.push(op, [operand[transform.from]], loc)?;
                let key = (self.placements[term.source].period, modulus);
                if key.0 == key.1 {
                    sum = Some(self.add(sum, y, loc)?);
                } else if let Some(k) = shares.iter().position(|(other, _)| *other == key) {
                    shares[k].1 = self.push(SlotOp::Add {}, [shares[k].1, y], loc)?;
                } else {
                    shares.push((key, y));
                }
            }
        }
        for ((period, modulus), mut share) in shares {
            let mut by = period / 2;
            while by >= modulus {
                let turned = self.push(SlotOp::Rotate { by: by as i64 }, [share], loc)?;
                share = self.push(SlotOp::Add {}, [share, turned], loc)?;
                by /= 2;
            }
            sum = Some(self.add(sum, share, loc)?);
        }
        match (sum, terms.first()) {
            (Some(sum), _) => Ok(sum),
            // All weights are zero: the ciphertext must still exist.
            (None, Some(term)) => {
                let x = self.emitted[term.source].values[0];
                self.push(SlotOp::MulScalar { value: F64(0.0) }, [x], loc)
            }
            (None, None) => Err(Issue::new(
                loc,
                "constant",
                "a value computed on ciphertexts does not depend on the input",
                "fold constants before packing",
            )),
        }
    }

    fn add(&mut self, sum: Option<Value>, x: Value, loc: &Loc) -> Result<Value> {
        match sum {
            Some(sum) => self.push(SlotOp::Add {}, [sum, x], loc),
            None => Ok(x),
        }
    }

    /// Adds the bias, and takes out what in-place terms left in slots without an element.
    fn bias(
        &mut self,
        a: &AffineMap,
        to: &Placing,
        terms: &[SourceTerm],
        ct: usize,
        sum: Value,
        loc: &Loc,
    ) -> Result<Value> {
        let n = self.slots;
        let left = |t: &SourceTerm| match t.read {
            Read::Scaled(c) => Some(c * self.emitted[t.source].fill),
            Read::Through { .. } => None,
        };
        let left: f64 = terms.iter().filter_map(left).sum();
        let mut vector = vec![-left as f32; n];
        for (e, &address) in to.addresses.iter().enumerate() {
            let address = address as usize;
            if address / n == ct {
                for s in (address % n..n).step_by(to.period) {
                    vector[s] = a.bias[e] as f32;
                }
            }
        }
        if vector.iter().all(|&v| v == 0.0) {
            return Ok(sum);
        }
        if vector.iter().all(|&v| v == vector[0]) {
            return self.push(SlotOp::AddScalar { value: F64(f64::from(vector[0])) }, [sum], loc);
        }
        let value = self.out.consts.insert(&hint(loc, "bias"), Tensor::new([n], vector));
        self.push(SlotOp::AddPlain { value }, [sum], loc)
    }
}
