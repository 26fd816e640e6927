//! Evaluation keys.

mod file;
mod schedule;
mod set;
mod switching;

pub use file::KeySetWriter;
pub use set::{KeyInfo, KeySet, PreparedKey};
pub use switching::{KeyRequest, SwitchingKey};
