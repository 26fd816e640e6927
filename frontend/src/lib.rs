//! Reads ONNX models into the `nn` level, and writes modules of that level as ONNX models.
//!
//! [`import_file`] decodes a file (protobuf, opsets [`MIN_OPSET`] to [`MAX_OPSET`], constants inside or beside it), infers
//! all shapes, evaluates what depends on constants alone, and builds a [`Module<Nn>`]. A symbolic batch becomes 1. Every
//! node keeps its ONNX name as [`Loc`](fhec_ir::Loc).
//!
//! What cannot be imported is reported together, each node with its name, operator, reason and help; nothing in a file,
//! however damaged, makes the importer panic or take memory out of proportion to the file.
//!
//! [`export`] is the way back: what the importer makes of its file computes what the module does.
//!
//! An operator is added in one file: write its function in the family it belongs to under `import/` and add a line to
//! that family's table. [`operators`] lists what there is.
//!
//! ```
//! use fhec_frontend::proto::{Graph, Model, Node, ValueInfo};
//! use fhec_frontend::{import_model, ImportOptions};
//!
//! let model = Model::new(17, Graph {
//!     node: vec![Node::new("Relu", "act", &["x"], &["y"], vec![])],
//!     input: vec![ValueInfo::floats("x", &[-1, 4])],
//!     output: vec![ValueInfo::floats("y", &[-1, 4])],
//!     ..Graph::default()
//! });
//! let module = import_model(&model, &ImportOptions::default()).unwrap();
//! assert_eq!(module.inputs[0].shape.to_string(), "1x4");
//! ```

mod error;
mod export;
mod import;
mod known;
pub mod proto;
mod tensor;

use std::path::{Path, PathBuf};

use fhec_ir::{Module, Nn, Tensor};
use prost::Message;

pub use error::ImportError;
pub use export::{ExportError, Exported, export, export_model};
pub use import::{FixedBatch, Operator, as_one_image, constant_operators, operators, without_batch};

/// The oldest version of the operator set that is read. Version 6 differs from 7 in broadcasting only.
pub const MIN_OPSET: i64 = 6;
/// The newest version of the operator set whose changes are known.
pub const MAX_OPSET: i64 = 28;

/// What the importer needs to know besides the model.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the function; by default the name of the ONNX graph.
    pub name: Option<String>,
    /// Folder of the files in which the model keeps constants outside itself; without it such constants are refused.
    pub external_data: Option<PathBuf>,
}

/// Imports the model in the file at `path`; external data is read from its folder.
///
/// # Errors
/// When the file cannot be read, is not ONNX, or has nodes that cannot be imported (all of which are listed).
pub fn import_file(path: impl AsRef<Path>) -> Result<Module<Nn>, ImportError> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|source| ImportError::Io { path: path.to_path_buf(), source })?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    import(&bytes, &ImportOptions { name, external_data: Some(folder.to_path_buf()) })
}

/// Imports a model from the bytes of a file.
///
/// # Errors
/// As [`import_file`].
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Module<Nn>, ImportError> {
    let _span = tracing::debug_span!("import").entered();
    let model = proto::Model::decode(bytes).map_err(|e| ImportError::NotOnnx {
        model: options.name.clone().unwrap_or_else(|| "model".into()),
        reason: e.to_string(),
    })?;
    import_model(&model, options)
}

/// Imports a decoded model.
///
/// # Errors
/// As [`import_file`].
pub fn import_model(model: &proto::Model, options: &ImportOptions) -> Result<Module<Nn>, ImportError> {
    import::import_model(model, options)
}

/// The real-valued tensor of a protobuf tensor, as in the test data that ships with ONNX models.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_tensor(bytes: &[u8]) -> Result<Tensor, String> {
    let tensor = proto::Tensor::decode(bytes).map_err(|e| e.to_string())?;
    tensor::decode(&tensor, None).map(|known| known.to_floats()).map_err(|refusal| refusal.reason)
}
