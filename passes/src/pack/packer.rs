//! The walk over the `nn` module.

use std::rc::Rc;

use fhec_ir::attr::F64;
use fhec_ir::nn::{Basis, NnOp, eval};
use fhec_ir::slot::{SlotOp, SlotTy};
use fhec_ir::{Entity, Issue, Loc, Module, Nn, Node, OpInfo, Port, Shape, Slot, Tensor, Value};

use super::affine::Affine;
use super::cost::LinearCost;
use super::layout::{self, Placement};
use super::sparse::Sparse;
use super::{hints, linear, transform};
use crate::approx::{Interval, Polynomial};

type Result<T> = std::result::Result<T, Issue>;

/// A tensor in slots.
struct Source {
    /// One value per ciphertext.
    values: Vec<Value>,
    placement: Placement,
    /// What slots without an element hold.
    fill: f64,
}

/// What an `nn` value is while packing.
#[derive(Clone)]
enum Packed {
    Constant(Tensor),
    Affine(Affine),
}

struct Packer<'a> {
    nn: &'a Module<Nn>,
    out: Module<Slot>,
    slots: usize,
    cost: &'a LinearCost,
    sources: Vec<Source>,
    values: Vec<Option<Packed>>,
}

/// Packs `module` into ciphertexts of `slots` slots; `dropped` nodes are replaced by their operand.
pub(super) fn run(
    module: &Module<Nn>,
    encrypted: &[bool],
    dropped: &[Value],
    slots: usize,
    cost: &LinearCost,
) -> Result<Module<Slot>> {
    let mut p = Packer {
        nn: module,
        out: Module::new(module.func.name.clone()),
        slots,
        cost,
        sources: Vec::new(),
        values: vec![None; module.func.len()],
    };
    let live = module.func.live();
    let uses = live_uses(module, &live);
    for (v, node) in module.func.iter() {
        if !live[v.index()] {
            continue;
        }
        let packed = if let Some(index) = node.op.as_input() {
            Packed::Affine(p.input(index as usize, node)?)
        } else if !encrypted[v.index()] {
            Packed::Constant(p.constant(node)?)
        } else if dropped.contains(&v) {
            Packed::Affine(p.affine(node.operands[0]))
        } else {
            Packed::Affine(p.node(node)?)
        };
        p.values[v.index()] = Some(packed);
        if encrypted[v.index()] && uses[v.index()].len() > 1 {
            p.share(v, &uses[v.index()])?;
        }
    }
    p.results()?;
    Ok(p.out)
}

/// The live nodes that use each value; a result counts as a use by the value itself.
fn live_uses(module: &Module<Nn>, live: &[bool]) -> Vec<Vec<Value>> {
    let mut uses = vec![Vec::new(); module.func.len()];
    for (v, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
        node.operands.iter().for_each(|o| uses[o.index()].push(v));
    }
    module.func.results().iter().for_each(|r| uses[r.index()].push(*r));
    uses
}

/// Scale and shift of the map of `[lo, hi]` to `[-1, 1]`.
fn unit_map(lo: f64, hi: f64) -> (f64, f64) {
    (2.0 / (hi - lo), -(hi + lo) / (hi - lo))
}

/// A polynomial of degree 2 completes to a square when the shift stays below this: the constant that cancels is its square,
/// so six bits are lost at most.
const LARGEST_SQUARE_SHIFT: f64 = 8.0;

