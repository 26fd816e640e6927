//! The work of the engine's steps is counted in units that cost the same at every size.

use fhec_ckks::{EngineStep, KeyShape};
use serde::{Deserialize, Serialize};

/// What a step is priced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The step itself, whatever its size.
    Call,
    /// A residue of the result.
    Residue,
    /// A butterfly of a transform.
    Butterfly,
    /// A product of a base conversion.
    Conversion,
    /// A product with a residue of a switching key.
    Key,
}

/// Kinds of [`EngineStep`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the step of its name")]
pub enum WorkKind {
    Pointwise,
    Copy,
    Multiple,
    Tensor,
    Transform,
    Divide,
    Permute,
    Encode,
    Evaluate,
    Switch,
    Decompose,
    InnerProduct,
    ModDown,
    Diagonal,
}

impl WorkKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Pointwise,
        Self::Copy,
        Self::Multiple,
        Self::Tensor,
        Self::Transform,
        Self::Divide,
        Self::Permute,
        Self::Encode,
        Self::Evaluate,
        Self::Switch,
        Self::Decompose,
        Self::InnerProduct,
        Self::ModDown,
        Self::Diagonal,
    ];
}

/// Butterflies of one transform of `n` coefficients.
fn butterflies(n: usize) -> f64 {
    n as f64 / 2.0 * f64::from(n.max(1).ilog2())
}

/// Products, per coefficient, that cut a polynomial into digits.
fn digit_conversions(shape: KeyShape) -> f64 {
    let KeyShape { limbs, alpha } = shape;
    (0..limbs)
        .step_by(alpha.max(1))
        .map(|start| alpha.min(limbs - start))
        .map(|d| d * (shape.qp_limbs() - d))
        .sum::<usize>() as f64
}

/// The kind of `step` and its units in a ring of degree `n`.
pub fn units(step: EngineStep, n: usize) -> (WorkKind, Vec<(Unit, f64)>) {
    use Unit::{Butterfly, Call, Conversion, Key, Residue};
    let degree = n as f64;
    let residues = |limbs: usize| vec![(Call, 1.0), (Residue, limbs as f64 * degree)];
    let transforms = |limbs: usize| (Butterfly, limbs as f64 * butterflies(n));
    let key = |s: KeyShape| (Key, 2.0 * (s.digits() * s.qp_limbs()) as f64 * degree);
    match step {
        EngineStep::Pointwise { limbs } => (WorkKind::Pointwise, residues(limbs)),
        EngineStep::Copy { limbs } => (WorkKind::Copy, residues(limbs)),
        EngineStep::Multiple { limbs } => (WorkKind::Multiple, residues(limbs)),
        EngineStep::Tensor { limbs } => (WorkKind::Tensor, residues(limbs)),
        EngineStep::Permute { limbs } => (WorkKind::Permute, residues(limbs)),
        EngineStep::Transform { limbs } => (WorkKind::Transform, vec![transforms(limbs)]),
        EngineStep::Divide { limbs } => (WorkKind::Divide, vec![(Call, 1.0), transforms(limbs)]),
        EngineStep::Encode { slots } => {
            (WorkKind::Encode, vec![(Call, 1.0), (Residue, 2.0 * slots as f64), (Butterfly, butterflies(2 * slots))])
        }
        EngineStep::Evaluate { limbs, coefficients } => {
            let small = (Butterfly, limbs as f64 * butterflies(coefficients));
            (WorkKind::Evaluate, vec![small, (Residue, limbs as f64 * degree)])
        }
        EngineStep::Switch(s) => {
            let conversions = digit_conversions(s) + 2.0 * (s.alpha * s.limbs) as f64;
            let transforms = transforms((s.digits() + 2) * s.qp_limbs());
            (WorkKind::Switch, vec![(Call, 1.0), transforms, (Conversion, conversions * degree), key(s)])
        }
        EngineStep::SwitchDivide(s) => {
            let conversions = digit_conversions(s) + 2.0 * ((s.alpha + 1) * (s.limbs - 1)) as f64;
            let transforms = transforms((s.digits() + 2) * s.qp_limbs());
            (WorkKind::Switch, vec![(Call, 1.0), transforms, (Conversion, conversions * degree), key(s)])
        }
        EngineStep::Decompose(s) => {
            let transforms = transforms(s.digits() * s.qp_limbs());
            (WorkKind::Decompose, vec![(Call, 1.0), transforms, (Conversion, digit_conversions(s) * degree)])
        }
        EngineStep::InnerProduct(s) => {
            (WorkKind::InnerProduct, vec![(Call, 1.0), key(s), (Residue, s.qp_limbs() as f64 * degree)])
        }
        EngineStep::ModDown(s) => {
            let conversions = (Conversion, (s.alpha * s.limbs) as f64 * degree);
            (WorkKind::ModDown, vec![(Call, 1.0), transforms(s.qp_limbs()), conversions])
        }
        EngineStep::Diagonal { limbs, coefficients, real } => {
            let share = if real { 0.5 } else { 1.0 };
            let small = (Butterfly, share * limbs as f64 * butterflies(coefficients));
            (WorkKind::Diagonal, vec![small, (Residue, limbs as f64 * degree)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_has_the_work_of_its_parts() {
        for (limbs, alpha) in [(26, 7), (14, 7), (8, 4), (5, 7), (1, 1)] {
            let s = KeyShape { limbs, alpha };
            let sum = |steps: &[EngineStep], unit: Unit| -> f64 {
                let all = steps.iter().flat_map(|&step| units(step, 1 << 10).1);
                all.filter(|(u, _)| *u == unit).map(|(_, count)| count).sum()
            };
            let parts =
                [EngineStep::Decompose(s), EngineStep::InnerProduct(s), EngineStep::ModDown(s), EngineStep::ModDown(s)];
            for unit in [Unit::Butterfly, Unit::Conversion, Unit::Key] {
                assert_eq!(sum(&[EngineStep::Switch(s)], unit), sum(&parts, unit), "{limbs} {alpha} {unit:?}");
            }
        }
    }
}
