//! Polynomials that a network has already, written as sums and products, recognised.
//!
//! What training with polynomial activations emits is x·x, a·x² + b·x + c with a coefficient per channel, powers, or a chain
//! of Horner's rule. Each becomes one op over x, which is packed, bootstrapped and priced as the polynomials are that stand
//! for activations, and which nothing fits again.

use egg::Id;
use fhec_ir::nn::{Basis, NnOp};
use fhec_ir::{F64, Shape, Tensor};

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code};

/// Polynomials of higher degree stay as they are written.
const MAX_DEGREE: usize = 31;

/// Coefficients this close, as a share of the largest, are those of the same polynomial computed in another order.
const SAME: f64 = 1e-5;

pub(super) fn rules() -> Vec<Rule> {
    vec![code("polynomial", |op| matches!(op, NnOp::Add {} | NnOp::Mul {}), recognise).says(
        "sums and products of powers of x, with a coefficient for all or one per channel, are one polynomial of x",
    )]
}

/// Coefficients of powers of a value, lowest first, in one row for all elements or one per channel.
#[derive(Clone)]
struct Powers {
    rows: Vec<Vec<f64>>,
}

impl Powers {
    fn constant(rows: Vec<f64>) -> Self {
        Self { rows: rows.into_iter().map(|c| vec![c]).collect() }
    }

    fn identity() -> Self {
        Self { rows: vec![vec![0.0, 1.0]] }
    }

    /// The constant terms.
    fn constant_terms(&self) -> Self {
        Self { rows: self.rows.iter().map(|row| row[..1].to_vec()).collect() }
    }

