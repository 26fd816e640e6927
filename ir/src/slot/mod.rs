//! Values of the `slot` level are vectors of real slots. Layouts are decided here, levels and scales are not.

pub mod eval;
mod ops;

use std::fmt;

pub use ops::SlotOp;

use crate::consts::ConstPool;
use crate::dialect::{Dialect, ParseTy, TypeError};
use crate::entity::ConstId;
use crate::text::TyText;

/// The `slot` level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot;

/// The type of a `slot` value: a vector with this number of slots, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotTy(pub usize);

impl fmt::Display for SlotTy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slots<{}>", self.0)
    }
}

impl ParseTy for SlotTy {
    fn parse(text: &TyText<'_>) -> Result<Self, String> {
        let n = text.only_arg("slots")?;
        n.parse().map(Self).map_err(|_| format!("`{n}` is not a number of slots"))
    }
}

impl Dialect for Slot {
    const NAME: &'static str = "slot";
    type Op = SlotOp;
    type Ty = SlotTy;

    fn infer(op: &SlotOp, operands: &[&SlotTy], consts: &ConstPool) -> Result<SlotTy, TypeError> {
        let Some(first) = operands.first() else {
            return Err(TypeError("an input has a declared type".into()));
        };
        if let Some(other) = operands.iter().find(|t| t != &first) {
            return Err(TypeError(format!("operands of {first} and {other} do not match")));
        }
        let n = first.0;
        match op {
            SlotOp::AddPlain { value } | SlotOp::MulPlain { value } => check_vectors(consts, *value, 1, n)?,
            SlotOp::Linear { rotations, giants, diagonals } => {
                check_linear(consts, rotations, giants, *diagonals, n)?;
            }
            SlotOp::Polynomial { coeffs, vectors, .. } => match vectors {
                Some(id) => {
                    let rows = consts.tensor(*id).shape().0.first().copied().unwrap_or(0);
                    check_vectors(consts, *id, rows, n)?;
                }
                None if coeffs.is_empty() => return Err(TypeError("a polynomial needs coefficients".into())),
                None => {}
            },
            _ => {}
        }
        Ok(**first)
    }
}

/// Checks that constant `id` holds `rows` vectors of `n` slots.
pub(crate) fn check_vectors(consts: &ConstPool, id: ConstId, rows: usize, n: usize) -> Result<(), TypeError> {
    let shape = consts.tensor(id).shape();
    let ok = match shape.0.as_slice() {
        [len] => rows == 1 && *len == n,
        [r, len] => *r == rows && *len == n,
        _ => false,
    };
    if ok {
        Ok(())
    } else {
        Err(TypeError(format!("constant `{}` is {shape}, expected {rows} vectors of {n} slots", consts.get(id).name)))
    }
}

/// Checks the attributes of a linear transform over `n` slots.
pub(crate) fn check_linear(
    consts: &ConstPool,
    rotations: &[i64],
    giants: &[i64],
    diagonals: ConstId,
    n: usize,
) -> Result<(), TypeError> {
    if rotations.is_empty() || rotations.len() != giants.len() {
        return Err(TypeError(format!(
            "a linear transform needs as many giant steps as rotations, at least one (got {} and {})",
            giants.len(),
            rotations.len()
        )));
    }
    check_vectors(consts, diagonals, rotations.len(), n)
}
