//! Values that are not computed yet: an affine map of values that are.

use std::sync::Arc;

use fhec_ir::Shape;
use fhec_ir::nn::NnOp;

use super::sparse::Sparse;
use super::weights::WeightUse;

/// A tensor as Σ map · source + bias. Constants are tensors without sources.
///
/// Chains of linear ops stay in this form and become one linear transform, hence one level, when a nonlinear op or a result
/// asks for the slots.
#[derive(Clone, Debug)]
pub(crate) struct AffineMap {
    pub(crate) shape: Shape,
    /// Sources by increasing number.
    pub(crate) terms: Vec<(usize, Arc<Sparse>)>,
    pub(crate) bias: Vec<f64>,
    /// How the value came about, for the choice of its layout.
    pub(crate) trails: Vec<Trail>,
    /// Which weights are in the maps, where that is asked for.
    pub(super) uses: Vec<WeightUse>,
}

/// The ops between a source and a value: what they do to the source's layout suggests the value's.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    pub(crate) source: usize,
    pub(crate) steps: Vec<Arc<TrailStep>>,
}

/// An op on the way, with the shapes of its operand and result.
#[derive(Clone, Debug)]
pub(crate) struct TrailStep {
    pub(crate) op: NnOp,
    pub(crate) from: Shape,
    pub(crate) to: Shape,
}

/// No value keeps more trails than this.
const MOST_TRAILS: usize = 3;

impl AffineMap {
    pub(crate) fn constant(shape: Shape, bias: Vec<f64>) -> Self {
        Self { shape, terms: Vec::new(), bias, trails: Vec::new(), uses: Vec::new() }
    }
    /// Source number `source` as it is.
    pub(crate) fn source(source: usize, shape: Shape) -> Self {
        let n = shape.len();
        let terms = vec![(source, Arc::new(Sparse::identity(n)))];
        let trails = vec![Trail { source, steps: Vec::new() }];
        Self { shape, terms, bias: vec![0.0; n], trails, uses: Vec::new() }
    }
    pub(crate) fn is_constant(&self) -> bool {
        self.terms.is_empty()
    }
    /// Whether every element is a multiple of one source element plus a constant.
    pub(crate) fn is_light(&self) -> bool {
        self.terms.len() <= 1 && self.terms.iter().all(|(_, m)| m.is_light())
    }
    /// The image under the linear map of `op` to a tensor of `shape`.
    pub(crate) fn mapped(&self, map: Sparse, op: &NnOp, shape: &Shape) -> Self {
        let map = Arc::new(map);
        let after = |m: &Arc<Sparse>| if m.is_identity() { map.clone() } else { Arc::new(map.compose(m)) };
        let terms = self.terms.iter().map(|(s, m)| (*s, after(m))).collect();
        let uses = self.uses.iter().map(|u| u.mapped(&map)).collect();
        let bias = map.apply(&self.bias);
        let out = Self { shape: self.shape.clone(), terms, bias, trails: self.trails.clone(), uses };
        out.reshaped(op, shape)
    }
    /// The same elements as a tensor of `shape`, by `op`.
    pub(crate) fn reshaped(mut self, op: &NnOp, shape: &Shape) -> Self {
        let step = Arc::new(TrailStep { op: op.clone(), from: self.shape.clone(), to: shape.clone() });
        self.trails.iter_mut().for_each(|t| t.steps.push(step.clone()));
        self.shape = shape.clone();
        self
    }
    /// `scale[e] · x[e] + shift[e]`.
    pub(crate) fn rescaled(&self, scale: impl Fn(usize) -> f64, shift: impl Fn(usize) -> f64) -> Self {
        let kept = (0..self.bias.len()).all(|e| scale(e) == 1.0);
        let scaled = |m: &Arc<Sparse>| if kept { m.clone() } else { Arc::new(m.scale_rows(&scale)) };
        let terms = self.terms.iter().map(|(s, m)| (*s, scaled(m))).collect();
        let bias = self.bias.iter().enumerate().map(|(e, b)| scale(e) * b + shift(e)).collect();
        Self { shape: self.shape.clone(), terms, bias, trails: self.trails.clone(), uses: self.uses.clone() }
    }
    /// The sum with a value of equal shape.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut terms = self.terms.clone();
        for (source, map) in &other.terms {
            match terms.iter_mut().find(|(s, _)| s == source) {
                Some((_, mine)) => *mine = Arc::new(mine.add(map)),
                None => terms.push((*source, map.clone())),
            }
        }
        terms.sort_by_key(|(s, _)| *s);
        let bias = self.bias.iter().zip(&other.bias).map(|(a, b)| a + b).collect();
        let trails = self.trails.iter().chain(&other.trails).take(MOST_TRAILS).cloned().collect();
        let uses = self.summed_uses(other);
        Self { shape: self.shape.clone(), terms, bias, trails, uses }
    }
    /// The factor and the source when the value is c times one source, in place, without a constant.
    pub(crate) fn as_scaled_source(&self) -> Option<(f64, usize)> {
        let [(source, map)] = self.terms.as_slice() else { return None };
        let c = map.uniform_diagonal()?;
        self.bias.iter().all(|&b| b == 0.0).then_some((c, *source))
    }
    /// Number of stored weights.
    pub(crate) fn nnz(&self) -> usize {
        self.terms.iter().map(|(_, m)| m.nnz()).sum()
    }
}
