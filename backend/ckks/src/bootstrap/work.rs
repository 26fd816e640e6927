//! Lists what a bootstrap does, step by step, from the parameters alone. Cost models price these steps.

use super::factors::{babies_and_giants, factor_count, factor_layers, factor_steps};
use super::scaled::EXACT;
use super::{Bootstrapper, Course, trace};
use crate::error::{KeyName, Result};
use crate::params::Params;
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of a key switch: `limbs` limbs of the ciphertext in digits of `alpha`, which is also the number of special
/// primes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyShape {
    /// Limbs of the ciphertext.
    pub limbs: usize,
    /// Limbs of a digit, and special primes.
    pub alpha: usize,
}

impl KeyShape {
    /// Switching at `level` with a key made for `key_level` (at least `level`).
    pub fn new(params: &Params, level: usize, key_level: usize) -> Self {
        Self { limbs: level + 1, alpha: params.key_alpha(key_level.max(level)) }
    }

    /// Digits of a polynomial.
    pub fn digits(&self) -> usize {
        self.limbs.div_ceil(self.alpha)
    }

    /// Limbs over `Q P`.
    pub fn qp_limbs(&self) -> usize {
        self.limbs + self.alpha
    }

    /// Limbs over `Q P` of all digits.
    pub fn digit_limbs(&self) -> usize {
        self.digits() * self.qp_limbs()
    }
}

/// A piece of the engine's work whose time depends on its sizes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineStep {
    /// Sums or products of so many pairs of limbs.
    Pointwise {
        /// Limbs of the result.
        limbs: usize,
    },
    /// Copies of so many limbs.
    Copy {
        /// Limbs.
        limbs: usize,
    },
    /// Multiples of so many limbs, in place.
    Multiple {
        /// Limbs of the result.
        limbs: usize,
    },
    /// The three parts of a product of two ciphertexts of so many limbs.
    Tensor {
        /// Limbs of one part.
        limbs: usize,
    },
    /// Transforms of so many limbs, in either direction.
    Transform {
        /// Limbs.
        limbs: usize,
    },
    /// Division of a polynomial by its last prime.
    Divide {
        /// Limbs before the division.
        limbs: usize,
    },
    /// An automorphism of so many limbs and a sum.
    Permute {
        /// Limbs.
        limbs: usize,
    },
    /// A vector of slots to integer coefficients.
    Encode {
        /// Slots.
        slots: usize,
    },
    /// Integer coefficients to limbs in evaluation form.
    Evaluate {
        /// Limbs.
        limbs: usize,
        /// Coefficients: a power of two up to N.
        coefficients: usize,
    },
    /// A whole key switch: digits, inner product with the key, division of both parts by the special primes.
    Switch(KeyShape),
    /// A key switch whose division also drops the last prime of the ciphertext.
    SwitchDivide(KeyShape),
    /// Cutting a polynomial into digits.
    Decompose(KeyShape),
    /// Inner product of digits, read through an automorphism, with a key, over `Q P`.
    InnerProduct(KeyShape),
    /// Division of one polynomial by the special primes.
    ModDown(KeyShape),
    /// One diagonal of a linear transform: its evaluation form and its products with both parts of a rotated input.
    Diagonal {
        /// Limbs over `Q P`.
        limbs: usize,
        /// Coefficients that stand for the diagonal: a power of two up to N.
        coefficients: usize,
        /// Whether it is real and so shares its transform with another.
        real: bool,
    },
}

/// How often a bootstrap makes each step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootstrapWork {
    /// Count by step.
    pub steps: BTreeMap<EngineStep, u64>,
}

/// A part of a bootstrap, in the order in which they follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootstrapStage {
    /// The modulus is raised; for fewer slots than there are, the coefficients between them are summed away.
    ModRaise,
    /// Coefficients become slots: linear transforms.
    CoeffsToSlots,
    /// The multiples of the first modulus are taken away: a polynomial, double angles, an arcsine.
    EvalMod,
    /// Slots become coefficients: linear transforms.
    SlotsToCoeffs,
}

