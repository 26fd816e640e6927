//! Values that are not computed yet: an affine map of values that are.

use std::rc::Rc;

use fhec_ir::Shape;

use super::layout::Digits;
use super::sparse::Sparse;

/// A tensor as Σ map · source + bias. Constants are tensors without sources.
///
/// Chains of linear ops stay in this form and become one linear transform, hence one level, when a nonlinear op or a result
/// asks for the slots.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) shape: Shape,
    /// Sources by increasing number.
    pub(super) terms: Vec<(usize, Rc<Sparse>)>,
    pub(super) bias: Vec<f64>,
    /// Layouts that suit the value, best guess first.
    pub(super) hints: Vec<Digits>,
}

impl Affine {
    pub(super) fn constant(shape: Shape, bias: Vec<f64>) -> Self {
        Self { shape, terms: Vec::new(), bias, hints: Vec::new() }
    }
    /// Source number `source` as it is.
    pub(super) fn source(source: usize, shape: Shape, digits: Digits) -> Self {
        let n = shape.len();
        Self { shape, terms: vec![(source, Rc::new(Sparse::identity(n)))], bias: vec![0.0; n], hints: vec![digits] }
    }
    pub(super) fn is_constant(&self) -> bool {
        self.terms.is_empty()
    }
    /// Whether every element is a multiple of one source element plus a constant.
    pub(super) fn is_light(&self) -> bool {
        self.terms.len() <= 1 && self.terms.iter().all(|(_, m)| m.is_light())
    }
    /// The image under a linear map to a tensor of `shape`.
    pub(super) fn mapped(&self, map: &Sparse, shape: Shape, hints: Vec<Digits>) -> Self {
        let terms = self.terms.iter().map(|(s, m)| (*s, Rc::new(map.compose(m)))).collect();
        Self { shape, terms, bias: map.apply(&self.bias), hints }
    }
    /// `scale[e] · x[e] + shift[e]`.
    pub(super) fn rescaled(&self, scale: impl Fn(usize) -> f64, shift: impl Fn(usize) -> f64) -> Self {
        let terms = self.terms.iter().map(|(s, m)| (*s, Rc::new(m.scale_rows(&scale)))).collect();
        let bias = self.bias.iter().enumerate().map(|(e, b)| scale(e) * b + shift(e)).collect();
        Self { shape: self.shape.clone(), terms, bias, hints: self.hints.clone() }
    }
    /// The sum with a value of equal shape.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut terms = self.terms.clone();
        for (source, map) in &other.terms {
            match terms.iter_mut().find(|(s, _)| s == source) {
                Some((_, mine)) => *mine = Rc::new(mine.add(map)),
                None => terms.push((*source, map.clone())),
            }
        }
        terms.sort_by_key(|(s, _)| *s);
        let bias = self.bias.iter().zip(&other.bias).map(|(a, b)| a + b).collect();
        let mut hints = self.hints.clone();
        hints.extend(other.hints.iter().filter(|h| !self.hints.contains(h)).cloned());
        Self { shape: self.shape.clone(), terms, bias, hints }
    }
    /// The factor and the source when the value is c times one source, in place, without a constant.
    pub(super) fn as_scaled_source(&self) -> Option<(f64, usize)> {
        let [(source, map)] = self.terms.as_slice() else { return None };
        let c = map.uniform_diagonal()?;
        self.bias.iter().all(|&b| b == 0.0).then_some((c, *source))
    }
    /// Number of source elements it could read.
    pub(super) fn columns(&self) -> usize {
        self.terms.iter().map(|(_, m)| m.cols()).sum()
    }
    /// Number of stored weights.
    pub(super) fn nnz(&self) -> usize {
        self.terms.iter().map(|(_, m)| m.nnz()).sum()
    }
}
