//! The typing rules of `ckks` compute the level, the scale degree and the number of parts of every result.

use super::{CkksOp, CtTy};
use crate::consts::ConstPool;

pub(super) fn infer(op: &CkksOp, operands: &[&CtTy], consts: &ConstPool) -> Result<CtTy, String> {
    let Some(&&x) = operands.first() else {
        return Err("an input has a declared type".into());
    };
    let canonical = |what: &str| {
        if x.sd == 1 && x.parts == 2 {
            Ok(())
        } else {
            Err(format!("{what} needs a relinearised ciphertext of scale degree 1, not {x}"))
        }
    };
    let two_parts = |what: &str| {
        if x.parts == 2 { Ok(()) } else { Err(format!("{what} needs two parts: relinearise {x} first")) }
    };
    let plain_product = |what: &str, at: u32| {
        canonical(what)?;
        if at > x.level {
            return Err(format!("{what} at level {at} of a ciphertext at level {}", x.level));
        }
        if at == 0 {
            return Err(format!("{what} at level 0 leaves no level to rescale to: bootstrap earlier or add a level"));
        }
        Ok(CtTy { level: at, sd: 2, parts: 2 })
    };
    match op {
        CkksOp::Input { .. } => Err("an input has a declared type".into()),
        CkksOp::Add {} | CkksOp::Sub {} => {
            let y = *operands[1];
            if x.level != y.level || x.sd != y.sd {
                return Err(format!("operands {x} and {y} differ in level or scale"));
            }
            Ok(CtTy { parts: x.parts.max(y.parts), ..x })
        }
        CkksOp::Neg {} | CkksOp::MulInt { .. } | CkksOp::AddScalar { .. } => Ok(x),
        CkksOp::AddPlain { value } => vector_len(consts, *value).map(|_| x),
        CkksOp::MulPlain { value, at } => {
            vector_len(consts, *value)?;
            plain_product("a plain product", *at)
        }
        CkksOp::MulScalar { at, .. } => plain_product("a scalar product", *at),
        CkksOp::Linear { rotations, giants, diagonals, at } => {
            let n = consts.tensor(*diagonals).shape().0.last().copied().unwrap_or(0);
            crate::slot::check_linear(consts, rotations, giants, *diagonals, n).map_err(|e| e.0)?;
            plain_product("a linear transform", *at)
        }
        CkksOp::Mul {} => {
            let y = *operands[1];
            canonical("a product")?;
            if y != x {
                return Err(format!("operands {x} and {y} of a product differ in level, scale or parts"));
            }
            if x.level == 0 {
                return Err(
                    "a product at level 0 leaves no level to rescale to: bootstrap earlier or add a level".into()
                );
            }
            Ok(CtTy { level: x.level, sd: 2, parts: 3 })
        }
        CkksOp::Relinearize {} => {
            if x.parts != 3 {
                return Err(format!("relinearising {x}, which has two parts already"));
            }
            Ok(CtTy { parts: 2, ..x })
        }
        CkksOp::Rescale {} => {
            if x.sd != 2 {
                return Err(format!("rescaling {x}, whose scale is canonical already"));
            }
            if x.level == 0 {
                return Err("rescaling at level 0".into());
            }
            Ok(CtTy { level: x.level - 1, sd: 1, parts: x.parts })
        }
        CkksOp::LevelDrop { to } => {
            canonical("a level drop")?;
            if *to >= x.level {
                return Err(format!("dropping from level {} to level {to}", x.level));
            }
            Ok(CtTy::at(*to))
        }
        CkksOp::Rotate { .. } => two_parts("a rotation").map(|()| x),
        CkksOp::Conjugate {} => two_parts("a conjugation").map(|()| x),
        CkksOp::Bootstrap { to } => {
            canonical("a bootstrap")?;
            Ok(CtTy::at(*to))
        }
    }
}

fn vector_len(consts: &ConstPool, id: crate::entity::ConstId) -> Result<usize, String> {
    match consts.tensor(id).shape().0.as_slice() {
        [n] | [1, n] => Ok(*n),
        _ => Err(format!("constant `{}` is {}, expected one vector", consts.get(id).name, consts.tensor(id).shape())),
    }
}
