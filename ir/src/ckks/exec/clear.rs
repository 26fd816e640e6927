//! The reference interpreter of the `ckks` level: `f64` slots that carry level, scale degree and parts.

use thiserror::Error;

use super::{Backend, Constant, LinearMap};
use crate::ckks::CtTy;

/// Slots in the clear with the type of the ciphertext they stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearCt {
    /// One number per slot.
    pub slots: Vec<f64>,
    /// What the ciphertext would be.
    pub ty: CtTy,
}

/// What the rules of levels and scales forbid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ClearError(String);

/// Computes on [`ClearCt`] and fails where an engine would have to.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClearBackend;

fn check(ok: bool, message: impl FnOnce() -> String) -> Result<(), ClearError> {
    if ok { Ok(()) } else { Err(ClearError(message())) }
}

fn zip(a: &ClearCt, b: &ClearCt, f: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, ClearError> {
    let (n, m) = (a.slots.len(), b.slots.len());
    check(n == m, || format!("operands of {n} and {m} slots"))?;
    Ok(a.slots.iter().zip(&b.slots).map(|(&a, &b)| f(a, b)).collect())
}

fn zip_plain(x: &ClearCt, value: Constant<'_>, f: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, ClearError> {
    let (n, m) = (x.slots.len(), value.data().len());
    check(n == m, || format!("constant `{}` has {m} elements for {n} slots", value.entry.name))?;
    Ok(x.slots.iter().zip(value.data()).map(|(&x, &v)| f(x, f64::from(v))).collect())
}

fn sum(a: &ClearCt, b: &ClearCt, f: impl Fn(f64, f64) -> f64) -> Result<ClearCt, ClearError> {
    let same = a.ty.level == b.ty.level && a.ty.sd == b.ty.sd;
    check(same, || format!("sum of {} and {}", a.ty, b.ty))?;
    Ok(ClearCt { slots: zip(a, b, f)?, ty: CtTy { parts: a.ty.parts.max(b.ty.parts), ..a.ty } })
}

fn canonical(x: &ClearCt, what: &str) -> Result<(), ClearError> {
    check(x.ty.sd == 1 && x.ty.parts == 2, || format!("{what} of {}", x.ty))
}

fn product_level(x: &ClearCt, at: u32) -> Result<CtTy, ClearError> {
    canonical(x, "plain product")?;
    check(0 < at && at <= x.ty.level, || format!("plain product at level {at} of {}", x.ty))?;
    Ok(CtTy { level: at, sd: 2, parts: 2 })
}

fn map(x: &ClearCt, ty: CtTy, f: impl Fn(f64) -> f64) -> ClearCt {
    ClearCt { slots: x.slots.iter().map(|&x| f(x)).collect(), ty }
}

impl Backend for ClearBackend {
    type Ct = ClearCt;
    type Error = ClearError;

    fn ty(&self, ct: &ClearCt) -> CtTy {
        ct.ty
    }
    fn add(&mut self, a: &ClearCt, b: &ClearCt) -> Result<ClearCt, ClearError> {
        sum(a, b, |a, b| a + b)
    }
    fn sub(&mut self, a: &ClearCt, b: &ClearCt) -> Result<ClearCt, ClearError> {
        sum(a, b, |a, b| a - b)
    }
    fn neg(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        Ok(map(x, x.ty, |x| -x))
    }
    fn add_plain(&mut self, x: &ClearCt, value: Constant<'_>) -> Result<ClearCt, ClearError> {
        Ok(ClearCt { slots: zip_plain(x, value, |x, v| x + v)?, ty: x.ty })
    }
    fn add_scalar(&mut self, x: &ClearCt, value: f64) -> Result<ClearCt, ClearError> {
        Ok(map(x, x.ty, |x| x + value))
    }
    fn mul_plain(&mut self, x: &ClearCt, value: Constant<'_>, at: u32) -> Result<ClearCt, ClearError> {
        let ty = product_level(x, at)?;
        Ok(ClearCt { slots: zip_plain(x, value, |x, v| x * v)?, ty })
    }
    fn mul_scalar(&mut self, x: &ClearCt, value: f64, at: u32) -> Result<ClearCt, ClearError> {
        let ty = product_level(x, at)?;
        Ok(map(x, ty, |x| x * value))
    }
    fn mul_int(&mut self, x: &ClearCt, by: i64) -> Result<ClearCt, ClearError> {
        Ok(map(x, x.ty, |x| x * by as f64))
    }
    fn mul(&mut self, a: &ClearCt, b: &ClearCt) -> Result<ClearCt, ClearError> {
        canonical(a, "product")?;
        check(a.ty == b.ty && a.ty.level > 0, || format!("product of {} and {}", a.ty, b.ty))?;
        Ok(ClearCt { slots: zip(a, b, |a, b| a * b)?, ty: CtTy { level: a.ty.level, sd: 2, parts: 3 } })
    }
    fn relinearize(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        check(x.ty.parts == 3, || format!("relinearisation of {}", x.ty))?;
        Ok(ClearCt { slots: x.slots.clone(), ty: CtTy { parts: 2, ..x.ty } })
    }
    fn rescale(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        check(x.ty.sd == 2 && x.ty.level > 0, || format!("rescale of {}", x.ty))?;
        Ok(ClearCt { slots: x.slots.clone(), ty: CtTy { level: x.ty.level - 1, sd: 1, parts: x.ty.parts } })
    }
    fn level_drop(&mut self, x: &ClearCt, to: u32) -> Result<ClearCt, ClearError> {
        canonical(x, "level drop")?;
        check(to < x.ty.level, || format!("level drop of {} to {to}", x.ty))?;
        Ok(ClearCt { slots: x.slots.clone(), ty: CtTy::at(to) })
    }
    fn rotate(&mut self, x: &ClearCt, by: i64) -> Result<ClearCt, ClearError> {
        check(x.ty.parts == 2, || format!("rotation of {}", x.ty))?;
        let mut slots = x.slots.clone();
        if !slots.is_empty() {
            slots.rotate_left(by.rem_euclid(x.slots.len() as i64) as usize);
        }
        Ok(ClearCt { slots, ty: x.ty })
    }
    fn conjugate(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        check(x.ty.parts == 2, || format!("conjugation of {}", x.ty))?;
        Ok(x.clone())
    }
    fn linear(&mut self, x: &ClearCt, linear: LinearMap<'_>) -> Result<ClearCt, ClearError> {
        let ty = product_level(x, linear.at)?;
        let n = x.slots.len();
        check(n == linear.slots(), || format!("diagonals of {} slots over {n} slots", linear.slots()))?;
        let mut slots = vec![0.0; n];
        for (rotation, _, diagonal) in linear.terms() {
            let shift = rotation.rem_euclid(n.max(1) as i64) as usize;
            let rotated = x.slots[shift..].iter().chain(&x.slots[..shift]);
            for ((y, &d), &x) in slots.iter_mut().zip(diagonal).zip(rotated) {
                *y += f64::from(d) * x;
            }
        }
        Ok(ClearCt { slots, ty })
    }
    fn bootstrap(&mut self, x: &ClearCt, to: u32) -> Result<ClearCt, ClearError> {
        canonical(x, "bootstrap")?;
        Ok(ClearCt { slots: x.slots.clone(), ty: CtTy::at(to) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Observer, Step, execute};
    use super::*;
    use crate::attr::F64;
    use crate::ckks::{Ckks, CkksOp};
    use crate::entity::{Entity, Value};
    use crate::func::{Module, Operands};
    use crate::loc::Loc;
    use crate::tensor::Tensor;

    const N: usize = 8;

    fn input(level: u32) -> (Module<Ckks>, Value) {
        let mut m = Module::new("f");
        let x = m.func.add_param(CtTy::at(level), Loc::default());
        (m, x)
    }

    fn run(m: &Module<Ckks>, x: &[f64]) -> Vec<f64> {
        let ct = ClearCt { slots: x.to_vec(), ty: *m.func.ty(m.func.params()[0]) };
        let mut out = execute(m, &mut ClearBackend, vec![ct], &mut ()).unwrap();
        assert_eq!(out.len(), 1);
        out.remove(0).slots
    }

    fn ramp() -> Vec<f64> {
        (0..N).map(|i| i as f64 / 4.0 - 1.0).collect()
    }

    #[test]
    fn a_polynomial_with_every_scale_rule() {
        // 3·x² - x/2 + 1, by way of a free drop, a level drop and a lazy sum at scale degree 2.
        let (mut m, x) = input(3);
        let loc = Loc::default;
        let xx = m.push(CkksOp::Mul {}, [x, x], loc()).unwrap();
        let xx = m.push(CkksOp::Relinearize {}, [xx], loc()).unwrap();
        let xx = m.push(CkksOp::Rescale {}, [xx], loc()).unwrap();
        let xx = m.push(CkksOp::MulInt { by: 3 }, [xx], loc()).unwrap();
        let xx = m.push(CkksOp::LevelDrop { to: 1 }, [xx], loc()).unwrap();
        let half = m.push(CkksOp::MulScalar { value: F64(0.5), at: 2 }, [x], loc()).unwrap();
        let half = m.push(CkksOp::Rescale {}, [half], loc()).unwrap();
        let y = m.push(CkksOp::Sub {}, [xx, half], loc()).unwrap();
        let y = m.push(CkksOp::AddScalar { value: F64(1.0) }, [y], loc()).unwrap();
        m.func.set_results([y]);
        let expected: Vec<f64> = ramp().iter().map(|x| 3.0 * x * x - x / 2.0 + 1.0).collect();
        assert_eq!(run(&m, &ramp()), expected);
    }

    #[test]
    fn rotations_go_left_and_diagonals_follow_them() {
        let (mut m, x) = input(1);
        let data: Vec<f32> = (0..2 * N).map(|i| i as f32).collect();
        let diagonals = m.consts.insert("d", Tensor::new([2, N], data));
        let op = CkksOp::Linear { rotations: vec![0, -3], giants: vec![0, -4], diagonals, at: 1 };
        let y = m.push(op, [x], Loc::default()).unwrap();
        let y = m.push(CkksOp::Rescale {}, [y], Loc::default()).unwrap();
        let y = m.push(CkksOp::Rotate { by: 1 }, [y], Loc::default()).unwrap();
        m.func.set_results([y]);
        let x = ramp();
        let linear = |s: usize| s as f64 * x[s] + (N + s) as f64 * x[(s + N - 3) % N];
        assert_eq!(run(&m, &x), (0..N).map(|s| linear((s + 1) % N)).collect::<Vec<_>>());
    }

    #[test]
    fn results_that_repeat_and_dead_nodes() {
        struct Count(usize);
        impl Observer<ClearBackend> for Count {
            fn after(&mut self, _: &mut ClearBackend, step: Step<'_>, _: &ClearCt) {
                assert_eq!((step.index, step.total), (self.0, 1));
                self.0 += 1;
            }
        }
        let (mut m, x) = input(0);
        let y = m.push(CkksOp::Neg {}, [x], Loc::default()).unwrap();
        m.push(CkksOp::MulInt { by: 2 }, [x], Loc::default()).unwrap();
        m.func.set_results([y, x, y]);
        let ct = ClearCt { slots: vec![1.0, 2.0], ty: CtTy::at(0) };
        let mut count = Count(0);
        let out = execute(&m, &mut ClearBackend, vec![ct], &mut count).unwrap();
        assert_eq!(count.0, 1);
        let slots: Vec<_> = out.iter().map(|ct| ct.slots.clone()).collect();
        assert_eq!(slots, [vec![-1.0, -2.0], vec![1.0, 2.0], vec![-1.0, -2.0]]);
    }

    #[test]
    fn a_program_whose_types_lie_is_stopped() {
        // The parser accepts stated types; the interpreter must not trust them.
        let (mut m, x) = input(2);
        let y = m.func.push_unchecked(CkksOp::Neg {}, Operands::from_slice(&[x]), CtTy::at(1), Loc::onnx("layer"));
        m.func.set_results([y]);
        let ct = ClearCt { slots: ramp(), ty: CtTy::at(2) };
        let error = execute(&m, &mut ClearBackend, vec![ct.clone()], &mut ()).unwrap_err();
        assert_eq!(error.to_string(), "`neg` at %1 (from node `layer`) gave ct<2>, the program states ct<1>");
        let low = ClearCt { ty: CtTy::at(1), ..ct };
        let error = execute(&m, &mut ClearBackend, vec![low], &mut ()).unwrap_err();
        assert_eq!(error.to_string(), "input ciphertext 0 is ct<1>, the program expects ct<2>");
        assert_eq!(Value::new(1), y);
    }

    #[test]
    fn forbidden_combinations_fail() {
        let b = &mut ClearBackend;
        let at = |level, sd, parts| ClearCt { slots: ramp(), ty: CtTy { level, sd, parts } };
        assert!(b.add(&at(1, 1, 2), &at(2, 1, 2)).is_err());
        assert!(b.add(&at(1, 1, 2), &at(1, 2, 2)).is_err());
        assert!(b.mul(&at(1, 2, 2), &at(1, 2, 2)).is_err());
        assert!(b.mul(&at(0, 1, 2), &at(0, 1, 2)).is_err());
        assert!(b.rotate(&at(1, 2, 3), 1).is_err());
        assert!(b.rescale(&at(1, 1, 2)).is_err());
        assert!(b.rescale(&at(0, 2, 2)).is_err());
        assert!(b.relinearize(&at(1, 1, 2)).is_err());
        assert!(b.level_drop(&at(1, 1, 2), 1).is_err());
        assert!(b.mul_scalar(&at(1, 1, 2), 2.0, 2).is_err());
        assert!(b.mul_scalar(&at(1, 1, 2), 2.0, 0).is_err());
        assert!(b.bootstrap(&at(0, 2, 2), 2).is_err());
    }
}
