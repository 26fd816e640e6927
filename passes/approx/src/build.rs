//! Building evaluation trees from polynomials.

use super::error::ApproxError;
use super::interval::Affine;
use super::least_squares::MAX_DEGREE;
use super::polynomial::Polynomial;
use super::scheme::{Division, Goal, Scheme, min_depth};
use super::tree::{EvalTree, Product, TreeOperand, TreeOptions, TreeStep, TreeTerm};
use fhec_functions::Parity;

/// Levels beyond the least ones that a search makes use of.
const SPARE_LEVELS: u32 = 4;

impl EvalTree {
    /// Depth-optimal baby-step giant-step evaluation in the Chebyshev basis, for one polynomial or one per channel.
    ///
    /// # Errors
    /// No polynomial, constants alone, or an `options.depth` below ⌈log2(d + 1)⌉.
    pub fn chebyshev(polynomials: &[Polynomial], options: TreeOptions) -> Result<Self, ApproxError> {
        let rows = Rows::of(polynomials)?;
        let input = polynomials.iter().map(|p| p.interval().unit_map()).collect();
        let mut b = Builder::new(input);
        b.polynomial(TreeOperand::Input, &rows, options)?;
        Ok(b.finish())
    }

    /// sign·(x·scale + shift)² + constant per channel: one level, one square. `signs` must agree.
    pub(super) fn square(input: Vec<Affine>, sign: i32, constants: Vec<f64>) -> Self {
        let mut b = Builder::new(input);
        let constant = b.constant(constants);
        b.steps.push(TreeStep {
            products: vec![Product { left: TreeOperand::Input, right: TreeOperand::Input, factor: sign }],
            terms: Vec::new(),
            constant,
        });
        b.finish()
    }
}

/// Chebyshev coefficients of one or more polynomials, padded to one degree.
struct Rows {
    rows: Vec<Vec<f64>>,
    degree: usize,
    parity: Parity,
}

impl Rows {
    fn of(polynomials: &[Polynomial]) -> Result<Self, ApproxError> {
        let degree = polynomials.iter().map(Polynomial::degree).max().unwrap_or(0);
        if degree == 0 {
            return Err(ApproxError::Degree {
                degree,
                reason: "a constant needs no evaluation; replace it by its value",
            });
        }
        if degree > MAX_DEGREE {
            return Err(ApproxError::Degree { degree, reason: "evaluation trees stop at 255; use a composite" });
        }
        let rows: Vec<Vec<f64>> = polynomials
            .iter()
            .map(|p| {
                let mut row = p.coefficients().to_vec();
                row.resize(degree + 1, 0.0);
                row
            })
            .collect();
        let all =
            |parity: Parity| rows.iter().flat_map(|r| r.iter().enumerate()).all(|(k, c)| *c == 0.0 || parity.allows(k));
        let parity = Parity::ALL.into_iter().find(|p| all(*p)).unwrap_or(Parity::Mixed);
        Ok(Rows { rows, degree, parity })
    }
}

/// Steps and constants under construction.
struct Builder {
    input: Vec<Affine>,
    steps: Vec<TreeStep>,
    constants: Vec<Vec<f64>>,
}

/// One polynomial stage under construction: its scheme and the basis values made so far.
struct Stage<'a> {
    scheme: &'a Scheme,
    basis: Vec<(usize, TreeOperand)>,
}

impl Builder {
    fn new(input: Vec<Affine>) -> Self {
        Builder { input, steps: Vec::new(), constants: Vec::new() }
    }

    fn finish(self) -> EvalTree {
        EvalTree { input: self.input, steps: self.steps, constants: self.constants }
    }

    /// Registers a constant; `None` when it is zero in all channels.
    fn constant(&mut self, values: Vec<f64>) -> Option<usize> {
        if values.iter().all(|v| *v == 0.0) {
            return None;
        }
        let known = self.constants.iter().position(|c| *c == values);
        Some(known.unwrap_or_else(|| {
            self.constants.push(values);
            self.constants.len() - 1
        }))
    }

    fn term(&mut self, step: &mut TreeStep, values: Vec<f64>, value: TreeOperand) {
        if let Some(constant) = self.constant(values) {
            step.terms.push(TreeTerm { constant, value });
        }
    }

