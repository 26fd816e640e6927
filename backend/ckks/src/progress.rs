//! Long work tells how far it is, and may be told to stop.

use std::ops::ControlFlow;

/// What a callback that hears of progress answers: nothing, or with [`ControlFlow::Break`] that the work is to stop, which then
/// ends in [`CkksError::Cancelled`](crate::CkksError::Cancelled).
pub trait Verdict {
    /// Whether the work goes on.
    fn goes_on(&self) -> bool;
}

impl Verdict for () {
    fn goes_on(&self) -> bool {
        true
    }
}

impl Verdict for ControlFlow<()> {
    fn goes_on(&self) -> bool {
        self.is_continue()
    }
}
