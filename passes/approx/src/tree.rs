//! Evaluation trees: polynomials as straight-line programs of ciphertext steps.

use serde::Serialize;

use super::interval::Affine;
use super::scheme::Weights;

/// A value of an [`EvalTree`]: the mapped input, or the result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum TreeOperand {
    /// `input[channel].apply(x)`.
    Input,
    /// The step with this index.
    TreeStep(usize),
}

/// factor · left · right: one ciphertext product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// First factor.
    pub left: TreeOperand,
    /// Second factor; equal to `left` for a square.
    pub right: TreeOperand,
    /// 1, -1 or 2: a sign or a doubling, which costs no level.
    pub factor: i32,
}

/// constant · value: a plaintext product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TreeTerm {
    /// Index into [`EvalTree::constants`].
    pub constant: usize,
    /// The ciphertext operand.
    pub value: TreeOperand,
}

/// Σ products + Σ terms + constant, summed before one relinearisation (if there are products) and one rescale.
///
/// A step consumes exactly one level below the lowest of its operands. Products and terms are never both empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreeStep {
    /// Ciphertext products.
    pub products: Vec<Product>,
    /// Plaintext products.
    pub terms: Vec<TreeTerm>,
    /// Added constant, an index into [`EvalTree::constants`].
    pub constant: Option<usize>,
}

/// A plan for evaluating one polynomial, or one per channel with the same structure, on a ciphertext.
///
/// **Guarantees.** With the input map folded into the layer before (the tree itself never spends a level on it):
/// - [`Self::chebyshev`]: depth exactly ⌈log2(d + 1)⌉ for degree d ≥ 1, all coefficients included;
/// - [`super::CompletedSquare::tree`]: one level, one square, no plaintext product.
///
/// If the map cannot be folded, it costs one level and one plaintext product (none for the identity on `[-1, 1]`).
/// Steps are in an order in which operands come first; the last step is the result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalTree {
    pub(super) input: Vec<Affine>,
    pub(super) steps: Vec<TreeStep>,
    pub(super) constants: Vec<Vec<f64>>,
}

/// How to build a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeOptions {
    /// What the structure minimises.
    pub weights: Weights,
    /// Levels at most; the least possible when absent. More levels can save products, up to four of them are used.
    pub depth: Option<u32>,
}

/// Operation counts of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Levels consumed.
    pub depth: u32,
    /// Ciphertext-by-ciphertext products.
    pub products: usize,
    /// Relinearisations: steps with at least one product.
    pub relinearisations: usize,
    /// Ciphertext-by-plaintext products.
    pub plain_products: usize,
    /// Rescales: one per step.
    pub rescales: usize,
}

impl EvalTree {
    /// The input map per channel (one entry if shared), to be folded into the layer before.
    pub fn input(&self) -> &[Affine] {
        &self.input
    }

    /// The steps; the last one is the result.
    pub fn steps(&self) -> &[TreeStep] {
        &self.steps
    }

    /// `constants()[k]` holds constant k per channel (one entry if shared).
    pub fn constants(&self) -> &[Vec<f64>] {
        &self.constants
    }

    /// Number of channels; 1 if shared.
    pub fn channels(&self) -> usize {
        self.input.len()
    }

