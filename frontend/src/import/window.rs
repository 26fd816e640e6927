//! Imports convolutions, and computes the geometry that they share with pooling.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] =
    &[Operator::new("Conv", conv, "1, 2 and 3 spatial dimensions; groups, dilations, strides, any pads, auto_pad")];

/// Strides, pads and dilations of a windowed operator.
pub(super) struct Geometry {
    pub(super) strides: Vec<i64>,
    pub(super) pads: Vec<i64>,
    pub(super) dilations: Vec<i64>,
    /// Whether `pads` are derived from the shape (`auto_pad`), so that rounding up has nothing left to add.
    pub(super) exact: bool,
}

impl Geometry {
    /// Reads the attributes for windows of extent `kernel` over x [N, C, d..].
    pub(super) fn read(node: &NodeView<'_>, spatial: &[usize], kernel: &[i64]) -> Result<Self> {
        let rank = kernel.len();
        if spatial.len() != rank {
            return Err(Refusal::invalid(format!("{rank}-dimensional windows over {} dimensions", spatial.len())));
        }
        let per_dim = |name: &str| -> Result<Vec<i64>> {
            let list = node.ints(name)?.map_or_else(|| vec![1; rank], <[i64]>::to_vec);
            if list.len() == rank && list.iter().all(|&x| (1..1 << 24).contains(&x)) {
                Ok(list)
            } else {
                Err(Refusal::invalid(format!("its attribute `{name}` is {list:?} for {rank} dimensions")))
            }
        };
        let (strides, dilations) = (per_dim("strides")?, per_dim("dilations")?);
        if !kernel.iter().all(|&k| (1..1 << 24).contains(&k)) {
            return Err(Refusal::invalid(format!("windows of extent {kernel:?}")));
        }
        let explicit = node.ints("pads")?.map_or_else(|| vec![0; 2 * rank], <[i64]>::to_vec);
        let auto_pad = node.text("auto_pad")?.unwrap_or("NOTSET");
        let pads = match auto_pad {
            "NOTSET" | "" => explicit,
            "VALID" => vec![0; 2 * rank],
            "SAME_UPPER" | "SAME_LOWER" => {
                let mut pads = vec![0; 2 * rank];
                for d in 0..rank {
                    let input = spatial[d] as i64;
                    let windows = (input + strides[d] - 1) / strides[d];
                    let extent = (kernel[d] - 1) * dilations[d] + 1;
                    let total = ((windows - 1) * strides[d] + extent - input).max(0);
                    let less = total / 2;
                    (pads[d], pads[rank + d]) =
                        if auto_pad == "SAME_UPPER" { (less, total - less) } else { (total - less, less) };
                }
                pads
            }
            other => return Err(Refusal::invalid(format!("auto_pad is `{other}`"))),
        };
        if pads.len() != 2 * rank {
            return Err(Refusal::invalid(format!("{} pads for {rank} dimensions", pads.len())));
        }
        Ok(Self { strides, pads, dilations, exact: !matches!(auto_pad, "NOTSET" | "") })
    }
}

fn conv(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (x, w) = (node.input_shape(cx, 0)?, node.input_shape(cx, 1)?);
    if x.rank() < 3 || w.rank() != x.rank() {
        return Err(Refusal::invalid(format!("weights of shape {w} over an input of shape {x}")));
    }
    let kernel = signed(&w.0[2..]);
    if let Some(stated) = node.ints("kernel_shape")?
        && stated != kernel
    {
        return Err(Refusal::invalid(format!("kernel_shape is {stated:?}, the weights have shape {w}")));
    }
    let Geometry { strides, pads, dilations, .. } = Geometry::read(node, &x.0[2..], &kernel)?;
    let groups = node.int("group")?.unwrap_or(1);
    let mut operands = vec![node.input(0)?, node.input(1)?];
    operands.extend(node.optional(2));
    cx.push(NnOp::Conv { strides, pads, dilations, groups }, &operands).map(|y| vec![y])
}
