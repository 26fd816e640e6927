//! `fhec report`: what a plan is and what it costs, as data ([`Report`]) and as one self-contained page of HTML ([`html`]).

mod chart;
pub mod findings;
mod markup;
mod model;
mod page;
mod tables;
#[cfg(test)]
mod tests;
pub mod units;

pub use model::{Key, Layer, Parameters, Phase, Report, Run, Span, keys};
pub use page::html;