    /// Emits the steps of one polynomial whose `[-1, 1]` input is `at`.
    fn polynomial(&mut self, at: TreeOperand, rows: &Rows, options: TreeOptions) -> Result<TreeOperand, ApproxError> {
        let needed = min_depth(rows.degree);
        let given = options.depth.unwrap_or(needed);
        let depth = given.min(needed + SPARE_LEVELS);
        let mut coefficients = rows.rows.clone();
        let goal = Goal { degree: rows.degree, parity: rows.parity, depth };
        let scheme = Scheme::search(goal, options.weights).ok_or(ApproxError::TooFewLevels {
            degree: rows.degree,
            needed,
            given,
        })?;
        let mut stage = Stage { scheme: &scheme, basis: vec![(1, at)] };
        let mut step = TreeStep { products: Vec::new(), terms: Vec::new(), constant: None };
        if rows.parity == Parity::EvenPlusLinear {
            let linear = coefficients.iter_mut().map(|r| std::mem::take(&mut r[1])).collect();
            self.term(&mut step, linear, at);
        }
        let mut lone = vec![0.0; coefficients.len()];
        if rows.parity == Parity::OddPlusConstant {
            lone = coefficients.iter_mut().map(|r| std::mem::take(&mut r[0])).collect();
        }
        let constant = self.sum(&mut stage, &mut step, coefficients, rows.degree, depth, rows.parity);
        Ok(self.close(step, constant.iter().zip(lone).map(|(a, b)| a + b).collect()))
    }

    fn close(&mut self, mut step: TreeStep, constant: Vec<f64>) -> TreeOperand {
        step.constant = self.constant(constant);
        self.steps.push(step);
        TreeOperand::TreeStep(self.steps.len() - 1)
    }

    /// The value of B_index, emitting its steps when they are first needed.
    fn basis(&mut self, stage: &mut Stage<'_>, index: usize) -> TreeOperand {
        if let Some((_, at)) = stage.basis.iter().find(|(k, _)| *k == index) {
            return *at;
        }
        let Some(element) = stage.scheme.basis.iter().find(|b| b.index == index).copied() else {
            unreachable!("schemes only name members of their basis");
        };
        let left = self.basis(stage, element.left);
        let right = self.basis(stage, element.right);
        // T_{a+b} = 2·T_a·T_b - T_{a-b} for a ≥ b, T_0 = 1.
        let minus = vec![-1.0; self.input.len()];
        let mut step =
            TreeStep { products: vec![Product { left, right, factor: 2 }], terms: Vec::new(), constant: None };
        let mut constant = vec![0.0; minus.len()];
        if element.left == element.right {
            constant = minus;
        } else {
            let difference = self.basis(stage, element.left - element.right);
            self.term(&mut step, minus, difference);
        }
        let at = self.close(step, constant);
        stage.basis.push((index, at));
        at
    }

    /// Adds a part of the polynomial (Chebyshev coefficients per channel) to `step`; returns its constant.
    fn sum(
        &mut self,
        stage: &mut Stage<'_>,
        step: &mut TreeStep,
        mut rows: Vec<Vec<f64>>,
        degree: usize,
        depth: u32,
        parity: Parity,
    ) -> Vec<f64> {
        let (degree, part) = stage.scheme.part(degree, depth, parity);
        let Division::Split(g) = part else {
            for k in (1..=degree).filter(|k| parity.allows(*k)) {
                let values: Vec<f64> = rows.iter().map(|r| r[k]).collect();
                if values.iter().any(|v| *v != 0.0) {
                    let value = self.basis(stage, k);
                    self.term(step, values, value);
                }
            }
            return rows.iter().map(|r| r[0]).collect();
        };
        let quotient: Vec<Vec<f64>> = rows.iter_mut().map(|r| divide(r, degree, g)).collect();
        if quotient.iter().any(|q| q.iter().any(|c| *c != 0.0)) {
            let giant = self.basis(stage, g);
            if quotient.iter().all(|q| q[1..].iter().all(|c| *c == 0.0)) {
                self.term(step, quotient.iter().map(|q| q[0]).collect(), giant);
            } else {
                let parity = match parity {
                    Parity::Odd | Parity::OddPlusConstant if g % 2 == 1 => Parity::Even,
                    Parity::Even | Parity::EvenPlusLinear if g % 2 == 1 => Parity::Odd,
                    p => p,
                };
                let mut inner = TreeStep { products: Vec::new(), terms: Vec::new(), constant: None };
                let constant = self.sum(stage, &mut inner, quotient, degree - g, depth - 1, parity);
                let left = self.close(inner, constant);
                step.products.push(Product { left, right: giant, factor: 1 });
            }
        }
        self.sum(stage, step, rows, g - 1, depth, parity)
    }
}

