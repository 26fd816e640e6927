//! The rules, by topic. Each is an equation; which side is taken is the cost's decision.

mod activation;
mod affine;
mod conv;
mod matmul;
mod normalise;
mod polynomial;
mod pool;
mod relu;
mod shape;

use super::rule::Rule;

/// All rules.
pub(super) fn all() -> Vec<Rule> {
    [
        affine::rules(),
        normalise::rules(),
        conv::rules(),
        matmul::rules(),
        shape::rules(),
        relu::rules(),
        activation::rules(),
        polynomial::rules(),
        pool::rules(),
    ]
    .concat()
}
