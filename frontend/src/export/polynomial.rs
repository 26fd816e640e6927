//! Exports polynomials as sums and products: powers by Horner's rule, Chebyshev polynomials by Clenshaw's recurrence.

use fhec_ir::F64;
use fhec_ir::nn::Basis;

use super::builder::Site;

pub(super) fn write(site: &mut Site<'_, '_>, basis: Basis, (lo, hi): (f64, f64), rows: usize, coeffs: &[F64]) {
    let x = site.x();
    let coefficients = Coefficients { rows, coeffs };
    match basis {
        Basis::Monomial => horner(site, &x, &coefficients),
        Basis::Chebyshev => {
            // 2·(2x - lo - hi)/(hi - lo), the factor of the recurrence.
            let scale = site.scalar("scale", (4.0 / (hi - lo)) as f32);
            let shift = site.scalar("shift", (-2.0 * (lo + hi) / (hi - lo)) as f32);
            let scaled = site.step("Mul", &[&x, &scale], vec![]);
            let twice = site.step("Add", &[&scaled, &shift], vec![]);
            clenshaw(site, &twice, &coefficients);
        }
    }
}

/// The coefficients of one polynomial, or of one per channel.
struct Coefficients<'a> {
    rows: usize,
    coeffs: &'a [F64],
}

impl Coefficients<'_> {
    fn degree(&self) -> usize {
        self.coeffs.len() / self.rows - 1
    }

    /// `factor` times the coefficient of degree `k`.
    fn values(&self, k: usize, factor: f64) -> Vec<f32> {
        self.coeffs.chunks(self.degree() + 1).map(|row| (row[k].0 * factor) as f32).collect()
    }

    /// As a constant that broadcasts to the operand of the node.
    fn write(&self, site: &mut Site<'_, '_>, k: usize, factor: f64) -> String {
        let mut dims = vec![1; site.shape(0).rank().saturating_sub(1)];
        match dims.first_mut() {
            Some(channels) if self.rows > 1 => *channels = self.rows as i64,
            _ => dims.clear(),
        }
        site.constant(&format!("c{k}"), &dims, &self.values(k, factor))
    }

    fn are(&self, k: usize, number: f32) -> bool {
        self.values(k, 1.0).iter().all(|&c| c == number)
    }
}

/// What is known of a sum before it is written.
enum Partial {
    Coefficient(usize),
    Value(String),
}

fn horner(site: &mut Site<'_, '_>, x: &str, coefficients: &Coefficients<'_>) {
    let degree = coefficients.degree();
    if degree == 0 {
        return constant(site, x, coefficients);
    }
    let mut sum = Partial::Coefficient(degree);
    for k in (0..degree).rev() {
        let (bare, end) = (coefficients.are(k, 0.0), k == 0);
        let factors = match &sum {
            Partial::Coefficient(top) if coefficients.are(*top, 1.0) => None,
            Partial::Coefficient(top) => Some(coefficients.write(site, *top, 1.0)),
            Partial::Value(sum) => Some(sum.clone()),
        };
        let product = match factors {
            Some(factor) if bare && end => return site.last("Mul", &[&factor, x], vec![]),
            Some(factor) => site.step("Mul", &[&factor, x], vec![]),
            None if bare && end => return site.last("Identity", &[x], vec![]),
            None => x.to_string(),
        };
        sum = if bare {
            Partial::Value(product)
        } else {
            let c = coefficients.write(site, k, 1.0);
            if end {
                return site.last("Add", &[&product, &c], vec![]);
            }
            Partial::Value(site.step("Add", &[&product, &c], vec![]))
        };
    }
}

/// b_k = c_k + 2t·b_(k+1) - b_(k+2), and the result c_0 + t·b_1 - b_2.
fn clenshaw(site: &mut Site<'_, '_>, twice: &str, coefficients: &Coefficients<'_>) {
    let degree = coefficients.degree();
    if degree == 0 {
        return constant(site, twice, coefficients);
    }
    let (mut last, mut before): (String, Option<String>) = (coefficients.write(site, degree, 1.0), None);
    for k in (1..degree).rev() {
        let product = site.step("Mul", &[twice, &last], vec![]);
        let c = coefficients.write(site, k, 1.0);
        let mut next = site.step("Add", &[&product, &c], vec![]);
        if let Some(before) = &before {
            next = site.step("Sub", &[&next, before], vec![]);
        }
        before = Some(std::mem::replace(&mut last, next));
    }
    let half = site.scalar("half", 0.5);
    let t = site.step("Mul", &[twice, &half], vec![]);
    let product = site.step("Mul", &[&t, &last], vec![]);
    let c = coefficients.write(site, 0, 1.0);
    match before {
        Some(before) => {
            let sum = site.step("Add", &[&product, &c], vec![]);
            site.last("Sub", &[&sum, &before], vec![]);
        }
        None => site.last("Add", &[&product, &c], vec![]),
    }
}

/// A polynomial of degree 0, in the shape of its operand.
fn constant(site: &mut Site<'_, '_>, x: &str, coefficients: &Coefficients<'_>) {
    let zero = site.scalar("zero", 0.0);
    let nothing = site.step("Mul", &[x, &zero], vec![]);
    let c = coefficients.write(site, 0, 1.0);
    site.last("Add", &[&nothing, &c], vec![]);
}
