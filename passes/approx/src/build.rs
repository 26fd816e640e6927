//! Building evaluation trees from polynomials.

use super::error::ApproxError;
use super::interval::Affine;
use super::least_squares::MAX_DEGREE;
use super::polynomial::Polynomial;
use super::scheme::{Goal, Part, Scheme, min_depth};
use super::tree::{EvalTree, Operand, Product, Step, Term, TreeOptions};
use fhec_functions::Parity;

/// Levels beyond the least ones that a search makes use of.
const SPARE_LEVELS: u32 = 4;

impl EvalTree {
    /// Depth-optimal baby-step giant-step evaluation in the Chebyshev basis, for one polynomial or one per channel.
    ///
    /// Errors: no polynomial, all constant, or `options.depth` below ⌈log2(d + 1)⌉.
    pub fn chebyshev(polynomials: &[Polynomial], options: TreeOptions) -> Result<Self, ApproxError> {
        let rows = Rows::of(polynomials)?;
        let input = polynomials.iter().map(|p| p.interval().unit_map()).collect();
        let mut b = Builder::new(input);
        b.polynomial(Operand::Input, &rows, &vec![1.0; polynomials.len()], None, options)?;
        Ok(b.finish(0.0))
    }

    /// Degree 2ⁿ in n levels: the input is scaled by γ so that the leading term becomes ±B_h², h = 2ⁿ⁻¹, B_k(v) = γᵏ·T_k(v/γ),
    /// which needs no constant.
    ///
    /// γ = (2·|c_d|)^(1/d), and constants of T_k grow by γ⁻ᵏ, so a leading coefficient below `floor` times the largest one is raised to that; [`Self::deviation`] tells the change. For ReLU fits the noise of the result then is that of the Chebyshev form within a factor
    /// of 1.3 under centred distributions, and of 5 where the floor binds (floor 2⁻¹²), with intermediate values up to about 200.
    /// Errors: the degree is not a power of two above 1, leading coefficients of both signs (of size above their floors), or all zero.
    pub fn unit_leading(polynomials: &[Polynomial], floor: f64, options: TreeOptions) -> Result<Self, ApproxError> {
        let mut rows = Rows::of(polynomials)?;
        let degree = rows.degree;
        if !degree.is_power_of_two() || degree < 2 {
            return Err(ApproxError::Degree {
                degree,
                reason: "the unit-leading form needs a power of two, 2 or more",
            });
        }
        if !(floor > 0.0 && floor < 1.0) {
            return Err(ApproxError::Parameter { what: "floor", value: floor, expected: "between 0 and 1" });
        }
        let largest = |row: &[f64]| row.iter().fold(0.0f64, |m, c| m.max(c.abs()));
        // One sign for all channels, as the sign is part of the structure: that of the largest leading coefficient.
        let sign =
            rows.rows.iter().map(|r| r[degree]).fold(0.0f64, |m, c| if c.abs() > m.abs() { c } else { m }).signum();
        let mut deviation = 0.0f64;
        let (mut gamma, mut input) = (Vec::new(), Vec::new());
        for (row, p) in rows.rows.iter_mut().zip(polynomials) {
            let least = floor * largest(row).max(f64::MIN_POSITIVE / floor);
            let lead = sign * row[degree];
            if lead < -least {
                return Err(ApproxError::Degree {
                    degree,
                    reason: "leading coefficients of both signs cannot share a unit-leading form",
                });
            }
            let raised = lead.max(least);
            deviation = deviation.max(raised - lead);
            // c_d·T_d = c_d·(2·T_h² - 1) = ±B_h² - c_d.
            row[degree] = 0.0;
            row[0] -= sign * raised;
            let g = (2.0 * raised).powf(1.0 / degree as f64);
            let map = p.interval().unit_map();
            input.push(Affine { scale: g * map.scale, shift: g * map.shift });
            gamma.push(g);
        }
        let lead = Lead { half: degree / 2, factor: sign as i32 };
        let mut b = Builder::new(input);
        b.polynomial(Operand::Input, &rows, &gamma, Some(lead), options)?;
        Ok(b.finish(deviation))
    }

