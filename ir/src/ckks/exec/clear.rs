//! The reference interpreter of the `ckks` level computes on `f64` slots that carry level, scale degree and parts.

use super::{Backend, ClearError, Constant, LinearMap, rules};
use crate::ckks::CtTy;

/// Slots in the clear with the type of the ciphertext they stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearCt {
    /// One number per slot.
    pub slots: Vec<f64>,
    /// What the ciphertext would be.
    pub ty: CtTy,
}

/// Computes on [`ClearCt`] and fails where an engine would have to.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClearBackend;

fn zip(a: &ClearCt, b: &ClearCt, f: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, ClearError> {
    rules::same_slots(a.slots.len(), b.slots.len())?;
    Ok(a.slots.iter().zip(&b.slots).map(|(&a, &b)| f(a, b)).collect())
}

fn zip_plain(x: &ClearCt, value: Constant<'_>, f: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, ClearError> {
    rules::constant_slots(&value.entry.name, x.slots.len(), value.data().len())?;
    Ok(x.slots.iter().zip(value.data()).map(|(&x, &v)| f(x, f64::from(v))).collect())
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
        let ty = rules::sum(a.ty, b.ty)?;
        Ok(ClearCt { slots: zip(a, b, |a, b| a + b)?, ty })
    }
    fn sub(&mut self, a: &ClearCt, b: &ClearCt) -> Result<ClearCt, ClearError> {
        let ty = rules::sum(a.ty, b.ty)?;
        Ok(ClearCt { slots: zip(a, b, |a, b| a - b)?, ty })
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
        let ty = rules::plain_product(x.ty, at)?;
        Ok(ClearCt { slots: zip_plain(x, value, |x, v| x * v)?, ty })
    }
    fn mul_scalar(&mut self, x: &ClearCt, value: f64, at: u32) -> Result<ClearCt, ClearError> {
        Ok(map(x, rules::plain_product(x.ty, at)?, |x| x * value))
    }
    fn mul_int(&mut self, x: &ClearCt, by: i64) -> Result<ClearCt, ClearError> {
        Ok(map(x, x.ty, |x| x * by as f64))
    }
    fn mul(&mut self, a: &ClearCt, b: &ClearCt) -> Result<ClearCt, ClearError> {
        let ty = rules::product(a.ty, b.ty)?;
        Ok(ClearCt { slots: zip(a, b, |a, b| a * b)?, ty })
    }
    fn relinearize(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        Ok(ClearCt { slots: x.slots.clone(), ty: rules::relinearize(x.ty)? })
    }
    fn rescale(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        Ok(ClearCt { slots: x.slots.clone(), ty: rules::rescale(x.ty)? })
    }
    fn level_drop(&mut self, x: &ClearCt, to: u32) -> Result<ClearCt, ClearError> {
        Ok(ClearCt { slots: x.slots.clone(), ty: rules::level_drop(x.ty, to)? })
    }
    fn rotate(&mut self, x: &ClearCt, by: i64) -> Result<ClearCt, ClearError> {
        let ty = rules::automorphism(x.ty, "rotation")?;
        let mut slots = x.slots.clone();
        if !slots.is_empty() {
            slots.rotate_left(by.rem_euclid(x.slots.len() as i64) as usize);
        }
        Ok(ClearCt { slots, ty })
    }
    fn conjugate(&mut self, x: &ClearCt) -> Result<ClearCt, ClearError> {
        Ok(ClearCt { slots: x.slots.clone(), ty: rules::automorphism(x.ty, "conjugation")? })
    }
    fn linear(&mut self, x: &ClearCt, linear: LinearMap<'_>) -> Result<ClearCt, ClearError> {
        let ty = rules::plain_product(x.ty, linear.at)?;
        let n = x.slots.len();
        rules::diagonal_slots(n, linear.slots())?;
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
        Ok(ClearCt { slots: x.slots.clone(), ty: rules::bootstrap(x.ty, to)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Observer, RunStep, execute};
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
            fn after(&mut self, _: &mut ClearBackend, step: RunStep<'_>, _: &ClearCt) {
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
