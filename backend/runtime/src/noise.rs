//! Runs a program in the clear on several images at once, with the error that encryption would add.
//!
//! Every value is held as what the program computes (`f64`, the same bits as the reference interpreter gives) and the
//! error on top of it (`f32`: seven digits of the error, however small it is beside the value). Errors follow the same
//! algebra as the values, so one pass over a constant serves both, for all images. New errors are drawn from the model
//! in [`NoiseModel`] with a seed, so a run can be repeated. Values that leave the range their ciphertext can hold, or the
//! interval of the polynomial or the bootstrap that reads them, are reported.

mod backend;
mod histogram;
mod intervals;
mod linear;
mod model;
mod random;
mod report;
mod slotwise;

pub use backend::{Exact, LANES, Lanes, NoiseBackend, NoisyCt};
pub use histogram::ArgumentHistogram;
pub use intervals::chebyshev_arguments;
pub use model::NoiseModel;
pub use report::{LayerEscape, NoiseObserver, NoiseReport, OpNoise, Range, RangeEscape, ResultError};
pub use slotwise::slotwise;
