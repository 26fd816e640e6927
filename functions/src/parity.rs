//! Symmetries of functions, as their Chebyshev coefficients show them.

use serde::Serialize;

/// Which Chebyshev coefficients of a polynomial may be nonzero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Parity {
    /// Any.
    Mixed,
    /// Odd ones.
    Odd,
    /// Even ones.
    Even,
    /// Even ones and T_1: every fit of ReLU, GELU or SiLU under a symmetric distribution, since these are x/2 plus an even function.
    EvenPlusLinear,
    /// Odd ones and T_0: the sigmoid.
    OddPlusConstant,
}

impl Parity {
    /// All parities, narrowest first.
    pub const ALL: [Parity; 5] =
        [Parity::Odd, Parity::Even, Parity::EvenPlusLinear, Parity::OddPlusConstant, Parity::Mixed];

    /// Whether coefficient `k` may be nonzero.
    pub fn allows(self, k: usize) -> bool {
        match self {
            Parity::Mixed => true,
            Parity::Odd => k % 2 == 1,
            Parity::Even => k.is_multiple_of(2),
            Parity::EvenPlusLinear => k.is_multiple_of(2) || k == 1,
            Parity::OddPlusConstant => k % 2 == 1 || k == 0,
        }
    }
}
