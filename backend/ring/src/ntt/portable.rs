//! The scalar transform uses 64-bit Shoup products and does not reduce between layers.
//!
//! Residues are below 2^50 and a layer adds at most 2q, so 17 layers stay far below 2^64 (Harvey, Faster
//! arithmetic for number-theoretic transforms, 2014, with more headroom).

use crate::modulus::{Modulus, subtract_once};

/// A root of unity with its Shoup companion.
#[derive(Debug, Clone, Copy)]
struct Root {
    w: u64,
    shoup: u64,
}

/// Bit-reversed powers of `psi` and of its inverse.
#[derive(Debug)]
pub(super) struct Tables {
    forward: Vec<Root>,
    inverse: Vec<Root>,
}

impl Tables {
    /// `powers[i] = psi^brv(i)`, `inverse_powers[i] = psi^-brv(i)`.
    pub(super) fn new(m: &Modulus, powers: &[u64], inverse_powers: &[u64]) -> Self {
        let roots = |powers: &[u64]| powers.iter().map(|&w| Root { w, shoup: m.shoup(w) }).collect();
        Self { forward: roots(powers), inverse: roots(inverse_powers) }
    }

    pub(super) fn forward(&self, m: &Modulus, a: &mut [u64]) {
        let n = a.len();
        let two_q = 2 * m.value();
        let mut blocks = 1;
        while blocks < n {
            let half = n / (2 * blocks);
            for (block, root) in a.chunks_exact_mut(2 * half).zip(&self.forward[blocks..]) {
                let (lower, upper) = block.split_at_mut(half);
                for (u, x) in lower.iter_mut().zip(upper) {
                    let t = m.mul_shoup_lazy(*x, root.w, root.shoup);
                    (*u, *x) = (*u + t, *u + two_q - t);
                }
            }
            blocks *= 2;
        }
        for x in a {
            *x = m.reduce_u64(*x);
        }
    }

    pub(super) fn inverse(&self, m: &Modulus, a: &mut [u64], factor: u64) {
        let n = a.len();
        let two_q = 2 * m.value();
        let mut blocks = n / 2;
        while blocks > 0 {
            let half = n / (2 * blocks);
            for (block, root) in a.chunks_exact_mut(2 * half).zip(&self.inverse[blocks..]) {
                let (lower, upper) = block.split_at_mut(half);
                for (u, x) in lower.iter_mut().zip(upper) {
                    let sum = *u + *x;
                    let difference = *u + two_q - *x;
                    *u = subtract_once(sum, two_q);
                    *x = m.mul_shoup_lazy(difference, root.w, root.shoup);
                }
            }
            blocks /= 2;
        }
        let factor_shoup = m.shoup(factor);
        for x in a {
            *x = m.mul_shoup(*x, factor, factor_shoup);
        }
    }
}
