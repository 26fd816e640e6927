//! Computes on values with errors, for several images at once.

use std::rc::Rc;

use fhec_ckks::Distortion;
use fhec_ir::ckks::CtTy;
use fhec_ir::ckks::exec::{Backend, ClearError, Constant, LinearMap, rules};
use fhec_ir::cost::rotation_in;

use super::linear::DiagonalTerms;
use super::model::NoiseModel;
use super::random::NoiseRng;

/// Images that are simulated together.
pub const LANES: usize = 8;

/// One element per image.
pub type Lanes<T> = [T; LANES];

/// Slots of several images, without and with error.
#[derive(Clone, Debug)]
pub struct NoisyCt {
    /// What the program computes.
    pub exact: Exact,
    /// What the decrypted ciphertext would hold on top of it; empty in a run without noise.
    pub error: Rc<Vec<Lanes<f32>>>,
    /// What the ciphertext would be.
    pub ty: CtTy,
}

/// Slots without error, with their largest magnitude per image.
#[derive(Clone, Debug)]
pub struct Exact {
    /// One element per slot.
    pub slots: Rc<Vec<Lanes<f64>>>,
    /// The largest magnitude.
    pub magnitude: Lanes<f64>,
}

impl Exact {
    fn new(slots: impl Iterator<Item = Lanes<f64>>) -> Self {
        let mut magnitude = [0.0; LANES];
        let slots = collected(slots.map(|x| noted(x, &mut magnitude)));
        Self { slots, magnitude }
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(self.slots.iter().map(|&x| each(x, &f)))
    }

    fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self::new(self.slots.iter().zip(other.slots.iter()).map(|(&a, &b)| both(a, b, &f)))
    }
}

// Plain loops: compilers vectorise them, and not what `array::map` and `array::from_fn` become.

/// A function of every lane.
#[inline(always)]
pub fn each<T: Copy, V: Copy + Default>(x: Lanes<T>, f: impl Fn(T) -> V) -> Lanes<V> {
    let mut out = [V::default(); LANES];
    out.iter_mut().zip(x).for_each(|(out, x)| *out = f(x));
    out
}

/// A function of every lane of two.
#[inline(always)]
pub fn both<T: Copy, U: Copy, V: Copy + Default>(a: Lanes<T>, b: Lanes<U>, f: impl Fn(T, U) -> V) -> Lanes<V> {
    let mut out = [V::default(); LANES];
    out.iter_mut().zip(a.into_iter().zip(b)).for_each(|(out, (a, b))| *out = f(a, b));
    out
}

/// The slot itself, once its magnitude has been compared with the largest. What is not a number counts as infinite: it is
/// beyond every limit, and a comparison alone would pass over it.
#[inline(always)]
fn noted(x: Lanes<f64>, largest: &mut Lanes<f64>) -> Lanes<f64> {
    let size = |x: f64| if x.is_nan() { f64::INFINITY } else { x.abs() };
    *largest = both(*largest, x, |m: f64, x: f64| if size(x) > m { size(x) } else { m });
    x
}

fn collected<T>(values: impl Iterator<Item = Lanes<T>>) -> Rc<Vec<Lanes<T>>> {
    Rc::new(values.collect())
}

/// Adds new errors of one deviation: a loop that is compiled for several instruction sets, of which one is chosen at run
/// time.
struct Disturb<'a> {
    errors: &'a mut [Lanes<f32>],
    deviation: f32,
    rng: &'a mut NoiseRng,
}

impl pulp::NullaryFnOnce for Disturb<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for e in self.errors {
            let new = self.rng.gaussian();
            for (e, g) in e.iter_mut().zip(new) {
                *e += self.deviation * g;
            }
        }
    }
}

/// Computes on [`NoisyCt`] and adds modelled error to every op.
#[derive(Clone, Debug)]
pub struct NoiseBackend<'a> {
    /// None for a run without noise.
    model: Option<&'a NoiseModel>,
    rng: NoiseRng,
}

impl<'a> NoiseBackend<'a> {
    /// A backend that draws from the streams from `first` on of `seed`, one per image; without a model it adds nothing.
    pub fn new(model: Option<&'a NoiseModel>, seed: u64, first: u64) -> Self {
        Self { model, rng: NoiseRng::new(seed, first) }
    }