impl BootstrapStage {
    /// The name of the stage in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModRaise => "mod_raise",
            Self::CoeffsToSlots => "coeffs_to_slots",
            Self::EvalMod => "eval_mod",
            Self::SlotsToCoeffs => "slots_to_coeffs",
        }
    }
}

/// The work of one stage of a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageWork {
    /// The stage.
    pub stage: BootstrapStage,
    /// The level of its input.
    pub from: usize,
    /// The level of its result.
    pub to: usize,
    /// What it does.
    pub work: BootstrapWork,
}

impl BootstrapWork {
    fn add(&mut self, step: EngineStep, times: usize) {
        if times > 0 {
            *self.steps.entry(step).or_default() += times as u64;
        }
    }

    /// A key switch of the second part and the sum with the first.
    fn switch(&mut self, shape: KeyShape) {
        self.add(EngineStep::Switch(shape), 1);
        self.add(EngineStep::Pointwise { limbs: shape.limbs }, 1);
    }

    /// `x + automorphism(x)`.
    fn add_automorphism(&mut self, shape: KeyShape) {
        self.add(EngineStep::Switch(shape), 1);
        self.add(EngineStep::Permute { limbs: shape.limbs }, 1);
        self.add(EngineStep::Pointwise { limbs: 2 * shape.limbs }, 1);
    }

    /// A linear transform with the keys of these alphas, the diagonals given by their coefficients.
    fn linear(&mut self, limbs: usize, babies: &[usize], giants: &[usize], diagonals: &[usize]) {
        let outer = babies.iter().chain(giants).copied().max();
        for &coefficients in diagonals {
            self.add(EngineStep::Diagonal { limbs: limbs + outer.unwrap_or(0), coefficients, real: false }, 1);
        }
        let Some(outer) = outer else { return };
        let outer = KeyShape { limbs, alpha: outer };
        for &alpha in babies.iter().collect::<BTreeSet<_>>() {
            self.add(EngineStep::Decompose(KeyShape { limbs, alpha }), 1);
        }
        for &alpha in babies {
            self.add(EngineStep::InnerProduct(KeyShape { limbs, alpha }), 1);
        }
        for &alpha in giants {
            self.add(EngineStep::ModDown(outer), 1);
            self.add(EngineStep::Decompose(KeyShape { limbs, alpha }), 1);
            self.add(EngineStep::InnerProduct(KeyShape { limbs, alpha }), 1);
        }
        self.add(EngineStep::Permute { limbs }, babies.len());
        self.add(EngineStep::Permute { limbs: outer.qp_limbs() }, giants.len());
        self.add(EngineStep::ModDown(outer), 2);
    }

    /// Both parts from `from` limbs to `to` limbs, prime by prime.
    fn divide(&mut self, from: usize, to: usize) {
        for limbs in to + 1..=from {
            self.add(EngineStep::Divide { limbs }, 2);
        }
    }
}

