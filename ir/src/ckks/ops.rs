//! The table of `ckks` ops.

use crate::attr::F64;
use crate::define_ops;
use crate::entity::ConstId;

define_ops! {
    /// Operations on ciphertexts. `at` is the level a plain product is made at: limbs above it are dropped and the plain
    /// operand is encoded so that the product has exactly scale S_at².
    pub enum CkksOp {
        /// Sum; levels, scale degrees and parts must be equal.
        Add = "add" (2..=2) {},
        /// Difference; levels, scale degrees and parts must be equal.
        Sub = "sub" (2..=2) {},
        /// Negation.
        Neg = "neg" (1..=1) {},
        /// Sum with a constant vector `[n]`.
        AddPlain = "add_plain" (1..=1) { value: ConstId },
        /// Sum with one number in every slot.
        AddScalar = "add_scalar" (1..=1) { value: F64 },
        /// Slot-wise product with a constant vector `[n]`.
        MulPlain = "mul_plain" (1..=1) { value: ConstId, at: u32 },
        /// Product with one number.
        MulScalar = "mul_scalar" (1..=1) { value: F64, at: u32 },
        /// Multiple by a small integer; no scale, no level.
        MulInt = "mul_int" (1..=1) { by: i64 },
        /// Product of two ciphertexts of equal level; three parts.
        Mul = "mul" (2..=2) {},
        /// Three parts to two.
        Relinearize = "relinearize" (1..=1) {},
        /// Division by the last prime: one level less, scale degree 2 to 1.
        Rescale = "rescale" (1..=1) {},
        /// The same value at a lower level with its canonical scale.
        LevelDrop = "level_drop" (1..=1) { to: u32 },
        /// Cyclic rotation to the left.
        Rotate = "rotate" (1..=1) { by: i64 },
        /// Complex conjugation of every slot.
        Conjugate = "conjugate" (1..=1) {},
        /// Σ_k diagonal_k ∘ rotate(x, rotations\[k\]) by baby and giant steps with hoisting; as `slot.linear`.
        Linear = "linear" (1..=1) { rotations: Vec<i64>, giants: Vec<i64>, diagonals: ConstId, at: u32 },
        /// The same value at level `to`.
        Bootstrap = "bootstrap" (1..=1) { to: u32 },
    }
}