    /// Fresh encryptions of the slots of several images.
    pub fn encrypt(&mut self, slots: &[Lanes<f64>], level: u32) -> NoisyCt {
        let none = vec![[0.0; LANES]; if self.model.is_some() { slots.len() } else { 0 }];
        let deviation = self.deviation(NoiseModel::fresh);
        let error = self.disturbed(none.into_iter(), deviation);
        NoisyCt { exact: Exact::new(slots.iter().copied()), error, ty: CtTy::at(level) }
    }

    /// A deviation of the model; zero in a run without noise, and when no rescale will leave anything of it.
    fn deviation(&self, of: impl FnOnce(&NoiseModel) -> f64) -> f32 {
        self.model.map_or(0.0, |model| Some(of(model)).filter(|&d| d >= model.visible()).unwrap_or(0.0) as f32)
    }

    /// The errors with new ones on top.
    fn disturbed(&mut self, errors: impl Iterator<Item = Lanes<f32>>, deviation: f32) -> Rc<Vec<Lanes<f32>>> {
        let mut errors: Vec<_> = errors.collect();
        if deviation != 0.0 {
            pulp::Arch::new().dispatch(Disturb { errors: &mut errors, deviation, rng: &mut self.rng });
        }
        Rc::new(errors)
    }

    /// The same slots as a ciphertext of another type, with new errors.
    fn moved(&mut self, x: &NoisyCt, ty: CtTy, deviation: f32) -> NoisyCt {
        let error = match deviation {
            0.0 => x.error.clone(),
            _ => self.disturbed(x.error.iter().copied(), deviation),
        };
        NoisyCt { exact: x.exact.clone(), error, ty }
    }
}

/// The errors that a bootstrap without noise would leave.
fn distorted(x: &NoisyCt, distortion: &Distortion) -> NoisyCt {
    let mut error = x.error.to_vec();
    let mut slots = vec![0.0; error.len()];
    for lane in 0..LANES {
        let values = x.exact.slots.iter().zip(&error).map(|(x, e)| x[lane] + f64::from(e[lane]));
        slots.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
        // Lanes without an image hold zeros, which come back as they are.
        if slots.iter().all(|&slot| slot == 0.0) {
            continue;
        }
        distortion.apply(&mut slots);
        let differences = slots.iter().zip(x.exact.slots.iter()).map(|(slot, x)| slot - x[lane]);
        error.iter_mut().zip(differences).for_each(|(e, difference)| e[lane] = difference as f32);
    }
    NoisyCt { error: Rc::new(error), ..x.clone() }
}

/// Errors of two operands, combined.
fn errors<'a>(
    a: &'a NoisyCt,
    b: &'a NoisyCt,
    f: impl Fn(f32, f32) -> f32 + 'a,
) -> impl Iterator<Item = Lanes<f32>> + 'a {
    a.error.iter().zip(b.error.iter()).map(move |(&a, &b)| both(a, b, &f))
}