/// Divides Σ_{k ≤ degree} row[k]·T_k by T_g in place: `row` keeps the remainder (degree < g); returns the quotient.
fn divide(row: &mut [f64], degree: usize, g: usize) -> Vec<f64> {
    let mut quotient = vec![0.0; degree - g + 1];
    for k in (g..=degree).rev() {
        let c = std::mem::take(&mut row[k]);
        if k == g {
            quotient[0] += c;
        } else {
            // T_k = 2·T_{k-g}·T_g - T_{|k-2g|}.
            quotient[k - g] += 2.0 * c;
            row[k.abs_diff(2 * g)] -= c;
        }
    }
    quotient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interval;
    use crate::scheme::Weights;
    use proptest::prelude::*;

    /// Coefficients in `[-1, 1]` from a small congruential generator.
    fn coefficients(degree: usize, parity: Parity, seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..=degree)
            .map(|k| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let value = (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
                // Kept away from zero so that the top coefficient is really there.
                if parity.allows(k) { value + 0.1f64.copysign(value) } else { 0.0 }
            })
            .collect()
    }

    fn agrees(tree: &EvalTree, polynomials: &[Polynomial], tolerance: f64) {
        for (channel, p) in polynomials.iter().enumerate() {
            let size: f64 = p.coefficients().iter().map(|c| c.abs()).sum();
            for k in 0..=40 {
                let x = p.interval().from_unit(f64::from(k) / 20.0 - 1.0);
                let (got, want) = (tree.eval(x, channel), p.eval(x));
                assert!((got - want).abs() <= tolerance * size, "degree {} at {x}: {got} against {want}", p.degree());
            }
        }
    }

    #[test]
    fn degrees_1_to_63_agree_with_clenshaw_at_least_depth() {
        let i = Interval::new(-3.0, 5.0).unwrap();
        for degree in 1..=63usize {
            for parity in Parity::ALL {
                if !parity.allows(degree) {
                    continue;
                }
                let p = Polynomial::new(i, coefficients(degree, parity, degree as u64)).unwrap();
                assert_eq!(p.degree(), degree);
                let tree = EvalTree::chebyshev(std::slice::from_ref(&p), TreeOptions::default()).unwrap();
                let want = ((degree + 1) as f64).log2().ceil() as u32;
                assert_eq!(tree.counts().depth, want, "degree {degree} {parity:?}");
                agrees(&tree, &[p], 1e-11);
            }
        }
    }

    #[test]
    fn trees_take_the_published_products() {
        let options = TreeOptions { weights: Weights::PRODUCTS, depth: None };
        for (degree, products) in [(3, 2), (5, 3), (7, 5), (9, 5), (11, 6), (13, 7), (15, 8), (27, 10), (63, 17)] {
            let p = Polynomial::new(Interval::UNIT, coefficients(degree, Parity::Odd, 5)).unwrap();
            assert_eq!(EvalTree::chebyshev(&[p], options).unwrap().counts().products, products, "degree {degree}");
        }
    }

    #[test]
    fn default_weights_spare_key_switches() {
        for degree in [14, 15, 30, 31] {
            let p = [Polynomial::new(Interval::UNIT, coefficients(degree, Parity::Mixed, 5)).unwrap()];
            let fewest = EvalTree::chebyshev(&p, TreeOptions { weights: Weights::PRODUCTS, depth: None }).unwrap();
            let default = EvalTree::chebyshev(&p, TreeOptions::default()).unwrap();
            assert!(default.counts().relinearisations <= fewest.counts().relinearisations);
            assert!(default.counts().relinearisations < default.counts().products);
        }
    }

    #[test]
    fn depth_is_refused_or_spent() {
        let p = [Polynomial::new(Interval::UNIT, coefficients(9, Parity::Mixed, 3)).unwrap()];
        let with = |depth| EvalTree::chebyshev(&p, TreeOptions { depth: Some(depth), ..TreeOptions::default() });
        assert_eq!(with(3), Err(ApproxError::TooFewLevels { degree: 9, needed: 4, given: 3 }));
        assert!(with(6).unwrap().counts().products <= with(4).unwrap().counts().products);
        let constant = Polynomial::new(Interval::UNIT, vec![1.0]).unwrap();
        assert!(EvalTree::chebyshev(&[constant], TreeOptions::default()).is_err());
        assert!(EvalTree::chebyshev(&[], TreeOptions::default()).is_err());
        assert!(with(u32::MAX).is_ok());
        let huge = Polynomial::new(Interval::UNIT, vec![1.0; 100_000]).unwrap();
        assert!(EvalTree::chebyshev(&[huge], TreeOptions::default()).is_err());
    }

    proptest! {
        #[test]
        fn sparse_and_mixed_channels_agree(
            rows in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0.0), -1.0..1.0f64], 1..24), 1..4),
            lo in -4.0..0.0f64, extra in 0u32..2,
        ) {
            let i = Interval::new(lo, lo + 3.0).unwrap();
            let channels: Vec<Polynomial> = rows.into_iter().map(|c| Polynomial::new(i, c).unwrap()).collect();
            let degree = channels.iter().map(Polynomial::degree).max().unwrap();
            prop_assume!(degree > 0);
            let depth = min_depth(degree) + extra;
            let tree = EvalTree::chebyshev(&channels, TreeOptions { depth: Some(depth), ..TreeOptions::default() }).unwrap();
            prop_assert!(tree.counts().depth <= depth);
            prop_assert!(tree.steps().iter().all(|s| s.operands().next().is_some()));
            agrees(&tree, &channels, 1e-10);
        }
    }
}