    /// sign·(x·scale + shift)² + constant per channel: one level, one square. `signs` must agree.
    pub(super) fn square(input: Vec<Affine>, sign: i32, constants: Vec<f64>) -> Self {
        let mut b = Builder::new(input);
        let constant = b.constant(constants);
        b.steps.push(Step {
            products: vec![Product { left: Operand::Input, right: Operand::Input, factor: sign }],
            terms: Vec::new(),
            constant,
        });
        b.finish(0.0)
    }

    /// u·(gate + p_k(… p_1(u))), u = map(x): `stages` in order, each on the interval on which it takes its predecessor's output (the first on `[-1, 1]`).
    pub(super) fn gated(
        map: Affine,
        stages: &[Polynomial],
        gate: f64,
        options: TreeOptions,
    ) -> Result<Self, ApproxError> {
        let mut b = Builder::new(vec![map]);
        let mut at = Operand::Input;
        for (k, stage) in stages.iter().enumerate() {
            // The next stage's map to [-1, 1] is folded into this one's coefficients.
            let folded = match stages.get(k + 1) {
                Some(next) => stage.mapped(next.interval().unit_map())?,
                None => stage.clone(),
            };
            at = b.polynomial(at, &Rows::of(&[folded])?, &[1.0], None, TreeOptions { depth: None, ..options })?;
        }
        let mut step = Step {
            products: vec![Product { left: at, right: Operand::Input, factor: 1 }],
            terms: Vec::new(),
            constant: None,
        };
        b.term(&mut step, vec![gate], Operand::Input);
        b.steps.push(step);
        Ok(b.finish(0.0))
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

/// The leading square factor·B_half² of the unit-leading form.
#[derive(Clone, Copy)]
struct Lead {
    half: usize,
    factor: i32,
}

/// Steps and constants under construction.
struct Builder {
    input: Vec<Affine>,
    steps: Vec<Step>,
    constants: Vec<Vec<f64>>,
}

/// One polynomial stage under construction: its scheme and the basis values made so far.
struct Stage<'a> {
    scheme: &'a Scheme,
    gamma: &'a [f64],
    basis: Vec<(usize, Operand)>,
}

impl Builder {
    fn new(input: Vec<Affine>) -> Self {
        Builder { input, steps: Vec::new(), constants: Vec::new() }
    }

