//! Search for the cheapest depth-bounded baby-step giant-step scheme.
//!
//! A scheme is a set S of Chebyshev indices to compute once, and a recursive division of the polynomial by members of S:
//! p = q·T_g + r with deg r < g. With j levels left, r may use all j, but q only j - 1 and T_g only j - 1. A part whose T_k
//! (k ≤ its degree) all lie in S below the allowed depth is a linear combination of them and needs no product. So
//!
//! f(i, j) = min over g in S of f(i - g, j - 1) + f(g - 1, j) + 1,
//!
//! which is the recurrence of Lee et al. 2022 (multiplexed parallel convolutions) with more choices of S, dense and even
//! polynomials, and costs of relinearisation and rescaling beside products: remainders share their parent's rescale and
//! relinearisation, quotients need their own.

use serde::Serialize;

use fhec_functions::Parity;

/// Relative costs that the search minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Weights {
    /// One ciphertext-by-ciphertext product before relinearisation.
    pub product: u32,
    /// One relinearisation (sums of products share one).
    pub relinearise: u32,
    /// One rescale of a two-part ciphertext.
    pub rescale: u32,
}

impl Weights {
    /// Counts products only, as the papers do.
    pub const PRODUCTS: Weights = Weights { product: 1, relinearise: 0, rescale: 0 };
}

impl Default for Weights {
    /// A key switch costs about ten products, a rescale about two.
    fn default() -> Self {
        Weights { product: 1, relinearise: 10, rescale: 2 }
    }
}

/// The levels that degree `degree` needs when its input is already in `[-1, 1]`: ⌈log2(degree + 1)⌉.
pub fn min_depth(degree: usize) -> u32 {
    usize::BITS - degree.leading_zeros()
}

/// What happens to a part of given degree and depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Division {
    /// No scheme over this S.
    Infeasible,
    /// A linear combination of members of S (or a constant).
    Leaf,
    /// Division by T_g.
    Split(usize),
}

/// Parity classes of the recursion; `EvenPlusLinear` has given up its T_1 before, `OddPlusConstant` its T_0.
const CLASSES: usize = 3;

fn class(parity: Parity) -> usize {
    match parity {
        Parity::Mixed => 0,
        Parity::Odd | Parity::OddPlusConstant => 1,
        Parity::Even | Parity::EvenPlusLinear => 2,
    }
}

/// Lowers `degree` to one that the parity allows.
fn trim(degree: usize, class: usize) -> usize {
    match (class, degree % 2) {
        (1, 0) | (2, 1) => degree.saturating_sub(1),
        _ => degree,
    }
}

fn quotient_class(of: usize, g: usize) -> usize {
    if of == 0 || g.is_multiple_of(2) { of } else { 3 - of }
}

/// A basis set with its depths and the decisions of the recursion.
#[derive(Clone, Debug)]
pub(super) struct Scheme {
    /// For each index k of S: k, its depth, and the operands a ≥ b with a + b = k (0, 0 for T_1).
    pub basis: Vec<BasisElement>,
    parts: Vec<(u64, Division)>,
    degree: usize,
    depth: u32,
    /// Total cost under the weights.
    pub cost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BasisElement {
    pub index: usize,
    pub depth: u32,
    pub left: usize,
    pub right: usize,
}

/// What is to be evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// Degree of the part handled by division.
    pub degree: usize,
    pub parity: Parity,
    /// Levels available.
    pub depth: u32,
}

impl Scheme {
    /// The decision for a part of this degree with `depth` levels left, and its degree after parity.
    pub fn part(&self, degree: usize, depth: u32, parity: Parity) -> (usize, Division) {
        let c = class(parity);
        let i = trim(degree, c);
        (i, self.parts[self.at(i, depth, c)].1)
    }

    fn at(&self, i: usize, j: u32, class: usize) -> usize {
        (class * (self.depth as usize + 1) + j as usize) * (self.degree + 1) + i
    }

