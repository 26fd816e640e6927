//! The exporter turns a module into an ONNX graph, one file per family of ops as in the importer.
//!
//! An op becomes the operator that the importer reads it from, or a few of them: a polynomial is written in sums and
//! products. What the importer makes of the file computes what the module does.

mod activation;
mod builder;
mod elementwise;
mod linear;
mod movement;
mod norm;
mod polynomial;
mod pool;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, Value, verify};
use miette::Diagnostic;
use prost::Message;
use thiserror::Error;

use crate::import::batch_places;
use crate::proto::Model;
use builder::{Builder, Site};

/// The version of the operators that are written: the first that has all of them.
const OPSET: i64 = 20;
/// The version of the file format that belongs to it.
const IR_VERSION: i64 = 9;
/// A file of protobuf messages has fewer bytes.
const MOST_BYTES: usize = (1 << 31) - 1;

/// Why a network cannot be exported.
#[derive(Debug, Error, Diagnostic)]
pub enum ExportError {
    /// The module breaks a rule of its level.
    #[error("the network cannot be exported, for it is not a valid one")]
    #[diagnostic(help("the pass that made it is at fault: please report it"))]
    Invalid {
        /// Which rules it breaks.
        #[source]
        source: fhec_ir::verify::VerifyError,
    },
    /// A file of protobuf messages cannot hold it.
    #[error("the network takes {bytes} bytes, and one ONNX file holds fewer than 2 GiB")]
    #[diagnostic(help("no network of this size can be compiled: export a smaller one"))]
    TooLarge {
        /// The bytes it takes.
        bytes: usize,
    },
}

/// The bytes of an ONNX file that computes what `module` does.
///
/// Values are of type float32. Where nothing mixes images of the leading dimension, and that is 1 in every input, it is
/// the symbol `batch`. Nodes have the names of the nodes that they come from, constants those of their node and their
/// part in it. Coefficients and parameters are rounded to float32.
///
/// ```
/// use fhec_frontend::{ImportOptions, export, import};
///
/// let text = r#"func @f(%x: tensor<1x4> loc("x")) -> tensor<1x4> {
///   %y = nn.activation %x {function = relu} : tensor<1x4> loc("act")
///   return %y
/// }"#;
/// let module = fhec_ir::text::parse_module::<fhec_ir::Nn>("f.fhir", text, &fhec_ir::ConstPool::default()).unwrap();
/// let bytes = export(&module)?;
/// let again = import(&bytes, &ImportOptions::default()).unwrap();
/// assert_eq!(again.func.node(again.func.results()[0]).loc.name(), "act");
/// # Ok::<(), fhec_frontend::ExportError>(())
/// ```
///
/// # Errors
/// When the module does not pass the verifier, or is too large for one file.
pub fn export(module: &Module<Nn>) -> Result<Vec<u8>, ExportError> {
    export_model(module)?.encode()
}

/// An ONNX model that was made of a module, and what the values of the module are called in it.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The model.
    pub model: Model,
    names: Vec<Option<String>>,
}

impl Exported {
    /// The name of a value: of an input, a constant, or the result of a node. Values that no result needs have none.
    pub fn name(&self, value: Value) -> Option<&str> {
        self.names.get(value.index())?.as_deref()
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When one file cannot hold it.
    pub fn encode(&self) -> Result<Vec<u8>, ExportError> {
        let bytes = self.model.encoded_len();
        if bytes > MOST_BYTES {
            return Err(ExportError::TooLarge { bytes });
        }
        Ok(self.model.encode_to_vec())
    }
}

/// As [`export`], before it is encoded.
///
/// # Errors
/// When the module does not pass the verifier.
pub fn export_model(module: &Module<Nn>) -> Result<Exported, ExportError> {
    let _span = tracing::debug_span!("export").entered();
    verify(module).map_err(|source| ExportError::Invalid { source })?;
    let live = module.func.live();
    let mut builder = Builder::new(module, batch_places(module));
    for (value, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
        if !matches!(node.op, NnOp::Input { .. } | NnOp::Const { .. }) {
            write(&mut builder, value);
        }
    }
    let (graph, names) = builder.finish();
    Ok(Exported { model: Model { ir_version: IR_VERSION, ..Model::new(OPSET, graph) }, names })
}

/// Writes the node of `value`.
fn write(builder: &mut Builder<'_>, value: Value) {
    let op = &builder.module().func.node(value).op;
    let mut site = Site::new(builder, value);
    match op {
        NnOp::Conv { .. } | NnOp::MatMul {} => linear::write(&mut site, op),
        NnOp::BatchNorm { .. } | NnOp::LayerNorm { .. } | NnOp::Softmax { .. } => norm::write(&mut site, op),
        NnOp::LogSoftmax { .. } | NnOp::ArgMax { .. } => norm::write(&mut site, op),
        NnOp::ReduceMean { .. } | NnOp::ReduceSum { .. } => norm::write(&mut site, op),
        NnOp::Activation { function, alpha, beta } => {
            activation::write(&mut site, *function, alpha.map(|a| a.0), beta.map(|b| b.0));
        }
        NnOp::Composed { function } => activation::write_composed(&mut site, function),
        NnOp::Polynomial { basis, lo, hi, rows, coeffs } => {
            polynomial::write(&mut site, *basis, (lo.0, hi.0), *rows as usize, coeffs);
        }
        NnOp::PRelu {} | NnOp::Add {} | NnOp::Sub {} | NnOp::Mul {} => elementwise::write(&mut site, op),
        NnOp::Div {} | NnOp::Pow {} | NnOp::Neg {} => elementwise::write(&mut site, op),
        NnOp::AvgPool { .. } | NnOp::MaxPool { .. } => pool::write(&mut site, op),
        NnOp::Reshape { .. } | NnOp::Transpose { .. } | NnOp::Slice { .. } | NnOp::Pad { .. } => {
            movement::write(&mut site, op);
        }
        NnOp::Concat { .. } | NnOp::Gather { .. } | NnOp::Expand { .. } => movement::write(&mut site, op),
        // These are no nodes of an ONNX graph.
        NnOp::Input { .. } | NnOp::Const { .. } => {}
    }
}