impl Packer<'_> {
    fn issue(node: &Node<Nn>, reason: impl Into<String>, repair: &str) -> Issue {
        Issue::new(&node.loc, node.op.mnemonic(), reason, repair)
    }

    /// Appends a slot op; the packer's own ops are well typed.
    fn push(&mut self, op: SlotOp, operands: impl IntoIterator<Item = Value>, loc: &Loc) -> Result<Value> {
        let name = op.mnemonic();
        self.out
            .push(op, operands, loc.clone())
            .map_err(|e| Issue::new(loc, name, format!("packing made an ill-typed op: {e}"), "report this as a bug"))
    }

    fn input(&mut self, index: usize, node: &Node<Nn>) -> Result<Affine> {
        let shape = node.ty.0.clone();
        let digits = layout::aligned_channels(&shape);
        let placement = Placement::new(digits.clone(), shape.len(), self.slots)
            .filter(|_| !shape.is_empty())
            .ok_or_else(|| Self::issue(node, format!("an input of shape {shape}"), "use an input with elements"))?;
        let values =
            (0..placement.ciphertexts).map(|_| self.out.func.add_param(SlotTy(self.slots), node.loc.clone())).collect();
        let name = self.nn.inputs.get(index).map_or_else(|| format!("input{index}"), |p| p.name.clone());
        self.out.inputs.push(Port { name, shape: shape.clone(), layout: placement.to_layout(&shape) });
        Ok(self.source(values, placement, 0.0, shape))
    }

    fn source(&mut self, values: Vec<Value>, placement: Placement, fill: f64, shape: Shape) -> Affine {
        let digits = placement.digits.clone();
        self.sources.push(Source { values, placement, fill });
        Affine::source(self.sources.len() - 1, shape, digits)
    }

    fn constant(&self, node: &Node<Nn>) -> Result<Tensor> {
        let operands: Vec<&Tensor> = node
            .operands
            .iter()
            .filter_map(|o| match &self.values[o.index()] {
                Some(Packed::Constant(t)) => Some(t),
                _ => None,
            })
            .collect();
        eval::apply(&node.op, &operands, &self.nn.consts)
            .map_err(|e| Self::issue(node, e.to_string(), "check the model with `fhec opt`"))
    }

    /// The value as an affine map; a constant is one without sources.
    fn affine(&self, v: Value) -> Affine {
        match &self.values[v.index()] {
            Some(Packed::Affine(a)) => a.clone(),
            Some(Packed::Constant(t)) => {
                Affine::constant(t.shape().clone(), t.data().iter().map(|&x| f64::from(x)).collect())
            }
            None => unreachable!("operands of live nodes are live and earlier"),
        }
    }

    fn node(&mut self, node: &Node<Nn>) -> Result<Affine> {
        let mut operands: Vec<Affine> = node.operands.iter().map(|&o| self.affine(o)).collect();
        match &node.op {
            NnOp::Polynomial { basis, lo, hi, rows, coeffs } => {
                let coeffs: Vec<f64> = coeffs.iter().map(|c| c.0).collect();
                self.polynomial(node, *basis, (lo.0, hi.0), *rows as usize, &coeffs)
            }
            NnOp::Mul {} if operands.iter().all(|a| !a.is_constant()) => {
                let shapes: Vec<&Shape> = operands.iter().map(|a| &a.shape).collect();
                let list: Vec<&[layout::Digits]> = operands.iter().map(|a| a.hints.as_slice()).collect();
                let carried = hints::carry(&node.op, &shapes, &node.ty.0, &list);
                for a in &mut operands {
                    *a = linear::broadcast(a, &node.ty.0, carried.clone());
                }
                if node.operands[0] == node.operands[1] {
                    self.square(&operands[0], &node.loc)
                } else {
                    self.product(&operands[0], &operands[1], &node.loc)
                }
            }
            NnOp::Pow {} => {
                let exponents = &operands[1].bias;
                let all = |e: f64| operands[1].is_constant() && exponents.iter().all(|&b| b == e);
                if all(2.0) {
                    self.square(&operands[0], &node.loc)
                } else if all(1.0) {
                    Ok(operands[0].clone())
                } else {
                    Err(Self::issue(
                        node,
                        "only the powers 1 and 2 of a ciphertext are packed",
                        "write the power as products, or give calibration data so that it can be approximated",
                    ))
                }
            }
            _ => {
                let hints = {
                    let shapes: Vec<&Shape> = operands.iter().map(|a| &a.shape).collect();
                    let list: Vec<&[layout::Digits]> = operands.iter().map(|a| a.hints.as_slice()).collect();
                    hints::carry(&node.op, &shapes, &node.ty.0, &list)
                };
                if let Some(mixing) = linear::mixing_nnz(&node.op, &operands, &node.ty.0)
                    && !operands[0].is_light()
                    && linear::composed_nnz(&operands[0], mixing, node.ty.0.len())
                        > self.composition_limit(&operands[0], mixing)
                {
                    operands[0] = self.materialised(&operands[0], &node.loc)?;
                }
                linear::apply(node, &operands, hints)
            }
        }
    }

    /// Weights up to which a composed map is taken without asking what its parts cost.
    fn composition_limit(&self, inner: &Affine, outer: usize) -> usize {
        4 * (inner.nnz() + outer)
    }

    /// The value put into slots as it is.
    fn materialised(&mut self, a: &Affine, loc: &Loc) -> Result<Affine> {
        if a.as_scaled_source().is_some() {
            return Ok(a.clone());
        }
        let source = self.materialise(a, None, loc)?;
        Ok(Affine::source(source, a.shape.clone(), self.sources[source].placement.digits.clone()))
    }

    /// Puts a value that several nodes read into slots once, unless repeating its map is free. When a polynomial is among the
    /// readers, the slots hold the value mapped to the polynomial's interval and the others undo that.
    fn share(&mut self, v: Value, users: &[Value]) -> Result<()> {
        let a = self.affine(v);
        if a.is_light() {
            return Ok(());
        }
        let interval = users.iter().find_map(|&u| match &self.nn.func.node(u).op {
            NnOp::Polynomial { lo, hi, .. } if u != v => Some((lo.0, hi.0)),
            _ => None,
        });
        let (scale, shift) = interval.map_or((1.0, 0.0), |(lo, hi)| unit_map(lo, hi));
        let loc = self.nn.func.node(v).loc.clone();
        let source = self.materialise(&a.rescaled(|_| scale, |_| shift), None, &loc)?;
        let whole = Affine::source(source, a.shape.clone(), self.sources[source].placement.digits.clone());
        self.values[v.index()] = Some(Packed::Affine(whole.rescaled(|_| 1.0 / scale, |_| -shift / scale)));
        Ok(())
    }

    fn polynomial(
        &mut self,
        node: &Node<Nn>,
        basis: Basis,
        (lo, hi): (f64, f64),
        rows: usize,
        coeffs: &[f64],
    ) -> Result<Affine> {
        let x = self.affine(node.operands[0]);
        let bad = |e: &dyn std::fmt::Display| Self::issue(node, e.to_string(), "fit the polynomial again");
        let interval = Interval::new(lo, hi).map_err(|e| bad(&e))?;
        let width = coeffs.len() / rows;
        let mut polynomials: Vec<Polynomial> = coeffs
            .chunks(width)
            .map(|row| match basis {
                Basis::Chebyshev => Polynomial::new(interval, row.to_vec()),
                Basis::Monomial => Polynomial::from_monomial(interval, row),
            })
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| bad(&e))?;
        if polynomials.iter().all(|p| p == &polynomials[0]) {
            polynomials.truncate(1);
        }
        let shape = node.ty.0.clone();
        let channels = if polynomials.len() > 1 { shape.0[1] } else { 1 };
        let inner: usize = if channels > 1 { shape.0[2..].iter().product() } else { shape.len() };
        let row_of = |e: usize| e / inner % channels;
        let c = |k: usize| {
            let list: Vec<f64> = polynomials.iter().map(|p| p.coefficients().get(k).copied().unwrap_or(0.0)).collect();
            move |e: usize| list[row_of(e)]
        };
        let (scale, shift) = unit_map(lo, hi);
        let degree = polynomials.iter().map(Polynomial::degree).max().unwrap_or(0);
        if degree == 0 {
            return Ok(x.rescaled(|_| 0.0, c(0)));
        }
        let u = x.rescaled(|_| scale, |_| shift);
        if degree == 1 {
            let (c0, c1) = (c(0), c(1));
            return Ok(u.rescaled(c1, c0));
        }
        let legal = |p: &Polynomial| match p.coefficients() {
            [_, c1, c2] => (c1 / (4.0 * c2)).abs() <= LARGEST_SQUARE_SHIFT,
            _ => false,
        };
        if degree == 2 && polynomials.iter().all(legal) {
            // c0 + c1·u + c2·(2u² - 1) = ±v² + constant with v = sqrt(2|c2|)·(u + c1 / (4·c2)).
            let (c0, c1, c2) = (c(0), c(1), c(2));
            let factor = |e: usize| (2.0 * c2(e).abs()).sqrt();
            let v = u.rescaled(factor, |e| factor(e) * c1(e) / (4.0 * c2(e)));
            let squared = self.square(&v, &node.loc)?;
            return Ok(squared.rescaled(|e| c2(e).signum(), |e| c0(e) - c2(e) - c1(e) * c1(e) / (8.0 * c2(e))));
        }
        let at = self.materialise(&u, None, &node.loc)?;
        self.apply_polynomial(at, &polynomials, degree, &row_of, &shape, &node.loc)
    }

    /// The polynomials, on `[-1, 1]`, of what source `at` holds.
    fn apply_polynomial(
        &mut self,
        at: usize,
        polynomials: &[Polynomial],
        degree: usize,
        row_of: &dyn Fn(usize) -> usize,
        shape: &Shape,
        loc: &Loc,
    ) -> Result<Affine> {
        let Source { values, placement, fill } = &self.sources[at];
        let (values, placement, fill) = (values.clone(), placement.clone(), *fill);
        let n = self.slots;
        let mut outs = Vec::with_capacity(values.len());
        for (ct, value) in values.into_iter().enumerate() {
            let (coeffs, vectors) = match polynomials {
                [one] => (one.coefficients().iter().map(|&c| F64(c)).collect(), None),
                many => {
                    let mut data = vec![0.0f32; (degree + 1) * n];
                    for (e, &a) in placement.addresses.iter().enumerate() {
                        if a as usize / n != ct {
                            continue;
                        }
                        for (k, &c) in many[row_of(e)].coefficients().iter().enumerate() {
                            for s in (a as usize % n..n).step_by(placement.period) {
                                data[k * n + s] = c as f32;
                            }
                        }
                    }
                    let id = self.out.consts.insert(&hint(loc, "poly"), Tensor::new([degree + 1, n], data));
                    (Vec::new(), Some(id))
                }
            };
            let op = SlotOp::Polynomial { basis: Basis::Chebyshev, lo: F64(-1.0), hi: F64(1.0), coeffs, vectors };
            outs.push(self.push(op, [value], loc)?);
        }
        let fill = match polynomials {
            [one] => Polynomial::new(Interval::UNIT, one.coefficients().to_vec()).map_or(0.0, |p| p.eval(fill)),
            _ => 0.0,
        };
        Ok(self.source(outs, placement, fill, shape.clone()))
    }

    /// The factor and slots of an operand of a product: a common factor is left for whoever reads the product.
    fn factor(&mut self, a: &Affine, like: Option<&Placement>, loc: &Loc) -> Result<(f64, usize)> {
        if let Some((c, source)) = a.as_scaled_source()
            && like.is_none_or(|p| *p == self.sources[source].placement)
        {
            return Ok((c, source));
        }
        Ok((1.0, self.materialise(a, like, loc)?))
    }

    fn square(&mut self, a: &Affine, loc: &Loc) -> Result<Affine> {
        let (c, at) = self.factor(a, None, loc)?;
        self.multiply(at, at, c * c, &a.shape, loc)
    }

    fn product(&mut self, a: &Affine, b: &Affine, loc: &Loc) -> Result<Affine> {
        // The operand that is in slots already decides where the other one goes.
        let (first, second) =
            if a.as_scaled_source().is_none() && b.as_scaled_source().is_some() { (b, a) } else { (a, b) };
        let (c, x) = self.factor(first, None, loc)?;
        let like = self.sources[x].placement.clone();
        let (d, y) = self.factor(second, Some(&like), loc)?;
        self.multiply(x, y, c * d, &a.shape, loc)
    }

    fn multiply(&mut self, x: usize, y: usize, factor: f64, shape: &Shape, loc: &Loc) -> Result<Affine> {
        let pairs: Vec<(Value, Value)> =
            self.sources[x].values.iter().copied().zip(self.sources[y].values.iter().copied()).collect();
        let values =
            pairs.into_iter().map(|(a, b)| self.push(SlotOp::Mul {}, [a, b], loc)).collect::<Result<Vec<_>>>()?;
        let fill = self.sources[x].fill * self.sources[y].fill;
        let placement = self.sources[x].placement.clone();
        let out = self.source(values, placement, fill, shape.clone());
        Ok(if factor == 1.0 { out } else { out.rescaled(|_| factor, |_| 0.0) })
    }

    fn results(&mut self) -> Result<()> {
        let mut outs = Vec::new();
        for (index, &r) in self.nn.func.results().to_vec().iter().enumerate() {
            let a = self.affine(r);
            let node = self.nn.func.node(r);
            let name = self.nn.outputs.get(index).map_or_else(|| format!("output{index}"), |p| p.name.clone());
            if a.is_constant() {
                return Err(Self::issue(
                    node,
                    format!("output `{name}` does not depend on the input"),
                    "remove the output from the model",
                ));
            }
            let at = self.materialise(&a, None, &node.loc)?;
            let mut at = at;
            if self.sources[at].placement.to_layout(&a.shape).is_none() {
                // A layout that the port cannot state: one more transform to row-major.
                let whole = Affine::source(at, a.shape.clone(), layout::row_major(a.shape.len()));
                let plain = Placement::new(layout::row_major(a.shape.len()), a.shape.len(), self.slots);
                at = self.materialise(&whole, plain.as_ref(), &node.loc)?;
            }
            let source = &self.sources[at];
            self.out.outputs.push(Port { name, shape: a.shape.clone(), layout: source.placement.to_layout(&a.shape) });
            outs.extend(source.values.iter().copied());
        }
        self.out.func.set_results(outs);
        Ok(())
    }
}

/// A constant's name: where it belongs and what it is.
fn hint(loc: &Loc, what: &str) -> String {
    match &loc.onnx {
        Some(name) => format!("{}.{what}", name.trim_matches('/').replace('/', ".")),
        None => what.to_string(),
    }
}

mod emit;
