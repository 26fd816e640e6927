//! Evaluation keys.

mod file;
mod set;
mod switching;

pub use file::KeySetWriter;
pub use set::{KeyInfo, KeySet, PreparedKey};
pub use switching::{KeyRequest, SwitchingKey};