impl Bootstrapper {
    /// The steps of a bootstrap of `slots` slots, at level 0, to level `target`. The matrices are encoded beforehand.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn work(params: &Params, slots: usize, target: usize) -> Result<BootstrapWork> {
        let mut all = BootstrapWork::default();
        for (step, times) in Self::stages(params, slots, target)?.into_iter().flat_map(|stage| stage.work.steps) {
            *all.steps.entry(step).or_default() += times;
        }
        Ok(all)
    }

    /// The same by stage, first to last.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn stages(params: &Params, slots: usize, target: usize) -> Result<Vec<StageWork>> {
        let Course { circuit, levels, input_bits, start } = Course::new(params, slots, target)?;
        let keys: BTreeMap<KeyName, usize> =
            Self::keys(params, slots, target)?.into_iter().map(|r| (r.name, r.level)).collect();
        let shape =
            |name: KeyName, level: usize| KeyShape::new(params, level, keys.get(&name).copied().unwrap_or(level));
        let mut raise = BootstrapWork::default();
        raise.add(EngineStep::Multiple { limbs: 1 }, 2);
        if circuit.sparse_weight > 0 {
            raise.switch(shape(KeyName::ToSparse, 0));
            raise.switch(shape(KeyName::FromSparse, start));
        }
        raise.add(EngineStep::Transform { limbs: start + 2 }, 2);
        trace(params, slots).for_each(|name| raise.add_automorphism(shape(name, start)));
        let end = levels.last().copied().unwrap_or(target);
        let matrices = |work: &mut BootstrapWork, top: usize, count: u32, to_coefficients: bool, repeats: bool| {
            let steps = factor_steps(slots, count as usize, to_coefficients);
            let layers = factor_layers(slots, count as usize, to_coefficients);
            for (i, (steps, halves)) in steps.into_iter().zip(layers).enumerate() {
                // The entries of a layer repeat with its blocks.
                let block = 2 * halves.iter().copied().max().unwrap_or(1);
                let period = |rotation: i64| match i == 0 && !repeats && rotation <= 0 {
                    true => slots,
                    false => block.min(slots),
                };
                let diagonals: Vec<usize> = steps.iter().map(|&(rotation, _)| 2 * period(rotation)).collect();
                let [babies, giants] = babies_and_giants(&steps, slots)
                    .map(|names| -> Vec<usize> { names.into_iter().map(|name| shape(name, top - i).alpha).collect() });
                work.linear(top - i + 1, &babies, &giants, &diagonals);
                work.divide(top - i + 1, top - i);
            }
        };
        let mut to_slots = BootstrapWork::default();
        matrices(&mut to_slots, start, circuit.cts_levels, true, true);
        to_slots.add_automorphism(shape(KeyName::Conj, levels[0] + 1));
        let bits = |from: usize, to: usize| params.q()[to + 1..=from].iter().map(|&q| (q as f64).log2()).sum::<f64>();
        let mut scales = vec![input_bits];
        scales.extend(levels.windows(2).scan(input_bits, |scale, pair| {
            *scale = 2.0 * *scale - bits(pair[0], pair[1]);
            Some(*scale)
        }));
        let relin = keys.get(&KeyName::Relin).copied().unwrap_or(start);
        let mut eval_mod = BootstrapWork::default();
        Passage { params, slots, levels: &levels, scales, relin }.add(&mut eval_mod, circuit.steps());
        // Without the arcsine's constants the first matrix halves coefficient 0: the diagonals that meet it do not repeat.
        let mut to_coefficients = BootstrapWork::default();
        matrices(&mut to_coefficients, end, circuit.stc_levels, false, circuit.arcsine_degree == 7);
        let last = end - factor_count(slots, circuit.stc_levels as usize);
        to_coefficients.add_automorphism(shape(KeyName::Conj, last));
        let stage = |stage, from, to, work| StageWork { stage, from, to, work };
        Ok(vec![
            stage(BootstrapStage::ModRaise, 0, start, raise),
            stage(BootstrapStage::CoeffsToSlots, start, levels[0], to_slots),
            stage(BootstrapStage::EvalMod, levels[0], end, eval_mod),
            stage(BootstrapStage::SlotsToCoeffs, end, target, to_coefficients),
        ])
    }
}

/// What EvalMod passes through.
struct Passage<'a> {
    params: &'a Params,
    slots: usize,
    /// The level after every product, the input's first.
    levels: &'a [usize],
    /// log2 of the scale there.
    scales: Vec<f64>,
    relin: usize,
}

