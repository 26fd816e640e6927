//! Expands the ops of a program into steps of the engine.

use fhec_ckks::{EngineStep, KeyShape};
use fhec_ir::cost::Timed;

/// The steps of one `op` on a ciphertext of `key.limbs` limbs, with a key of that shape where it needs one; plain operands
/// are vectors of `slots` real slots, encoded beforehand. A [`Timed::LevelDrop`] has the limbs of its result.
pub fn of(op: Timed, key: KeyShape, slots: usize) -> Vec<(EngineStep, u64)> {
    let (limbs, coefficients) = (key.limbs, 2 * slots);
    let evaluate = (EngineStep::Evaluate { limbs, coefficients }, 1);
    let sum = |limbs| (EngineStep::Pointwise { limbs }, 1);
    let copy = |limbs| (EngineStep::Copy { limbs }, 1);
    match op {
        Timed::Add => vec![sum(2 * limbs)],
        Timed::AddPlain => vec![evaluate, copy(2 * limbs), sum(limbs)],
        Timed::AddScalar => vec![copy(2 * limbs), (EngineStep::Multiple { limbs }, 1)],
        Timed::MulPlain => vec![evaluate, sum(2 * limbs)],
        Timed::MulScalar => vec![copy(4 * limbs), (EngineStep::Multiple { limbs: 2 * limbs }, 1)],
        Timed::Mul => vec![(EngineStep::Tensor { limbs }, 1)],
        Timed::Relinearize => vec![copy(3 * limbs), (EngineStep::Switch(key), 1), sum(2 * limbs)],
        Timed::Rescale => vec![copy(2 * limbs), (EngineStep::Divide { limbs }, 2)],
        // One limb more goes in.
        Timed::LevelDrop => {
            let multiple = (EngineStep::Multiple { limbs: 2 * (limbs + 1) }, 1);
            vec![copy(4 * (limbs + 1)), multiple, (EngineStep::Divide { limbs: limbs + 1 }, 2)]
        }
        Timed::Rotate => vec![(EngineStep::Switch(key), 1), (EngineStep::Permute { limbs }, 1)],
        // The division at the end of a transform is counted with its beginning.
        Timed::Hoist => vec![(EngineStep::Decompose(key), 1), (EngineStep::ModDown(key), 2)],
        Timed::BabyStep => vec![(EngineStep::InnerProduct(key), 1), (EngineStep::Permute { limbs }, 1)],
        Timed::GiantStep => vec![
            (EngineStep::ModDown(key), 1),
            (EngineStep::Decompose(key), 1),
            (EngineStep::InnerProduct(key), 1),
            (EngineStep::Permute { limbs: key.qp_limbs() }, 1),
        ],
        Timed::Diagonal => vec![(EngineStep::Diagonal { limbs: key.qp_limbs(), coefficients, real: true }, 1)],
    }
}