impl Backend for NoiseBackend<'_> {
    type Ct = NoisyCt;
    type Error = ClearError;

    fn ty(&self, ct: &NoisyCt) -> CtTy {
        ct.ty
    }
    fn add(&mut self, a: &NoisyCt, b: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let ty = rules::sum(a.ty, b.ty)?;
        rules::same_slots(a.exact.slots.len(), b.exact.slots.len())?;
        Ok(NoisyCt { exact: a.exact.zip(&b.exact, |a, b| a + b), error: collected(errors(a, b, |a, b| a + b)), ty })
    }
    fn sub(&mut self, a: &NoisyCt, b: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let ty = rules::sum(a.ty, b.ty)?;
        rules::same_slots(a.exact.slots.len(), b.exact.slots.len())?;
        Ok(NoisyCt { exact: a.exact.zip(&b.exact, |a, b| a - b), error: collected(errors(a, b, |a, b| a - b)), ty })
    }
    fn neg(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let error = collected(x.error.iter().map(|&e| each(e, |e| -e)));
        Ok(NoisyCt { exact: x.exact.map(|x| -x), error, ty: x.ty })
    }
    fn add_plain(&mut self, x: &NoisyCt, value: Constant<'_>) -> Result<NoisyCt, ClearError> {
        let n = x.exact.slots.len();
        rules::constant_slots(&value.entry.name, n, value.data().len())?;
        let sums = x.exact.slots.iter().zip(value.data()).map(|(&x, &v)| each(x, |x| x + f64::from(v)));
        let deviation = self.deviation(|model| model.encode(n, x.ty.sd));
        let out = NoisyCt { exact: Exact::new(sums), ..x.clone() };
        Ok(self.moved(&out, x.ty, deviation))
    }
    fn add_scalar(&mut self, x: &NoisyCt, value: f64) -> Result<NoisyCt, ClearError> {
        // The rounded number is the same in every slot.
        let deviation = self.deviation(|model| model.encode_scalar(x.ty.sd));
        let exact = x.exact.map(|x| x + value);
        if deviation == 0.0 {
            return Ok(NoisyCt { exact, ..x.clone() });
        }
        let rounding = each(self.rng.gaussian(), |g| deviation * g);
        let error = collected(x.error.iter().map(|&e| both(e, rounding, |e, r| e + r)));
        Ok(NoisyCt { exact, error, ty: x.ty })
    }
    fn mul_plain(&mut self, x: &NoisyCt, value: Constant<'_>, at: u32) -> Result<NoisyCt, ClearError> {
        let ty = rules::plain_product(x.ty, at)?;
        let n = x.exact.slots.len();
        rules::constant_slots(&value.entry.name, n, value.data().len())?;
        let products = x.exact.slots.iter().zip(value.data()).map(|(&x, &v)| each(x, |x| x * f64::from(v)));
        // The rounding of the constant multiplies the operand.
        let deviation = self.deviation(|model| model.encode(n, 1));
        let rng = &mut self.rng;
        let products_with_errors = x.error.iter().zip(x.exact.slots.iter()).zip(value.data());
        let error = products_with_errors.map(|((&e, &x), &v)| {
            let rounding = both(rng.gaussian(), x, |g, x| deviation * g * x as f32);
            both(e, rounding, |e, r| e * v + r)
        });
        Ok(NoisyCt { exact: Exact::new(products), error: collected(error), ty })
    }
    fn mul_scalar(&mut self, x: &NoisyCt, value: f64, at: u32) -> Result<NoisyCt, ClearError> {
        let ty = rules::plain_product(x.ty, at)?;
        // The rounded factor is the same number in every slot.
        let deviation = self.deviation(|model| model.encode_scalar(1));
        let rounding = each(self.rng.gaussian(), |g| deviation * g);
        let error = x.error.iter().zip(x.exact.slots.iter()).map(|(&e, &x)| {
            let added = both(x, rounding, |x, r| x as f32 * r);
            both(e, added, |e, a| e * value as f32 + a)
        });
        let error = collected(error);
        Ok(NoisyCt { exact: x.exact.map(|x| x * value), error, ty })
    }
    fn mul_int(&mut self, x: &NoisyCt, by: i64) -> Result<NoisyCt, ClearError> {
        let error = collected(x.error.iter().map(|&e| each(e, |e| e * by as f32)));
        Ok(NoisyCt { exact: x.exact.map(|x| x * by as f64), error, ty: x.ty })
    }
    fn mul(&mut self, a: &NoisyCt, b: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let ty = rules::product(a.ty, b.ty)?;
        rules::same_slots(a.exact.slots.len(), b.exact.slots.len())?;
        // (a + e)(b + f) - ab
        let operands = a.exact.slots.iter().zip(b.exact.slots.iter());
        let error = a.error.iter().zip(b.error.iter()).zip(operands).map(|((&e, &f), (&a, &b))| {
            let (of_a, of_b) = (both(a, f, |a, f| a as f32 * f), both(b, e, |b, e| b as f32 * e));
            both(both(of_a, of_b, |x, y| x + y), both(e, f, |e, f| e * f), |x, y| x + y)
        });
        Ok(NoisyCt { exact: a.exact.zip(&b.exact, |a, b| a * b), error: collected(error), ty })
    }
    fn relinearize(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let ty = rules::relinearize(x.ty)?;
        let deviation = self.deviation(|model| model.key_switch(ty));
        Ok(self.moved(x, ty, deviation))
    }
    fn rescale(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let ty = rules::rescale(x.ty)?;
        let deviation = self.deviation(|model| model.rescale(ty.parts));
        Ok(self.moved(x, ty, deviation))
    }
    fn level_drop(&mut self, x: &NoisyCt, to: u32) -> Result<NoisyCt, ClearError> {
        let ty = rules::level_drop(x.ty, to)?;
        let deviation = self.deviation(|model| model.rescale(2));
        let factor = self.deviation(NoiseModel::level_drop_factor);
        let factor = each(self.rng.gaussian(), |g| factor * g);
        let scaled = x.error.iter().zip(x.exact.slots.iter());
        let scaled = scaled.map(|(&e, &x)| both(e, both(x, factor, |x, f| x as f32 * f), |e, new| e + new));
        let error = self.disturbed(scaled, deviation);
        Ok(NoisyCt { exact: x.exact.clone(), error, ty })
    }
    fn rotate(&mut self, x: &NoisyCt, by: i64) -> Result<NoisyCt, ClearError> {
        let ty = rules::automorphism(x.ty, "rotation")?;
        let by = rotation_in(by, x.exact.slots.len()) as usize;
        if by == 0 {
            return Ok(x.clone());
        }
        let exact = Exact { slots: Rc::new([&x.exact.slots[by..], &x.exact.slots[..by]].concat()), ..x.exact };
        let deviation = self.deviation(|model| model.key_switch(ty));
        let error = match x.error.is_empty() {
            true => x.error.clone(),
            false => self.disturbed(x.error[by..].iter().chain(&x.error[..by]).copied(), deviation),
        };
        Ok(NoisyCt { exact, error, ty })
    }
    fn conjugate(&mut self, x: &NoisyCt) -> Result<NoisyCt, ClearError> {
        let ty = rules::automorphism(x.ty, "conjugation")?;
        let deviation = self.deviation(|model| model.key_switch(ty));
        Ok(self.moved(x, ty, deviation))
    }
    fn linear(&mut self, x: &NoisyCt, map: LinearMap<'_>) -> Result<NoisyCt, ClearError> {
        let ty = rules::plain_product(x.ty, map.at)?;
        let n = x.exact.slots.len();
        rules::diagonal_slots(n, map.slots())?;
        let terms = DiagonalTerms::of(map);
        let exact = Exact::new(terms.apply(&x.exact.slots).into_iter());
        if x.error.is_empty() {
            return Ok(NoisyCt { exact, error: x.error.clone(), ty });
        }
        // New errors: each baby step's key switch, which its diagonals multiply, and the rounding of the diagonals, which
        // multiplies the operand; giant steps switch keys at the square of the scale, where errors vanish. They are drawn
        // per slot with their variance there. That giant steps read one baby step's error in several slots is left out.
        let switch = self.deviation(|model| model.key_switch(CtTy::at(map.at))).powi(2);
        let encode = self.deviation(|model| model.encode(n, 1)).powi(2);
        let variances = terms.switched(n).into_iter().zip(terms.energy(&x.exact.slots));
        let rng = &mut self.rng;
        let error = terms.apply(&x.error).into_iter().zip(variances).map(|(e, (factors, energy))| {
            let new = both(rng.gaussian(), energy, |g, energy| g * (switch * factors + encode * energy).sqrt());
            both(e, new, |e, new| e + new)
        });
        Ok(NoisyCt { exact, error: collected(error), ty })
    }
    fn bootstrap(&mut self, x: &NoisyCt, to: u32) -> Result<NoisyCt, ClearError> {
        let ty = rules::bootstrap(x.ty, to)?;
        let deviation = self.deviation(NoiseModel::bootstrap);
        match self.model.and_then(NoiseModel::distortion) {
            Some(distortion) => Ok(self.moved(&distorted(x, distortion), ty, deviation)),
            None => Ok(self.moved(x, ty, deviation)),
        }
    }
}
