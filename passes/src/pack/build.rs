//! The walk over the `nn` module: which values are put into slots, and by which linear maps of which others.

use fhec_ir::nn::{Basis, NnOp, eval};
use fhec_ir::{Entity, Issue, Loc, Module, Nn, Node, OpInfo, Port, Shape, Tensor, Value};

use super::affine::AffineMap;
use super::cost::LinearCost;
use super::graph::{Rows, SourceGraph, SourceKind};
use super::{linear, place};
use crate::approx::{Interval, Polynomial};

type Result<T> = std::result::Result<T, Issue>;

/// What an `nn` value is while packing.
#[derive(Clone)]
enum Packed {
    Constant(Tensor),
    AffineMap(AffineMap),
}

struct Builder<'a> {
    nn: &'a Module<Nn>,
    graph: SourceGraph,
    cost: &'a LinearCost,
    values: Vec<Option<Packed>>,
}

/// The packed program of `module`, before layouts.
pub(super) fn build(module: &Module<Nn>, encrypted: &[bool], cost: &LinearCost) -> Result<SourceGraph> {
    let mut b = Builder { nn: module, graph: SourceGraph::default(), cost, values: vec![None; module.func.len()] };
    let live = module.func.live();
    let uses = live_uses(module, &live);
    for (v, node) in module.func.iter() {
        if !live[v.index()] {
            continue;
        }
        let packed = if let Some(index) = node.op.as_input() {
            Packed::AffineMap(b.input(index as usize, node)?)
        } else if !encrypted[v.index()] {
            Packed::Constant(b.constant(node)?)
        } else {
            Packed::AffineMap(b.node(v, node)?)
        };
        b.values[v.index()] = Some(packed);
        if encrypted[v.index()] && uses[v.index()].len() > 1 {
            b.share(v, &uses[v.index()]);
        }
    }
    b.results()?;
    Ok(b.graph)
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

/// Factors this close to 1 are 1: far below the precision of any scale, which they would cost a level to multiply with.
const UNIT_ROUNDING: f64 = 1e-13;

impl Builder<'_> {
    fn issue(node: &Node<Nn>, reason: impl Into<String>, repair: &str) -> Issue {
        Issue::new(&node.loc, node.op.mnemonic(), reason, repair)
    }

    /// Appends a source and gives it as a value.
    fn source(&mut self, kind: SourceKind, shape: &Shape, loc: &Loc) -> AffineMap {
        AffineMap::source(self.graph.push(kind, shape.clone(), loc), shape.clone())
    }

    /// Puts `a` into slots, in the layout of source `like` if given; returns the source's number.
    fn materialise(&mut self, a: &AffineMap, like: Option<usize>, loc: &Loc) -> usize {
        // An interval's map and its inverse multiply to 1 up to rounding.
        let unscaled = |c: f64| (c - 1.0).abs() < UNIT_ROUNDING;
        match a.as_scaled_source().filter(|s| unscaled(s.0)) {
            Some((_, source)) if like.is_none_or(|l| self.graph.root(l) == self.graph.root(source)) => source,
            _ => self.graph.push(SourceKind::Linear { value: a.clone(), like }, a.shape.clone(), loc),
        }
    }

    fn input(&mut self, index: usize, node: &Node<Nn>) -> Result<AffineMap> {
        let shape = node.ty.0.clone();
        if shape.is_empty() {
            return Err(Self::issue(node, format!("an input of shape {shape}"), "use an input with elements"));
        }
        Ok(self.source(SourceKind::Input(index), &shape, &node.loc))
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
    fn affine(&self, v: Value) -> AffineMap {
        match &self.values[v.index()] {
            Some(Packed::AffineMap(a)) => a.clone(),
            Some(Packed::Constant(t)) => {
                AffineMap::constant(t.shape().clone(), t.data().iter().map(|&x| f64::from(x)).collect())
            }
            None => unreachable!("operands of live nodes are live and earlier"),
        }
    }

    fn node(&mut self, v: Value, node: &Node<Nn>) -> Result<AffineMap> {
        let operands: Vec<AffineMap> = node.operands.iter().map(|&o| self.affine(o)).collect();
        match &node.op {
            NnOp::Polynomial { basis, lo, hi, rows, coeffs } => {
                let coeffs: Vec<f64> = coeffs.iter().map(|c| c.0).collect();
                let a = self.polynomial(node, *basis, (lo.0, hi.0), *rows as usize, &coeffs)?;
                if let Some((_, source)) = a.as_scaled_source()
                    && matches!(self.graph.sources[source].kind, SourceKind::Polynomial { .. })
                {
                    self.graph.sources[source].origin = Some(v);
                }
                Ok(a)
            }
            NnOp::Mul {} if operands.iter().all(|a| !a.is_constant()) => {
                let operands = operands.iter().map(|a| linear::broadcast(a, &node.op, &node.ty.0)).collect::<Vec<_>>();
                Ok(if node.operands[0] == node.operands[1] {
                    self.square(&operands[0], &node.loc)
                } else {
                    self.product(&operands[0], &operands[1], &node.loc)
                })
            }
            NnOp::Pow {} => {
                let exponents = &operands[1].bias;
                let all = |e: f64| operands[1].is_constant() && exponents.iter().all(|&b| b == e);
                if all(2.0) {
                    Ok(self.square(&operands[0], &node.loc))
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
            op => {
                let together = linear::apply(node, &operands)?;
                let x = &operands[0];
                if !linear::mixes(op) || x.is_light() || together.is_constant() {
                    return Ok(together);
                }
                let after = |x: &AffineMap| {
                    let operands: Vec<AffineMap> = [x].into_iter().chain(&operands[1..]).cloned().collect();
                    linear::apply(node, &operands)
                };
                // A product of maps that is much larger than its factors may cost more than a level.
                let grown = together.nnz() > 2 * x.nnz();
                if grown && !place::better_together(&self.graph, &together, x, |x| after(x).ok(), self.cost) {
                    let at = self.materialise(x, None, &node.loc);
                    return after(&AffineMap::source(at, x.shape.clone()));
                }
                Ok(together)
            }
        }
    }

    /// Puts a value that several nodes read into slots once, unless repeating its map is free. When a polynomial is among the
    /// readers, the slots hold the value mapped to the polynomial's interval and the others undo that.
    fn share(&mut self, v: Value, users: &[Value]) {
        let a = self.affine(v);
        if a.is_light() {
            return;
        }
        let interval = users.iter().find_map(|&u| match &self.nn.func.node(u).op {
            NnOp::Polynomial { lo, hi, .. } if u != v => Some((lo.0, hi.0)),
            _ => None,
        });
        let (scale, shift) = interval.map_or((1.0, 0.0), |(lo, hi)| unit_map(lo, hi));
        let loc = self.nn.func.node(v).loc.clone();
        let source = self.materialise(&a.rescaled(|_| scale, |_| shift), None, &loc);
        let whole = AffineMap::source(source, a.shape.clone());
        self.values[v.index()] = Some(Packed::AffineMap(whole.rescaled(|_| 1.0 / scale, |_| -shift / scale)));
    }

    fn polynomial(
        &mut self,
        node: &Node<Nn>,
        basis: Basis,
        (lo, hi): (f64, f64),
        count: usize,
        coeffs: &[f64],
    ) -> Result<AffineMap> {
        let x = self.affine(node.operands[0]);
        let bad = |e: &dyn std::fmt::Display| Self::issue(node, e.to_string(), "fit the polynomial again");
        let interval = Interval::new(lo, hi).map_err(|e| bad(&e))?;
        let width = coeffs.len() / count;
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
        let rows = Rows { inner, channels };
        let c = |k: usize| {
            let list: Vec<f64> = polynomials.iter().map(|p| p.coefficients().get(k).copied().unwrap_or(0.0)).collect();
            move |e: usize| list[rows.of(e)]
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
            let squared = self.square(&v, &node.loc);
            return Ok(squared.rescaled(|e| c2(e).signum(), |e| c0(e) - c2(e) - c1(e) * c1(e) / (8.0 * c2(e))));
        }
        let of = self.materialise(&u, None, &node.loc);
        Ok(self.source(SourceKind::Polynomial { of, polynomials, rows }, &shape, &node.loc))
    }

    /// The factor and source of an operand of a product: a common factor is left for whoever reads the product.
    fn factor(&mut self, a: &AffineMap, like: Option<usize>, loc: &Loc) -> (f64, usize) {
        match a.as_scaled_source() {
            Some((c, source)) if like.is_none_or(|l| self.graph.root(l) == self.graph.root(source)) => (c, source),
            _ => (1.0, self.materialise(a, like, loc)),
        }
    }

    fn square(&mut self, a: &AffineMap, loc: &Loc) -> AffineMap {
        let (c, at) = self.factor(a, None, loc);
        self.multiply(at, at, c * c, &a.shape, loc)
    }

    fn product(&mut self, a: &AffineMap, b: &AffineMap, loc: &Loc) -> AffineMap {
        // The operand that is in slots already decides where the other one goes.
        let (first, second) =
            if a.as_scaled_source().is_none() && b.as_scaled_source().is_some() { (b, a) } else { (a, b) };
        let (c, x) = self.factor(first, None, loc);
        let (d, y) = self.factor(second, Some(x), loc);
        self.multiply(x, y, c * d, &a.shape, loc)
    }

    fn multiply(&mut self, x: usize, y: usize, factor: f64, shape: &Shape, loc: &Loc) -> AffineMap {
        let out = self.source(SourceKind::Product(x, y), shape, loc);
        if factor == 1.0 { out } else { out.rescaled(|_| factor, |_| 0.0) }
    }

    fn results(&mut self) -> Result<()> {
        for (index, &r) in self.nn.func.results().iter().enumerate() {
            let a = self.affine(r);
            let node = self.nn.func.node(r);
            let unnamed = || Port { name: format!("output{index}"), shape: a.shape.clone(), layout: None, range: None };
            let port = self.nn.outputs.get(index).cloned().unwrap_or_else(unnamed);
            if a.is_constant() {
                return Err(Self::issue(
                    node,
                    format!("output `{}` does not depend on the input", port.name),
                    "remove the output from the model",
                ));
            }
            // A source of its own, so that its layout is one that a port can state; in place it costs nothing.
            let at = self.graph.push(SourceKind::Linear { value: a.clone(), like: None }, a.shape.clone(), &node.loc);
            self.graph.sources[at].port = true;
            self.graph.results.push((at, port));
        }
        Ok(())
    }
}