impl Passage<'_> {
    fn limbs(&self, depth: usize) -> usize {
        self.levels[depth] + 1
    }

    /// A product of operands that are `depth` products deep at most, before its relinearisation and division.
    fn product(&self, work: &mut BootstrapWork, depth: usize) {
        work.add(EngineStep::Tensor { limbs: self.limbs(depth) }, 1);
    }

    /// Relinearisation of a product, and its division.
    fn rescale_product(&self, work: &mut BootstrapWork, depth: usize) {
        let (limbs, end) = (self.limbs(depth), self.limbs(depth + 1));
        let shape = KeyShape::new(self.params, self.levels[depth], self.relin);
        if limbs > end {
            work.add(EngineStep::SwitchDivide(shape), 1);
            work.add(EngineStep::Pointwise { limbs: 2 * (limbs - 1) }, 1);
            work.divide(limbs - 1, end);
        } else {
            work.add(EngineStep::Switch(shape), 1);
            work.add(EngineStep::Pointwise { limbs: 2 * limbs }, 1);
        }
    }

    fn double_angle(&self, work: &mut BootstrapWork, depth: usize) {
        self.product(work, depth);
        work.add(EngineStep::Multiple { limbs: 3 * self.limbs(depth) }, 1);
        self.rescale_product(work, depth);
    }

    /// Adds a multiple of a value `from` products deep to a sum at the level of `to` of scale `2^scale`.
    fn add_multiple(&self, work: &mut BootstrapWork, to: usize, scale: f64, from: usize) {
        let extend = scale - self.scales[from] < EXACT.log2() && self.levels[from] > self.levels[to];
        work.add(EngineStep::Multiple { limbs: 2 * (self.limbs(to) + usize::from(extend)) }, 1);
        if extend {
            work.divide(self.limbs(to) + 1, self.limbs(to));
            work.add(EngineStep::Pointwise { limbs: 2 * self.limbs(to) }, 1);
        }
    }

    /// The steps, as [`EvalMod::apply`](super::evalmod::EvalMod::apply) makes them.
    fn add(&self, work: &mut BootstrapWork, [interpolant, double_angle, arcsine]: [usize; 3]) {
        // z = T_2(x), then T_2(z), T_4(z), ..
        let k = interpolant - 1;
        (0..k).for_each(|depth| self.double_angle(work, depth));
        if k >= 3 {
            // T_3, for which T_1 comes down to the level of T_2 where its scale is too large.
            if self.scales[1] > self.scales[2] + 1.0 {
                work.divide(self.limbs(1), self.limbs(2));
                work.add(EngineStep::Multiple { limbs: 2 * self.limbs(2) }, 1);
            } else {
                self.add_multiple(work, 2, self.scales[1] + self.scales[2], 1);
            }
            self.double_angle(work, 2);
        }
        // `2^k` coefficients are two polynomials of half as many and a product; where the lower half has at most four,
        // multiples of known powers.
        let mut pieces = 1;
        for k in (2..=k).rev() {
            for _ in 0..pieces {
                self.product(work, k);
                let powers: &[usize] = match k {
                    2 => &[1],
                    3 => &[1, 2, 3],
                    _ => &[k],
                };
                powers.iter().for_each(|&from| self.add_multiple(work, k, 2.0 * self.scales[k], from));
                self.rescale_product(work, k);
            }
            pieces *= if k <= 3 { 1 } else { 2 };
        }
        for _ in 0..pieces {
            self.add_multiple(work, 1, 2.0 * self.scales[1], 1);
            work.divide(self.limbs(1), self.limbs(2));
        }
        let depth = 1 + k;
        (depth..depth + double_angle).for_each(|depth| self.double_angle(work, depth));
        let depth = depth + double_angle;
        let products: &[usize] = match arcsine {
            0 => &[],
            2 => &[0, 1],
            _ => &[0, 1, 1, 2],
        };
        for &step in products {
            self.product(work, depth + step);
            self.rescale_product(work, depth + step);
        }
        if arcsine == 3 {
            // Constants that differ in slot 0.
            for depth in [depth + 1, depth + 1, depth + 2] {
                let limbs = self.limbs(depth);
                work.add(EngineStep::Encode { slots: self.slots }, 1);
                work.add(EngineStep::Evaluate { limbs, coefficients: 2 * self.slots }, 1);
                work.add(EngineStep::Pointwise { limbs }, 1);
            }
        }
    }
}