    /// The depth of each step, counted from the mapped input.
    pub fn step_depths(&self) -> Vec<u32> {
        let mut depths: Vec<u32> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let depth = step
                .operands()
                .map(|o| if let TreeOperand::TreeStep(s) = o { depths[s] } else { 0 })
                .max()
                .unwrap_or(0);
            depths.push(depth + 1);
        }
        depths
    }

    /// Operation counts.
    pub fn counts(&self) -> Counts {
        Counts {
            depth: self.step_depths().last().copied().unwrap_or(0),
            products: self.steps.iter().map(|s| s.products.len()).sum(),
            relinearisations: self.steps.iter().filter(|s| !s.products.is_empty()).count(),
            plain_products: self.steps.iter().map(|s| s.terms.len()).sum(),
            rescales: self.steps.len(),
        }
    }

    /// The values of all steps for input `x` of `channel` (taken modulo the number of channels), in clear double precision.
    pub fn trace(&self, x: f64, channel: usize) -> Vec<f64> {
        let channel = channel % self.channels();
        let u = self.input[channel].apply(x);
        let mut values: Vec<f64> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let get = |o: TreeOperand| if let TreeOperand::TreeStep(s) = o { values[s] } else { u };
            let constant = |k: usize| self.constants[k][channel];
            let value = step.products.iter().map(|p| f64::from(p.factor) * get(p.left) * get(p.right)).sum::<f64>()
                + step.terms.iter().map(|t| constant(t.constant) * get(t.value)).sum::<f64>()
                + step.constant.map_or(0.0, constant);
            values.push(value);
        }
        values
    }

    /// The derivative of the result by the input `x` of `channel`, and by the value of every step: by how much an error made
    /// there is multiplied. Reverse mode over the steps.
    pub fn slopes(&self, x: f64, channel: usize) -> (f64, Vec<f64>) {
        let channel = channel % self.channels();
        let u = self.input[channel].apply(x);
        let values = self.trace(x, channel);
        let get = |o: TreeOperand| if let TreeOperand::TreeStep(s) = o { values[s] } else { u };
        let mut input = 0.0;
        let mut steps = vec![0.0; self.steps.len()];
        if let Some(last) = steps.last_mut() {
            *last = 1.0;
        }
        for (number, step) in self.steps.iter().enumerate().rev() {
            let slope = steps[number];
            let mut pass = |o: TreeOperand, factor: f64| match o {
                TreeOperand::TreeStep(s) => steps[s] += factor * slope,
                TreeOperand::Input => input += factor * slope,
            };
            for p in &step.products {
                pass(p.left, f64::from(p.factor) * get(p.right));
                pass(p.right, f64::from(p.factor) * get(p.left));
            }
            for t in &step.terms {
                pass(t.value, self.constants[t.constant][channel]);
            }
        }
        (input * self.input[channel].scale, steps)
    }

    /// The result for input `x` of `channel`.
    pub fn eval(&self, x: f64, channel: usize) -> f64 {
        self.trace(x, channel).last().copied().unwrap_or(f64::NAN)
    }
}

impl TreeStep {
    /// All operands, with repetitions.
    pub fn operands(&self) -> impl Iterator<Item = TreeOperand> + '_ {
        self.products.iter().flat_map(|p| [p.left, p.right]).chain(self.terms.iter().map(|t| t.value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Interval, Polynomial};
    use super::*;

    /// What an error of `step` (the input, if none) does to the result, by evaluating again with it.
    fn with_error(tree: &EvalTree, x: f64, step: Option<usize>, error: f64) -> f64 {
        let u = tree.input[0].apply(if step.is_none() { x + error } else { x });
        let mut values: Vec<f64> = Vec::new();
        for (number, s) in tree.steps.iter().enumerate() {
            let get = |o: TreeOperand| if let TreeOperand::TreeStep(s) = o { values[s] } else { u };
            let products: f64 = s.products.iter().map(|p| f64::from(p.factor) * get(p.left) * get(p.right)).sum();
            let terms: f64 = s.terms.iter().map(|t| tree.constants[t.constant][0] * get(t.value)).sum();
            let constant = s.constant.map_or(0.0, |k| tree.constants[k][0]);
            values.push(products + terms + constant + if step == Some(number) { error } else { 0.0 });
        }
        values.last().copied().unwrap()
    }

    #[test]
    fn slopes_are_what_small_errors_do() {
        let coefficients: Vec<f64> = (0..16).map(|k| (1.7 * f64::from(k)).sin() / (1.0 + f64::from(k))).collect();
        let p = Polynomial::new(Interval::new(-3.0, 5.0).unwrap(), coefficients).unwrap();
        let tree = EvalTree::chebyshev(std::slice::from_ref(&p), TreeOptions::default()).unwrap();
        for x in [-2.9, 0.3, 4.8] {
            let (input, steps) = tree.slopes(x, 0);
            assert!((input - p.derivative().eval(x)).abs() < 1e-9, "{input}");
            for (step, slope) in
                std::iter::once((None, input)).chain(steps.iter().enumerate().map(|(s, v)| (Some(s), *v)))
            {
                const E: f64 = 1e-5;
                let measured = (with_error(&tree, x, step, E) - with_error(&tree, x, step, -E)) / (2.0 * E);
                assert!(
                    (measured - slope).abs() < 1e-6 * slope.abs().max(1.0),
                    "{step:?} at {x}: {slope}, measured {measured}"
                );
            }
        }
    }
}