    fn finish(self, deviation: f64) -> EvalTree {
        EvalTree { input: self.input, steps: self.steps, constants: self.constants, deviation }
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

    fn term(&mut self, step: &mut Step, values: Vec<f64>, value: Operand) {
        if let Some(constant) = self.constant(values) {
            step.terms.push(Term { constant, value });
        }
    }

    /// Emits the steps of one polynomial stage whose `[-1, 1]` input, times gamma, is `at`.
    fn polynomial(
        &mut self,
        at: Operand,
        rows: &Rows,
        gamma: &[f64],
        lead: Option<Lead>,
        options: TreeOptions,
    ) -> Result<Operand, ApproxError> {
        let below = if lead.is_some() { rows.degree - 1 } else { rows.degree };
        let needed = min_depth(below);
        let given = options.depth.unwrap_or(needed);
        let depth = given.min(needed + SPARE_LEVELS);
        let mut coefficients = rows.rows.clone();
        coefficients.iter_mut().for_each(|r| r.truncate(below + 1));
        let goal = Goal { degree: below, parity: rows.parity, depth, square: lead.map(|l| l.half) };
        let scheme = Scheme::search(goal, options.weights).ok_or(ApproxError::TooFewLevels {
            degree: rows.degree,
            needed,
            given,
        })?;
        let mut stage = Stage { scheme: &scheme, gamma, basis: vec![(1, at)] };
        let mut step = Step { products: Vec::new(), terms: Vec::new(), constant: None };
        if rows.parity == Parity::EvenPlusLinear {
            let linear = coefficients.iter_mut().zip(gamma).map(|(r, g)| std::mem::take(&mut r[1]) / g).collect();
            self.term(&mut step, linear, at);
        }
        if let Some(lead) = lead {
            let half = self.basis(&mut stage, lead.half);
            step.products.push(Product { left: half, right: half, factor: lead.factor });
        }
        let mut lone = vec![0.0; coefficients.len()];
        if rows.parity == Parity::OddPlusConstant {
            lone = coefficients.iter_mut().map(|r| std::mem::take(&mut r[0])).collect();
        }
        let constant = self.sum(&mut stage, &mut step, coefficients, below, depth, rows.parity);
        Ok(self.close(step, constant.iter().zip(lone).map(|(a, b)| a + b).collect()))
    }

    fn close(&mut self, mut step: Step, constant: Vec<f64>) -> Operand {
        step.constant = self.constant(constant);
        self.steps.push(step);
        Operand::Step(self.steps.len() - 1)
    }

    /// The value of B_index, emitting its steps when they are first needed.
    fn basis(&mut self, stage: &mut Stage<'_>, index: usize) -> Operand {
        if let Some((_, at)) = stage.basis.iter().find(|(k, _)| *k == index) {
            return *at;
        }
        let Some(element) = stage.scheme.basis.iter().find(|b| b.index == index).copied() else {
            unreachable!("schemes only name members of their basis");
        };
        let left = self.basis(stage, element.left);
        let right = self.basis(stage, element.right);
        // B_{a+b} = 2·B_a·B_b - γ^{2b}·B_{a-b} for a ≥ b, B_0 = 1.
        let minus: Vec<f64> = stage.gamma.iter().map(|g| -g.powi(2 * element.right as i32)).collect();
        let mut step = Step { products: vec![Product { left, right, factor: 2 }], terms: Vec::new(), constant: None };
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
        step: &mut Step,
        mut rows: Vec<Vec<f64>>,
        degree: usize,
        depth: u32,
        parity: Parity,
    ) -> Vec<f64> {
        let (degree, part) = stage.scheme.part(degree, depth, parity);
        let Part::Split(g) = part else {
            for k in (1..=degree).filter(|k| parity.allows(*k)) {
                let values: Vec<f64> = rows.iter().zip(stage.gamma).map(|(r, y)| r[k] / y.powi(k as i32)).collect();
                if values.iter().any(|v| *v != 0.0) {
                    let value = self.basis(stage, k);
                    self.term(step, values, value);
                }
            }
            return rows.iter().map(|r| r[0]).collect();
        };
        let quotient: Vec<Vec<f64>> =
            rows.iter_mut().zip(stage.gamma).map(|(r, y)| divide(r, degree, g, y.powi(g as i32))).collect();
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
                let mut inner = Step { products: Vec::new(), terms: Vec::new(), constant: None };
                let constant = self.sum(stage, &mut inner, quotient, degree - g, depth - 1, parity);
                let left = self.close(inner, constant);
                step.products.push(Product { left, right: giant, factor: 1 });
            }
        }
        self.sum(stage, step, rows, g - 1, depth, parity)
    }
}