    /// Fills the table for one basis set, or `None` when the goal is out of reach.
    fn solve(basis: Vec<BasisElement>, goal: Goal, weights: Weights) -> Option<Self> {
        let step_cost = u64::from(weights.rescale) + u64::from(weights.relinearise);
        let (w_product, w_relin, w_rescale) =
            (u64::from(weights.product), u64::from(weights.relinearise), u64::from(weights.rescale));
        let n = CLASSES * (goal.depth as usize + 1) * (goal.degree + 1);
        let mut s = Scheme {
            parts: vec![(u64::MAX, Division::Infeasible); n],
            degree: goal.degree,
            depth: goal.depth,
            cost: (basis.len() as u64 - 1) * (w_product + step_cost),
            basis,
        };
        let mut depth_of = vec![u32::MAX; goal.degree.max(1) + 1];
        for b in &s.basis {
            if let Some(d) = depth_of.get_mut(b.index) {
                *d = b.depth;
            }
        }
        for j in 0..=goal.depth {
            for c in 0..CLASSES {
                // The largest degree below which every allowed T_k is a member of S shallow enough to be scaled.
                let mut leaf = 0;
                for k in (1..=goal.degree).filter(|k| c == 0 || k % 2 == c % 2) {
                    if depth_of[k] < j { leaf = k } else { break }
                }
                for i in 0..=goal.degree {
                    let at = s.at(i, j, c);
                    if trim(i, c) <= leaf {
                        s.parts[at] = (0, Division::Leaf);
                        continue;
                    }
                    if trim(i, c) != i {
                        continue;
                    }
                    let mut best = (u64::MAX, Division::Infeasible);
                    for b in s.basis.iter().filter(|b| b.index <= i && b.depth < j) {
                        let rest = s.parts[s.at(trim(b.index - 1, c), j, c)].0;
                        let qc = quotient_class(c, b.index);
                        let qi = trim(i - b.index, qc);
                        let quotient = match s.parts[s.at(qi, j - 1, qc)] {
                            _ if i == b.index => 0,
                            (0, Division::Leaf) => w_product + w_rescale,
                            (cost, Division::Split(_)) => cost + w_product + w_relin + w_rescale,
                            _ => u64::MAX,
                        };
                        let cost = rest.saturating_add(quotient);
                        if cost < best.0 {
                            best = (cost, Division::Split(b.index));
                        }
                    }
                    s.parts[at] = best;
                }
            }
        }
        let (root_degree, c) = (trim(goal.degree, class(goal.parity)), class(goal.parity));
        let (cost, part) = s.parts[s.at(root_degree, goal.depth, c)];
        let root = match part {
            Division::Infeasible => return None,
            Division::Leaf => w_rescale,
            Division::Split(_) => cost + step_cost,
        };
        s.cost += root;
        Some(s)
    }

    /// The cheapest scheme over all basis sets tried, or `None` when `goal.depth` is too small.
    pub fn search(goal: Goal, weights: Weights) -> Option<Self> {
        Self::search_with(goal, weights, true)
    }

    /// As [`Self::search`]; `any_giants` also tries giants g·2^k with g not a power of two.
    fn search_with(goal: Goal, weights: Weights, any_giants: bool) -> Option<Self> {
        let top = goal.degree;
        let babies = (2.0 * (top as f64).sqrt()) as usize + 3;
        let mut seen: Vec<Vec<usize>> = Vec::new();
        let mut best: Option<Scheme> = None;
        for b in 1..=babies.min(top.max(1)) {
            let base: Vec<usize> = match class(goal.parity) {
                0 => (1..=b).collect(),
                1 => (1..=b).filter(|k| k % 2 == 1 || (*k == 2 && top > 1)).collect(),
                _ => (1..=b).filter(|k| *k == 1 || k % 2 == 0).collect(),
            };
            for first in 1..=if any_giants { b + 2 } else { 1 } {
                for length in 0..=usize::BITS - top.leading_zeros() {
                    let mut set = base.clone();
                    set.extend((0..length).map(|k| first << k).filter(|k| *k <= top));
                    set.sort_unstable();
                    set.dedup();
                    if seen.contains(&set) {
                        continue;
                    }
                    let basis = generate(&set);
                    seen.push(set);
                    let Some(basis) = basis else { continue };
                    let floor = (basis.len() as u64 - 1)
                        * (u64::from(weights.product) + u64::from(weights.relinearise) + u64::from(weights.rescale));
                    if best.as_ref().is_some_and(|s| floor >= s.cost) {
                        continue;
                    }
                    if let Some(s) = Scheme::solve(basis, goal, weights)
                        && best.as_ref().is_none_or(|old| s.cost < old.cost)
                    {
                        best = Some(s);
                    }
                }
            }
        }
        best
    }
}

