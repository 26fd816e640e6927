//! A report says what a plan is and what it costs, as data ([`Report`]) and as one self-contained page of HTML
//! ([`html`]). [`trace`] gives the run as trace events. `fhec report` writes both; notebooks show a smaller page ([`card`]).

mod card;
mod chart;
pub mod findings;
mod markup;
mod model;
mod page;
mod polynomial;
mod prediction;
mod sidecar;
mod simulation;
mod tables;
#[cfg(test)]
mod tests;
mod trace;
pub mod units;
mod walk;

pub use card::card;
pub use model::{Layer, Noise, Parameters, Phase, Report, Run, Span, Stage};
pub use page::{SCRIPT, STYLE, html, main};
pub use polynomial::{Data, Polynomial};
pub use prediction::{Costs, Key, Prediction, profile};
pub use simulation::{Argument, Op, Simulated, Simulation};
pub use trace::trace;