/// Divides Σ_{k ≤ degree} row[k]·T_k by T_g in place: `row` keeps the remainder (degree < g); returns the quotient over `scale`.
fn divide(row: &mut [f64], degree: usize, g: usize, scale: f64) -> Vec<f64> {
    let mut quotient = vec![0.0; degree - g + 1];
    for k in (g..=degree).rev() {
        let c = std::mem::take(&mut row[k]);
        if k == g {
            quotient[0] += c / scale;
        } else {
            // T_k = 2·T_{k-g}·T_g - T_{|k-2g|}.
            quotient[k - g] += 2.0 * c / scale;
            row[k.abs_diff(2 * g)] -= c;
        }
    }
    quotient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Weights;
    use crate::{Distribution, FitOptions, Function, Interval, least_squares_with_lead};
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
    fn unit_leading_reaches_a_power_of_two_one_level_earlier() {
        let i = Interval::new(-6.0, 4.0).unwrap();
        for n in 1..=6u32 {
            let degree = 1usize << n;
            for lead in [-0.03, 0.4] {
                let channels: Vec<Polynomial> = (0..3)
                    .map(|c| {
                        let mut k = coefficients(degree, Parity::Mixed, 11 + c);
                        k[degree] = lead * (1.0 + 0.3 * c as f64);
                        Polynomial::new(i, k).unwrap()
                    })
                    .collect();
                let tree = EvalTree::unit_leading(&channels, 1e-4, TreeOptions::default()).unwrap();
                assert_eq!(tree.counts().depth, n);
                assert_eq!(tree.deviation(), 0.0);
                agrees(&tree, &channels, 1e-10);
            }
        }
    }

    #[test]
    fn unit_leading_raises_small_leads_and_says_so() {
        let p = Polynomial::new(Interval::UNIT, vec![0.5, 1.0, 0.2, 0.0, 1e-7]).unwrap();
        let tree = EvalTree::unit_leading(std::slice::from_ref(&p), 1e-4, TreeOptions::default()).unwrap();
        assert!((tree.deviation() - (1e-4 - 1e-7)).abs() < 1e-12);
        for x in [-1.0, -0.3, 0.0, 0.7, 1.0] {
            assert!((tree.eval(x, 0) - p.eval(x)).abs() <= tree.deviation() * 1.0001);
        }
        let q = Polynomial::new(Interval::UNIT, vec![0.5, 1.0, 0.2, 0.0, -0.3]).unwrap();
        let r = Polynomial::new(Interval::UNIT, vec![0.5, 1.0, 0.2, 0.0, 0.2]).unwrap();
        assert!(EvalTree::unit_leading(&[q, r.clone()], 1e-4, TreeOptions::default()).is_err());
        assert!(EvalTree::unit_leading(&[r], 2.0, TreeOptions::default()).is_err());
        let cubic = Polynomial::new(Interval::UNIT, vec![0.0, 0.0, 0.0, 1.0]).unwrap();
        assert!(EvalTree::unit_leading(&[cubic], 1e-4, TreeOptions::default()).is_err());
    }

    /// Root mean square of the change of the result when every value of the tree is disturbed by a unit of noise times 1e-7.
    fn noise(tree: &EvalTree, interval: Interval) -> f64 {
        let mut state = 1u64;
        let mut unit = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            1e-7 * ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
        };
        let mut sum = 0.0;
        for k in 0..2000 {
            let x = interval.from_unit(f64::from(k) / 1000.0 - 1.0);
            let u = tree.input[0].apply(x) + unit();
            let mut values: Vec<f64> = Vec::new();
            for s in &tree.steps {
                let get = |o: Operand| if let Operand::Step(s) = o { values[s] } else { u };
                let products: f64 = s.products.iter().map(|p| f64::from(p.factor) * get(p.left) * get(p.right)).sum();
                let terms: f64 = s.terms.iter().map(|t| tree.constants[t.constant][0] * get(t.value)).sum();
                values.push(products + terms + s.constant.map_or(0.0, |k| tree.constants[k][0]) + unit());
            }
            sum += (values[values.len() - 1] - tree.eval(x, 0)).powi(2);
        }
        (sum / 2000.0).sqrt() / 1e-7
    }

    #[test]
    fn the_level_saved_costs_little_noise() {
        let i = Interval::symmetric(6.0).unwrap();
        for (mean, deviation, uniform_share, bound) in [(0.0, 1.0, 0.02, 1.5), (1.5, 0.6, 1e-4, 6.0)] {
            let d = Distribution::normal(mean, deviation).unwrap();
            for degree in [4, 8, 16] {
                let (floor, options) = (1.0 / 4096.0, FitOptions { uniform_share, ..FitOptions::default() });
                let p = [least_squares_with_lead(Function::Relu, &d, i, degree, (-1.0, floor), options).unwrap()];
                let usual = noise(&EvalTree::chebyshev(&p, TreeOptions::default()).unwrap(), i);
                let unit = noise(&EvalTree::unit_leading(&p, floor, TreeOptions::default()).unwrap(), i);
                assert!(unit < bound * usual, "degree {degree}, mean {mean}: {unit} against {usual}");
            }
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