    fn combined(&self, other: &Self, of: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Self {
        let rows = self.rows.len().max(other.rows.len());
        let row = |k: usize| of(&self.rows[k % self.rows.len()], &other.rows[k % other.rows.len()]);
        Self { rows: (0..rows).map(row).collect() }
    }

    fn plus(&self, other: &Self) -> Self {
        self.combined(other, |a, b| {
            let of = |row: &[f64], k: usize| row.get(k).copied().unwrap_or(0.0);
            (0..a.len().max(b.len())).map(|k| of(a, k) + of(b, k)).collect()
        })
    }

    fn times(&self, other: &Self) -> Self {
        self.combined(other, |a, b| {
            let mut out = vec![0.0; a.len() + b.len() - 1];
            for (i, x) in a.iter().enumerate() {
                b.iter().enumerate().for_each(|(j, y)| out[i + j] += x * y);
            }
            out
        })
    }

    fn degree(&self) -> usize {
        let degree = |row: &Vec<f64>| row.iter().rposition(|c| *c != 0.0).unwrap_or(0);
        self.rows.iter().map(degree).max().unwrap_or(0)
    }

    fn is_close(&self, other: &Self) -> bool {
        let width = self.degree().max(other.degree()) + 1;
        let difference = self.combined(other, |a, b| {
            let of = |row: &[f64], k: usize| row.get(k).copied().unwrap_or(0.0);
            let size = (0..width).fold(0.0f64, |m, k| m.max(of(a, k).abs()));
            (0..width).map(|k| (of(a, k) - of(b, k)).abs() - SAME * size).collect()
        });
        difference.rows.iter().flatten().all(|d| *d <= 0.0)
    }

    /// The polynomial as an op; its operand is taken to lie in `[-1, 1]` until it is measured.
    fn op(&self) -> NnOp {
        let width = self.degree() + 1;
        let of = |row: &Vec<f64>| (0..width).map(|k| F64(row.get(k).copied().unwrap_or(0.0))).collect::<Vec<_>>();
        let shared = self.rows.iter().all(|row| row == &self.rows[0]);
        let rows = if shared { &self.rows[..1] } else { &self.rows[..] };
        NnOp::Polynomial {
            basis: Basis::Monomial,
            lo: F64(-1.0),
            hi: F64(1.0),
            rows: rows.len() as i64,
            coeffs: rows.iter().flat_map(of).collect(),
        }
    }
}

/// A class as a polynomial of another, and the nodes that show it.
struct View {
    of: Id,
    powers: Powers,
    shown: Vec<(Id, NnNode)>,
}

/// The coefficients that a constant stands for in a sum or product with a value of `shape`; none when it varies along other
/// dimensions than channels.
fn coefficients(tensor: &Tensor, shape: &Shape) -> Option<Vec<f64>> {
    if !tensor.shape().broadcasts_to(shape) {
        return None;
    }
    let data: Vec<f64> = tensor.data().iter().map(|&c| f64::from(c)).collect();
    let first = *data.first()?;
    if data.iter().all(|c| *c == first) {
        return Some(vec![first]);
    }
    let missing = shape.rank() - tensor.shape().rank();
    let along_channels = |(axis, &extent): (usize, &usize)| axis + missing == 1 || extent == 1;
    tensor.shape().0.iter().enumerate().all(along_channels).then_some(data)
}

/// The polynomials, of itself and of values that it is made of, that a class is.
fn views(g: &RuleGraph<'_>, class: Id) -> Vec<View> {
    let class = g.egraph.find(class);
    let mut out = vec![View { of: class, powers: Powers::identity(), shown: Vec::new() }];
    for node in g.nodes(class) {
        let Some(&child) = node.children.first() else { continue };
        let child = g.egraph.find(child);
        if let NnOp::Polynomial { basis: Basis::Monomial, rows, coeffs, .. } = &node.op {
            let width = coeffs.len() / (*rows).max(1) as usize;
            let powers = Powers { rows: coeffs.chunks(width).map(|row| row.iter().map(|c| c.0).collect()).collect() };
            out.push(View { of: child, powers, shown: vec![(class, node)] });
            continue;
        }
        let Some(powers) = affine(g, class, &node) else { continue };
        // The innermost step of Horner's rule, a·x + b, which is no polynomial of its own.
        if matches!(node.op, NnOp::Add {}) {
            for inner in g.nodes(child).into_iter().filter(|inner| matches!(inner.op, NnOp::Mul {})) {
                let Some(scale) = affine(g, child, &inner) else { continue };
                let (of, shown) = (g.egraph.find(inner.children[0]), vec![(child, inner), (class, node.clone())]);
                out.push(View { of, powers: scale.plus(&powers.constant_terms()), shown });
            }
        }
        out.push(View { of: child, powers, shown: vec![(class, node)] });
    }
    out
}

/// A node of `class` as the product or the sum of its first child and a constant.
fn affine(g: &RuleGraph<'_>, class: Id, node: &NnNode) -> Option<Powers> {
    let product = match node.op {
        NnOp::Mul {} => true,
        NnOp::Add {} => false,
        _ => return None,
    };
    let (x, shape) = (g.egraph.find(node.children[0]), g.shape(class));
    if g.is_constant(x) || g.shape(x) != shape {
        return None;
    }
    let constant = Powers::constant(coefficients(&g.constant(node.children[1])?, &shape)?);
    Some(if product { Powers::identity().times(&constant) } else { Powers::identity().plus(&constant) })
}

/// A polynomial of another class that a node was found to be, and the nodes that show it.
struct Found {
    of: Id,
    powers: Powers,
    used: Vec<(Id, NnNode)>,
}

fn recognise(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (a, b) = (g.egraph.find(node.children[0]), g.egraph.find(node.children[1]));
    let Some(shape) = g.egraph.lookup(node.clone()).map(|class| g.shape(class)) else { return };
    if shape.rank() < 2 || g.is_constant(a) {
        return;
    }
    let combine = |x: &Powers, y: &Powers| if matches!(node.op, NnOp::Mul {}) { x.times(y) } else { x.plus(y) };
    let mut found: Vec<Found> = Vec::new();
    if let Some(constant) = g.constant(b) {
        let Some(constant) = coefficients(&constant, &shape).map(Powers::constant) else { return };
        let polynomials = views(g, a).into_iter().filter(|view| view.powers.degree() > 1);
        found.extend(polynomials.map(|v| Found { of: v.of, powers: combine(&v.powers, &constant), used: v.shown }));
    } else if a == b {
        let powers = combine(&Powers::identity(), &Powers::identity());
        found.push(Found { of: a, powers, used: Vec::new() });
    } else {
        for x in views(g, a) {
            for y in views(g, b).iter().filter(|y| y.of == x.of) {
                let used = x.shown.iter().chain(&y.shown).cloned().collect();
                found.push(Found { of: x.of, powers: combine(&x.powers, &y.powers), used });
            }
        }
    }
    let known = g.egraph.lookup(node.clone()).map(|class| views(g, class)).unwrap_or_default();
    for Found { of, powers, used } in found {
        let finite = powers.rows.iter().flatten().all(|c| c.is_finite());
        let same = |view: &View| view.of == of && view.powers.degree() > 1 && view.powers.is_close(&powers);
        if !(2..=MAX_DEGREE).contains(&powers.degree()) || !finite || g.shape(of) != shape || known.iter().any(same) {
            continue;
        }
        used.iter().for_each(|(class, node)| g.uses(*class, node));
        let made = g.add(powers.op(), [of]);
        g.found(made);
    }
}
