//! An issue is what importers and passes report about what cannot be compiled: a node, or the network as a whole.

use std::fmt;

use miette::Diagnostic;
use thiserror::Error;

use crate::loc::Loc;

/// What cannot be compiled, the reason, and what the user can do about it.
#[derive(Debug, Clone, Error, Diagnostic, PartialEq, Eq)]
#[error("{}{reason}", At(.node.as_ref()))]
pub struct Issue {
    /// The node it is about; `None` of the network as a whole.
    pub node: Option<IssueNode>,
    /// What is wrong.
    pub reason: String,
    /// What the user can do about it.
    #[help]
    pub repair: String,
}

/// A node with an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueNode {
    /// Name of the ONNX node.
    pub name: String,
    /// Its op.
    pub op: String,
}

/// The start of a message.
struct At<'a>(Option<&'a IssueNode>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |IssueNode { name, op }| write!(f, "node `{name}` ({op}): "))
    }
}

impl Issue {
    /// An issue at a node.
    pub fn new(loc: &Loc, op: &str, reason: impl Into<String>, repair: impl Into<String>) -> Self {
        let node = IssueNode { name: loc.name().to_string(), op: op.to_string() };
        Self { node: Some(node), reason: reason.into(), repair: repair.into() }
    }

    /// An issue of the network as a whole.
    pub fn of_network(reason: impl Into<String>, repair: impl Into<String>) -> Self {
        Self { node: None, reason: reason.into(), repair: repair.into() }
    }
}
