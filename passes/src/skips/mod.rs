//! Residual blocks, and the two other forms of their skips.
//!
//! A skip over activations keeps a tensor alive at a level that the trunk has long left: at the join levels are lost,
//! or the skip is bootstrapped too. Two forms cost less, and must be trained:
//!
//! - **Dirac**: the join is removed, and every convolution of the trunk computes with `diag(a)·δ + diag(b)·W/‖W‖`, δ
//!   the Dirac kernel, the norm per filter (Zagoruyko and Komodakis, DiracNets): a skip within each convolution, which
//!   costs nothing.
//! - **Shared source**: the join stays, but all blocks of a stage add one tensor, the one that the stage began with.
//!
//! A skip over linear layers alone is neither: `x + conv(x)` is one convolution, by a rule of [`crate::fold`].

mod blocks;
mod convert;
mod dirac;
mod price;

use std::fmt;

use fhec_ir::{Module, Nn};
use serde::{Deserialize, Serialize};

pub use blocks::{Block, blocks};
pub use convert::{Converted, DiracConv, convert};
pub(crate) use price::with_polynomials;
pub use price::{ConvertedJoin, DepthRow, FormPrice, SkipPrice, SkipPricer, levels_of};

use crate::pass::{Pass, PassError};

/// How a residual block passes its operand on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipForm {
    /// It is added to what the block computes.
    #[default]
    Residual,
    /// Within each convolution.
    Dirac,
    /// The first tensor of the stage is added instead.
    Shared,
}

impl SkipForm {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::Residual, Self::Dirac, Self::Shared];
}

impl fmt::Display for SkipForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Residual => "residual",
            Self::Dirac => "dirac",
            Self::Shared => "shared",
        })
    }
}

/// The pass that gives all residual blocks one form, where they have it. What it makes is another network, which must
/// be trained.
#[derive(Clone, Copy, Debug)]
pub struct ConvertSkips {
    /// The form.
    pub form: SkipForm,
}

impl Pass<Nn> for ConvertSkips {
    fn name(&self) -> &'static str {
        match self.form {
            SkipForm::Residual => RESIDUAL,
            SkipForm::Dirac => DIRAC,
            SkipForm::Shared => SHARED,
        }
    }
    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        let blocks = blocks(module);
        let forms: Vec<SkipForm> = blocks.iter().map(|block| block.nearest(self.form)).collect();
        convert(module, &blocks, &forms).map(|converted| converted.module)
    }
}

pub(crate) const RESIDUAL: &str = "find-skips";
pub(crate) const DIRAC: &str = "skips-to-dirac";
pub(crate) const SHARED: &str = "skips-to-shared-source";
