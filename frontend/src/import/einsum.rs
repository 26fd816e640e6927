//! Einsum: operands are multiplied two by two, each time as one batched matrix product.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] =
    &[Operator::new("Einsum", einsum, "sums, permutations and products; no diagonals, an ellipsis does not broadcast")];

/// The name of a dimension: a letter, or a place counted from the end of the dimensions of an ellipsis.
type Index = u32;

/// Names of the dimensions of an ellipsis start here, beyond all characters.
const ELLIPSIS: Index = 1 << 24;

/// An operand whose dimensions have names.
struct EinsumTerm {
    x: Operand,
    indices: Vec<Index>,
}

fn unsupported(reason: impl Into<String>) -> Refusal {
    Refusal::new(reason, "write it as MatMul, Transpose, Mul and ReduceSum")
}

fn einsum(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let equation = node.text("equation")?.ok_or_else(|| Refusal::invalid("its attribute `equation` is missing"))?;
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let inputs = node.all_inputs()?;
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != inputs.len() {
        return Err(Refusal::invalid(format!("{} terms for {} operands", terms.len(), inputs.len())));
    }
    let mut widest = 0;
    let mut operands = Vec::with_capacity(inputs.len());
    for (term, &x) in terms.iter().zip(&inputs) {
        let rank = cx.shape(x).rank();
        let letters = term.replace("...", "").chars().count();
        let hidden = rank.checked_sub(letters).filter(|&h| h == 0 || term.contains("..."));
        let hidden = hidden.ok_or_else(|| Refusal::invalid(format!("`{term}` over {rank} dimensions")))?;
        widest = widest.max(hidden);
        operands.push(EinsumTerm { x: x.clone(), indices: indices(term, hidden)? });
    }
    let wanted = match right {
        Some(right) => indices(right, widest)?,
        None => implicit(&operands, widest),
    };
    for term in &operands {
        let mut seen = term.indices.clone();
        seen.sort_unstable();
        if seen.windows(2).any(|w| w[0] == w[1]) {
            return Err(unsupported("a term repeats an index: diagonals are not supported"));
        }
    }
    let mut rest = operands.into_iter();
    let mut product = rest.next().ok_or_else(|| Refusal::invalid("it has no operands"))?;
    let mut rest: std::collections::VecDeque<EinsumTerm> = rest.collect();
    while let Some(next) = rest.pop_front() {
        let needed = |i: &Index| wanted.contains(i) || rest.iter().any(|t| t.indices.contains(i));
        product = contract(cx, product, next, needed)?;
    }
    let product = summed(cx, product, |i| wanted.contains(i))?;
    arranged(cx, &product, &wanted).map(|y| vec![y])
}

/// The names in a term whose ellipsis stands for `hidden` dimensions.
fn indices(term: &str, hidden: usize) -> Result<Vec<Index>> {
    let ellipsis = (0..hidden as Index).rev().map(|i| ELLIPSIS + i);
    let letters = |text: &str| -> Result<Vec<Index>> {
        match text.chars().find(|c| !c.is_alphabetic()) {
            Some(c) => Err(Refusal::invalid(format!("`{c}` in the equation"))),
            None => Ok(text.chars().map(Index::from).collect()),
        }
    };
    Ok(match term.split_once("...") {
        None => letters(term)?,
        Some((before, after)) => letters(before)?.into_iter().chain(ellipsis).chain(letters(after)?).collect(),
    })
}

/// The result's names where the equation has none: those of the ellipsis, then letters that occur once, by alphabet.
fn implicit(terms: &[EinsumTerm], hidden: usize) -> Vec<Index> {
    let all: Vec<Index> = terms.iter().flat_map(|t| t.indices.iter().copied()).collect();
    let mut once: Vec<Index> =
        all.iter().copied().filter(|&i| i < ELLIPSIS && all.iter().filter(|&&j| j == i).count() == 1).collect();
    once.sort_unstable();
    (0..hidden as Index).rev().map(|i| ELLIPSIS + i).chain(once).collect()
}

