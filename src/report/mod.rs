//! A report says what a plan is and what it costs, as data ([`Report`]) and as one self-contained page of HTML
//! ([`html`]). `fhec report` writes the page; notebooks show a smaller one ([`card`]).

mod card;
mod chart;
pub mod findings;
mod markup;
mod model;
mod page;
mod prediction;
mod tables;
#[cfg(test)]
mod tests;
pub mod units;

pub use card::card;
pub use model::{Layer, Parameters, Phase, Report, Run, Span};
pub use page::html;
pub use prediction::{Costs, Key, Prediction, profile};
