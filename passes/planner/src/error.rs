//! Why a network cannot be planned.

use miette::Diagnostic;
use thiserror::Error;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
pub enum PlanError {
    /// The description of the network contradicts itself.
    #[error("`{at}`: {what}")]
    #[diagnostic(code(fhec::plan::network), help("correct the description of the network"))]
    Network {
        /// The stage, or the name of the network.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// Levels run out.
    #[error("levels run out at `{stage}`: it needs at least {needs}, at most {level} are left")]
    #[diagnostic(
        code(fhec::plan::starved),
        help("raise the levels of the parameters, allow a bootstrap before this stage, or admit shallower candidates")
    )]
    Starved {
        /// The stage.
        stage: String,
        /// Levels it consumes at least.
        needs: u32,
        /// The highest level that any plan has left there.
        level: u32,
    },
    /// Plans exist, but none within the limits.
    #[error("no plan within the limits: {asked}; {nearest}")]
    #[diagnostic(code(fhec::plan::limits), help("relax the limit to the figure named"))]
    Limits {
        /// The limit that was set.
        asked: String,
        /// What the nearest plan has.
        nearest: String,
    },
    /// A baseline was asked for what the network does not have.
    #[error("`{activation}` has no candidate {what}")]
    #[diagnostic(code(fhec::plan::candidate), help("take another baseline, or offer such a candidate"))]
    Candidate {
        /// The activation.
        activation: String,
        /// What was asked for.
        what: String,
    },
}