/// The term summed over the indices that are not needed.
fn summed(cx: &mut Context, term: EinsumTerm, needed: impl Fn(&Index) -> bool) -> Result<EinsumTerm> {
    let axes: Vec<usize> = (0..term.indices.len()).filter(|&d| !needed(&term.indices[d])).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let x = cx.push(NnOp::ReduceSum { axes: signed(&axes), keepdims: false }, &[&term.x])?;
    Ok(EinsumTerm { x, indices: term.indices.into_iter().filter(|i| needed(i)).collect() })
}

/// The operand of a term with its dimensions in this order.
fn arranged(cx: &mut Context, term: &EinsumTerm, order: &[Index]) -> Result<Operand> {
    let perm: Option<Vec<usize>> = order.iter().map(|i| term.indices.iter().position(|j| j == i)).collect();
    let perm = perm.filter(|p| p.len() == term.indices.len());
    let perm = perm.ok_or_else(|| unsupported("the result has an index that not all operands can give"))?;
    if perm.is_sorted() { Ok(term.x.clone()) } else { cx.push(NnOp::Transpose { perm: signed(&perm) }, &[&term.x]) }
}

/// The product of two terms, summed over what is not needed later.
fn contract(cx: &mut Context, a: EinsumTerm, b: EinsumTerm, needed: impl Fn(&Index) -> bool) -> Result<EinsumTerm> {
    let (of_a, of_b) = (a.indices.clone(), b.indices.clone());
    let a = summed(cx, a, |i| needed(i) || of_b.contains(i))?;
    let b = summed(cx, b, |i| needed(i) || of_a.contains(i))?;
    let select = |list: &[Index], test: &dyn Fn(&Index) -> bool| -> Vec<Index> {
        list.iter().copied().filter(|i| test(i)).collect()
    };
    let batch = select(&a.indices, &|i| b.indices.contains(i) && needed(i));
    let inner = select(&a.indices, &|i| b.indices.contains(i) && !needed(i));
    let (left, right) =
        (select(&a.indices, &|i| !b.indices.contains(i)), select(&b.indices, &|i| !a.indices.contains(i)));
    let extents = |cx: &Context, term: &EinsumTerm, list: &[Index]| -> Vec<usize> {
        let at = |i: &Index| term.indices.iter().position(|j| j == i).map_or(1, |d| cx.shape(&term.x).0[d]);
        list.iter().map(at).collect()
    };
    for i in batch.iter().chain(&inner) {
        let (m, n) = (extents(cx, &a, &[*i]), extents(cx, &b, &[*i]));
        if m != n {
            return Err(unsupported(format!("an index has extents {} and {}", m[0], n[0])));
        }
    }
    let (n_batch, n_inner) = (extents(cx, &a, &batch), extents(cx, &a, &inner));
    let (n_left, n_right) = (extents(cx, &a, &left), extents(cx, &b, &right));
    let flat = |list: &[usize]| list.iter().product::<usize>();
    let x = arranged(cx, &a, &[&batch[..], &left, &inner].concat())?;
    let shape = [&n_batch[..], &[flat(&n_left), flat(&n_inner)]].concat();
    let x = cx.push(NnOp::Reshape { shape: signed(&shape) }, &[&x])?;
    let y = arranged(cx, &b, &[&batch[..], &inner, &right].concat())?;
    let shape = [&n_batch[..], &[flat(&n_inner), flat(&n_right)]].concat();
    let y = cx.push(NnOp::Reshape { shape: signed(&shape) }, &[&y])?;
    let product = cx.push(NnOp::MatMul {}, &[&x, &y])?;
    let shape = [n_batch, n_left, n_right].concat();
    let x = cx.push(NnOp::Reshape { shape: signed(&shape) }, &[&product])?;
    Ok(EinsumTerm { x, indices: [batch, left, right].concat() })
}
