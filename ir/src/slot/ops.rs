//! The table of `slot` ops.

use crate::attr::F64;
use crate::define_ops;
use crate::entity::ConstId;
use crate::nn::Basis;

define_ops! {
    /// Operations on vectors of slots.
    pub enum SlotOp {
        /// Slot-wise sum.
        Add = "add" (2..=2) {},
        /// Slot-wise difference.
        Sub = "sub" (2..=2) {},
        /// Negation.
        Neg = "neg" (1..=1) {},
        /// Slot-wise product.
        Mul = "mul" (2..=2) {},
        /// Sum with a constant vector `[n]`.
        AddPlain = "add_plain" (1..=1) { value: ConstId },
        /// Slot-wise product with a constant vector `[n]`.
        MulPlain = "mul_plain" (1..=1) { value: ConstId },
        /// Sum with one number in every slot.
        AddScalar = "add_scalar" (1..=1) { value: F64 },
        /// Product with one number.
        MulScalar = "mul_scalar" (1..=1) { value: F64 },
        /// Cyclic rotation to the left: slot i of the result is slot i + by of the operand.
        Rotate = "rotate" (1..=1) { by: i64 },
        /// Σ_k diagonal_k ∘ rotate(x, rotations\[k\]); `giants\[k\]` is the giant-step part of `rotations\[k\]` (the baby step is the rest), `diagonals` is `[k, n]`.
        Linear = "linear" (1..=1) { rotations: Vec<i64>, giants: Vec<i64>, diagonals: ConstId },
        /// A polynomial per slot, lowest coefficient first: shared `coeffs`, or one per slot from `vectors` `[degree+1, n]`.
        Polynomial = "polynomial" (1..=1) { basis: Basis, lo: F64, hi: F64, coeffs: Vec<F64>, vectors: Option<ConstId> },
        /// The same vector; where levels are counted, they start anew here. Slots must lie in [-1, 1].
        Refresh = "refresh" (1..=1) {},
    }
}