/// Orders `set` (sorted, contains 1) so that each T_k = 2·T_a·T_b - T_{a-b} has its operands before it, at least depth.
fn generate(set: &[usize]) -> Option<Vec<BasisElement>> {
    let mut basis: Vec<BasisElement> = Vec::with_capacity(set.len());
    for &k in set {
        if k == 1 {
            basis.push(BasisElement { index: 1, depth: 0, left: 0, right: 0 });
            continue;
        }
        let find = |i: usize| basis.iter().find(|b| b.index == i);
        let made = basis
            .iter()
            .filter(|a| 2 * a.index >= k && a.index < k)
            .filter_map(|a| {
                let b = find(k - a.index)?;
                if a.index != b.index {
                    find(a.index - b.index)?;
                }
                Some(BasisElement { index: k, depth: a.depth.max(b.depth) + 1, left: a.index, right: b.index })
            })
            // A square saves the subtraction of a ciphertext.
            .min_by_key(|e| (e.depth, e.left != e.right, e.left))?;
        basis.push(made);
    }
    Some(basis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products(degree: usize, parity: Parity, any_giants: bool) -> u64 {
        let goal = Goal { degree, parity, depth: min_depth(degree) };
        Scheme::search_with(goal, Weights::PRODUCTS, any_giants).unwrap().cost
    }

    /// Products per odd degree at least depth, from the code of multiplexed parallel convolutions (Lee et al. 2022).
    const ODD: [(usize, u64); 16] = [
        (3, 2),
        (5, 3),
        (7, 5),
        (9, 5),
        (11, 6),
        (13, 7),
        (15, 8),
        (17, 8),
        (19, 8),
        (21, 9),
        (23, 9),
        (25, 10),
        (27, 10),
        (29, 11),
        (31, 12),
        (63, 17),
    ];

    #[test]
    fn odd_degrees_take_the_published_products() {
        for (degree, count) in ODD {
            assert_eq!(products(degree, Parity::Odd, false), count, "degree {degree}, giants 2^k");
            // Giants 3·2^k save one product where the depth has slack.
            let better = if matches!(degree, 17 | 21) { count - 1 } else { count };
            assert_eq!(products(degree, Parity::Odd, true), better, "degree {degree}, any giants");
        }
    }

    #[test]
    fn evenness_saves_products() {
        for (degree, dense, even) in [(4, 2, 2), (6, 4, 3), (8, 4, 3), (14, 7, 6), (30, 12, 9)] {
            assert_eq!(products(degree, Parity::Mixed, true), dense, "dense {degree}");
            assert_eq!(products(degree, Parity::Even, true), even, "even {degree}");
        }
    }

    #[test]
    fn depth_is_the_logarithm() {
        for degree in 1..=127 {
            let want = ((degree + 1) as f64).log2().ceil() as u32;
            assert_eq!(min_depth(degree), want);
            let goal = |depth| Goal { degree, parity: Parity::Mixed, depth };
            if degree <= 40 {
                assert!(Scheme::search(goal(want), Weights::default()).is_some());
            }
            assert!(
                Scheme::search(goal(want - 1), Weights::default()).is_none(),
                "degree {degree} in {} levels",
                want - 1
            );
        }
    }
}
