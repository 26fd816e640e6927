//! A location says which node of the model a node of the IR comes from.

use std::sync::Arc;

/// The origin of a node, kept through every pass so that a message can name the ONNX node or the source line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Loc {
    /// Name of the ONNX node (or nodes, joined by `+` after fusion).
    pub onnx: Option<Arc<str>>,
    /// Byte range in the text the node was parsed from.
    pub span: Option<(usize, usize)>,
}

impl Loc {
    /// The origin of an imported node.
    pub fn onnx(name: &str) -> Self {
        Self { onnx: Some(name.into()), span: None }
    }
    /// The origin of a node made out of two: both names.
    pub fn merge(&self, other: &Self) -> Self {
        let onnx = match (&self.onnx, &other.onnx) {
            (Some(a), Some(b)) if a != b && !a.split('+').any(|part| part == &**b) => Some(format!("{a}+{b}").into()),
            (Some(a), _) => Some(a.clone()),
            (None, b) => b.clone(),
        };
        Self { onnx, span: self.span.or(other.span) }
    }
    /// The ONNX name, or a fallback for messages.
    pub fn name(&self) -> &str {
        self.onnx.as_deref().unwrap_or("<unnamed>")
    }
}
