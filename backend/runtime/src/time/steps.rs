//! Expands the ops of a program into steps of the engine.

use fhec_ckks::{KeyShape, Step};
use fhec_ir::cost::Timed;

/// The steps of one `op` on a ciphertext of `key.limbs` limbs, with a key of that shape where it needs one; plain operands
/// are vectors of `slots` real slots, encoded beforehand. A [`Timed::LevelDrop`] has the limbs of its result.
pub fn of(op: Timed, key: KeyShape, slots: usize) -> Vec<(Step, u64)> {
    let (limbs, coefficients) = (key.limbs, 2 * slots);
    let evaluate = (Step::Evaluate { limbs, coefficients }, 1);
    let sum = |limbs| (Step::Pointwise { limbs }, 1);
    let copy = |limbs| (Step::Copy { limbs }, 1);
    match op {
        Timed::Add => vec![sum(2 * limbs)],
        Timed::AddPlain => vec![evaluate, copy(2 * limbs), sum(limbs)],
        Timed::AddScalar => vec![copy(2 * limbs), (Step::Multiple { limbs }, 1)],
        Timed::MulPlain => vec![evaluate, sum(2 * limbs)],
        Timed::MulScalar => vec![copy(4 * limbs), (Step::Multiple { limbs: 2 * limbs }, 1)],
        Timed::Mul => vec![(Step::Tensor { limbs }, 1)],
        Timed::Relinearize => vec![copy(3 * limbs), (Step::Switch(key), 1), sum(2 * limbs)],
        Timed::Rescale => vec![copy(2 * limbs), (Step::Divide { limbs }, 2)],
        // One limb more goes in.
        Timed::LevelDrop => {
            let multiple = (Step::Multiple { limbs: 2 * (limbs + 1) }, 1);
            vec![copy(4 * (limbs + 1)), multiple, (Step::Divide { limbs: limbs + 1 }, 2)]
        }
        Timed::Rotate => vec![(Step::Switch(key), 1), (Step::Permute { limbs }, 1)],
        // The division at the end of a transform is counted with its beginning.
        Timed::Hoist => vec![(Step::Decompose(key), 1), (Step::ModDown(key), 2)],
        Timed::BabyStep => vec![(Step::InnerProduct(key), 1), (Step::Permute { limbs }, 1)],
        Timed::GiantStep => vec![
            (Step::ModDown(key), 1),
            (Step::Decompose(key), 1),
            (Step::InnerProduct(key), 1),
            (Step::Permute { limbs: key.qp_limbs() }, 1),
        ],
        Timed::Diagonal => vec![(Step::Diagonal { limbs: key.qp_limbs(), coefficients, real: true }, 1)],
    }
}
