//! The walk over the `nn` module: which values are put into slots, and by which linear maps of which others.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Issue, Loc, Module, Nn, Node, OpInfo, Port, Shape, Tensor, Value};

use super::affine::AffineMap;
use super::cost::LinearCost;
use super::graph::{SourceGraph, SourceKind};
use super::reading::{Evaluation, Reading};
use super::{Pack, linear, place};

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
    /// Whether maps know which weights are in them.
    traced: bool,
    values: Vec<Option<Packed>>,
    /// Values that are in slots as a polynomial reads them: the source, and the polynomial's reading.
    read: BTreeMap<Value, (usize, Reading)>,
}

/// The packed program of `module`, before layouts; where it is `traced`, maps know which weights are in them.
pub(super) fn build(module: &Module<Nn>, encrypted: &[bool], pack: &Pack, traced: bool) -> Result<SourceGraph> {
    let mut b = Builder {
        nn: module,
        graph: SourceGraph::default(),
        cost: &pack.cost,
        traced,
        values: vec![None; module.func.len()],
        read: BTreeMap::new(),
    };
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
    b.results(pack.result_exponent)?;
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
            NnOp::Polynomial { .. } => self.polynomial(v, node),
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
                        "write x^y as exp(y·log(x)), of which both functions are approximated on calibration data",
                    ))
                }
            }
            op => {
                let together = self.linear(node, &operands)?;
                let x = &operands[0];
                if !linear::mixes(op) || x.is_light() || together.is_constant() {
                    return Ok(together);
                }
                let after = |x: &AffineMap| {
                    let operands: Vec<AffineMap> = [x].into_iter().chain(&operands[1..]).cloned().collect();
                    self.linear(node, &operands)
                };
                // A product of maps that is much larger than its factors may cost more than a level.
                let grown = together.nnz() > 2 * x.nnz();
                if grown && !place::better_together(&self.graph, &together, x, |x| after(x).ok(), self.cost) {
                    let (x, rest) = (x.clone(), &operands[1..]);
                    let at = self.materialise(&x, None, &node.loc);
                    let source = AffineMap::source(at, x.shape.clone());
                    return self.linear(node, &[&[source], rest].concat());
                }
                Ok(together)
            }
        }
    }

    /// The result of linear op `node`.
    fn linear(&self, node: &Node<Nn>, operands: &[AffineMap]) -> Result<AffineMap> {
        let y = linear::apply(node, operands)?;
        let Some(at) = linear::weights(&node.op, operands).filter(|_| self.traced && !y.is_constant()) else {
            return Ok(y);
        };
        let places: Vec<f64> = (1..=operands[at].bias.len()).map(|place| place as f64).collect();
        let elements = linear::weighted(node, operands, at, &places);
        Ok(y.with_weights(&operands[1 - at], node.operands[at], &elements))
    }

    /// Puts a value that several nodes read into slots once, unless repeating its map is free. When a polynomial is among the
    /// readers, the slots hold the value mapped to the polynomial's interval and the others undo that.
    fn share(&mut self, v: Value, users: &[Value]) {
        let a = self.affine(v);
        if a.is_light() {
            return;
        }
        let read = |&u: &Value| Reading::of(self.nn.func.node(u)).ok().flatten();
        let reading = users.iter().filter(|&&u| u != v).find_map(read).filter(|r| r.evaluation.is_nonlinear());
        let loc = self.nn.func.node(v).loc.clone();
        let Some(reading) = reading else {
            let source = self.materialise(&a, None, &loc);
            self.values[v.index()] = Some(Packed::AffineMap(AffineMap::source(source, a.shape.clone())));
            return;
        };
        let source = self.materialise(&reading.map(&a), None, &loc);
        let whole = AffineMap::source(source, a.shape.clone());
        self.values[v.index()] = Some(Packed::AffineMap(reading.unmap(&whole)));
        self.read.insert(v, (source, reading));
    }

    /// The polynomial `v`. Its operand lies in slots as the polynomial reads it, in `[-1, 1]`, where it may be bootstrapped.
    fn polynomial(&mut self, v: Value, node: &Node<Nn>) -> Result<AffineMap> {
        let bad = |e: &dyn std::fmt::Display| Self::issue(node, e.to_string(), "fit the polynomial again");
        let Some(reading) = Reading::of(node).map_err(|e| bad(&e))? else {
            return Err(bad(&"an op that is no polynomial"));
        };
        let operand = node.operands[0];
        let x = self.affine(operand);
        let is_result = self.nn.func.results().contains(&v);
        let reading = if is_result { reading.without_factor() } else { reading };
        let (rows, shape) = (reading.rows, node.ty.0.clone());
        match &reading.evaluation {
            Evaluation::Linear { factors, constants } => {
                return Ok(x.rescaled(|e| factors[rows.of(e)], |e| constants[rows.of(e)]));
            }
            // What needs no map is squared where it is, whatever its size.
            Evaluation::Square { factors, constants } if reading.is_scale() => {
                if let Some((c, at)) = x.as_scaled_source()
                    && !matches!(self.graph.sources[at].kind, SourceKind::Square(_))
                {
                    let scale = c * reading.maps[0].scale;
                    let squared = self.multiply(at, at, scale * scale, &shape, &node.loc);
                    return Ok(squared.rescaled(|e| factors[rows.of(e)], |e| constants[rows.of(e)]));
                }
            }
            Evaluation::Square { .. } | Evaluation::General(_) => {}
        }
        let known = self.read.get(&operand).filter(|(_, known)| known.maps == reading.maps).map(|(source, _)| *source);
        let of = known.unwrap_or_else(|| self.materialise(&reading.map(&x), None, &node.loc));
        let (kind, result) = match reading.evaluation {
            Evaluation::General(polynomials) => (SourceKind::Polynomial { of, polynomials, rows }, None),
            Evaluation::Square { factors, constants } => {
                let kind = if is_result { SourceKind::Product(of, of) } else { SourceKind::Square(of) };
                (kind, Some((factors, constants)))
            }
            Evaluation::Linear { .. } => return Err(bad(&"a linear polynomial is no source")),
        };
        let source = self.graph.push(kind, shape.clone(), &node.loc);
        self.graph.sources[source].origin = Some(v);
        let out = AffineMap::source(source, shape);
        Ok(match result {
            Some((factors, constants)) => out.rescaled(|e| factors[rows.of(e)], |e| constants[rows.of(e)]),
            None => out,
        })
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

    /// Puts the results into slots, divided by a power of two where maps in front of all of them take that for nothing.
    fn results(&mut self, exponent: i32) -> Result<()> {
        let mapped = |r: &Value| self.affine(*r).as_scaled_source().is_none_or(|(factor, _)| factor != 1.0);
        if self.nn.func.results().iter().all(mapped) {
            self.graph.result_exponent = exponent;
        }
        let part = f64::from(-self.graph.result_exponent).exp2();
        for (index, &r) in self.nn.func.results().iter().enumerate() {
            let a = self.affine(r);
            let node = self.nn.func.node(r);
            let unnamed = || Port { name: format!("output{index}"), shape: a.shape.clone(), ..Default::default() };
            let port = self.nn.outputs.get(index).cloned().unwrap_or_else(unnamed);
            if a.is_constant() {
                return Err(Self::issue(
                    node,
                    format!("output `{}` does not depend on the input", port.name),
                    "remove the output from the model",
                ));
            }
            // A source of its own, so that its layout is one that a port can state; in place it costs nothing.
            let value = a.rescaled(|_| part, |_| 0.0);
            let at = self.graph.push(SourceKind::Linear { value, like: None }, a.shape.clone(), &node.loc);
            self.graph.sources[at].port = true;
            self.graph.results.push((at, port));
        }
        Ok(())
    }
}
