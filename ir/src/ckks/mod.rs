//! Values of the `ckks` level are ciphertexts whose types carry level, scale degree and parts.

pub mod exec;
mod infer;
mod ops;

use std::fmt;

pub use ops::CkksOp;

use crate::consts::ConstPool;
use crate::dialect::{Dialect, ParseTy, TypeError};
use crate::text::TyText;

/// The `ckks` level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ckks;

/// The type of a ciphertext.
///
/// Scale is exact by construction: at level l the canonical scale is S_l (S_top = 2^scale_bits, S_{l-1} = S_l² / q_l).
/// Scale degree 1 means scale S_l, degree 2 (a product before its rescale) means S_l².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CtTy {
    /// Level: `level + 1` primes are left.
    pub level: u32,
    /// Scale degree, 1 or 2.
    pub sd: u8,
    /// Polynomials, 2, or 3 before relinearisation.
    pub parts: u8,
}

impl CtTy {
    /// A ciphertext at `level` with canonical scale and two parts.
    pub fn at(level: u32) -> Self {
        Self { level, sd: 1, parts: 2 }
    }
}

impl fmt::Display for CtTy {
    /// `ct<12>`, `ct<12, sd=2, parts=3>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ct<{}", self.level)?;
        if self.sd != 1 {
            write!(f, ", sd={}", self.sd)?;
        }
        if self.parts != 2 {
            write!(f, ", parts={}", self.parts)?;
        }
        f.write_str(">")
    }
}

impl ParseTy for CtTy {
    fn parse(text: &TyText<'_>) -> Result<Self, String> {
        let form = || "expected a type of the form `ct<level>`, `ct<level, sd=2>` or `ct<level, parts=3>`".to_string();
        let Some((level, rest)) = text.args.split_first().filter(|(level, _)| text.name == "ct" && level.key.is_none())
        else {
            return Err(form());
        };
        let mut ty = Self::at(level.value.parse().map_err(|_| form())?);
        for arg in rest {
            match (arg.key, arg.value) {
                (Some("sd"), "1") => ty.sd = 1,
                (Some("sd"), "2") => ty.sd = 2,
                (Some("parts"), "2") => ty.parts = 2,
                (Some("parts"), "3") => ty.parts = 3,
                _ => return Err(form()),
            }
        }
        Ok(ty)
    }
}

impl Dialect for Ckks {
    const NAME: &'static str = "ckks";
    type Op = CkksOp;
    type Ty = CtTy;

    fn infer(op: &CkksOp, operands: &[&CtTy], consts: &ConstPool) -> Result<CtTy, TypeError> {
        infer::infer(op, operands, consts).map_err(TypeError)
    }
}
