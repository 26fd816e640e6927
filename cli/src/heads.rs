//! Applies what a plan leaves to the client to decrypted results, where it is asked for.

use std::fmt;

use clap::Args;
use fhec::ir::{Head, Port};
use fhec::{Error, Tensor, heads};
use serde::Serialize;

/// Asks for heads to be applied.
#[derive(Args)]
pub struct Heads {
    /// Apply what the plan leaves to the client, such as the softmax or the choice of a class at the end of the network; the
    /// results then have the shape that it gives them
    #[arg(long)]
    apply_head: bool,
}

/// What is left to the client of one output.
#[derive(Debug, PartialEq, Serialize)]
pub struct Left {
    output: String,
    /// In words, first to last.
    ops: Vec<String>,
    applied: bool,
}

impl Heads {
    /// The outputs of one image as they are written.
    ///
    /// # Errors
    /// When heads are to be applied and none is left.
    pub fn outputs(&self, ports: &[Port]) -> Result<Vec<Port>, Error> {
        if self.apply_head { heads::outputs(ports) } else { Ok(ports.to_vec()) }
    }

    /// As [`Heads::outputs`], for results whose highest scores are asked for.
    ///
    /// # Errors
    /// As there, and where a head leaves no scores.
    pub fn scores(&self, ports: &[Port]) -> Result<Vec<Port>, Error> {
        let is_class = |head: &Head| matches!(head, Head::ArgMax { .. });
        match ports.iter().find(|port| port.heads.iter().any(is_class)) {
            Some(port) if self.apply_head => Err(Error::Usage {
                reason: format!("the head of `{}` leaves class numbers, and `--top` lists scores", port.name),
                repair: "give one of `--apply-head` and `--top`".into(),
            }),
            _ => self.outputs(ports),
        }
    }

    /// The results as they are written.
    ///
    /// # Errors
    /// When heads are to be applied and none is left.
    pub fn results(&self, ports: &[Port], images: Vec<Vec<Tensor>>) -> Result<Vec<Vec<Tensor>>, Error> {
        if self.apply_head { heads::apply(ports, &images) } else { Ok(images) }
    }

    /// What is left of every output that has heads, and whether it was applied.
    pub fn report(&self, ports: &[Port]) -> Vec<Left> {
        let ops = |port: &Port| port.heads.iter().map(Head::to_string).collect();
        let left = |port: &Port| Left { output: port.name.clone(), ops: ops(port), applied: self.apply_head };
        ports.iter().filter(|port| !port.heads.is_empty()).map(left).collect()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { output, ops, applied } = self;
        let ops = ops.join(", ");
        match applied {
            true => write!(f, "{output}: {ops} applied"),
            false => write!(f, "{output}: {ops} left to you (`--apply-head` applies it)"),
        }
    }
}
