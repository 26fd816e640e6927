//! Limits of the bytes that a plan's keys and a run of it take.
//!
//! Both follow from the levels of a program more than from anything else: keys have a residue for each of them, in as many digits. So
//! levels are limited before polynomials are chosen ([`narrow`](super::narrow)), and a plan that is beyond a limit still is made again with
//! fewer, until one is within it or none can be made.

use fhec_runtime::Plan;

use super::refused::{Refused, Size};
use crate::report::Prediction;

/// Bytes that a plan may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the evaluation keys in their file.
    pub max_keys: Option<u64>,
    /// Bytes of memory of a run that keeps its keys and constants; a run within a bound makes them again and takes longer.
    pub max_memory: Option<u64>,
}

impl Sizes {
    /// Why `plan` is beyond a limit.
    pub(super) fn exceeded(&self, plan: &Plan) -> Option<Refused> {
        if *self == Self::default() {
            return None;
        }
        let predicted = Prediction::of(plan, None);
        let found = [
            (Size::Keys, self.max_keys, predicted.key_bytes()),
            (Size::Memory, self.max_memory, predicted.memory.total()),
        ];
        found.into_iter().find_map(|(of, asked, found)| {
            let asked = asked.filter(|&asked| found > asked)?;
            Some(Refused::Size { of, asked, found })
        })
    }
}

/// The refusal of the plan that is nearest to the limit.
pub(super) fn nearest(a: Refused, b: Refused) -> Refused {
    match (&a, &b) {
        (Refused::Size { of, found, .. }, Refused::Size { of: other, found: less, .. })
            if of == other && less < found =>
        {
            b
        }
        _ => a,
    }
}
