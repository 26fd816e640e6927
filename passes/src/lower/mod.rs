//! `lower`: from slots to ciphertexts with levels and scales.
//!
//! 1. `expr` reads the slot module as sums of products; polynomials become such sums by their evaluation trees
//!    (`polynomial`). Sums of sums are one sum: products of ciphertexts are added as three-part ciphertexts before one
//!    relinearisation, and everything of scale degree 2 before one rescale.
//! 2. `emit::levels` gives every value the lowest level from which the results can still be reached; an op is the cheaper
//!    the fewer primes are left. Plain products drop to their level for free, other operands by `level_drop`.
//! 3. `emit::emit` writes the `ckks` ops. No op needs a scale to be adjusted: scales are canonical by level.

mod cse;
mod emit;
mod expr;
mod polynomial;

use fhec_ir::{Ckks, Module, Slot};

pub use cse::share_common;
pub(crate) use expr::small_integer;
pub(crate) use polynomial::columns;

use crate::pass::{Lower, PassError};

/// The pass `lower`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LowerToCkks {
    /// Level of the results; above 0 when the first prime alone cannot hold them.
    pub result_level: u32,
    /// Every bootstrap restores the highest level in use, as with a single modulus chain, rather than the level needed.
    pub single_chain: bool,
}

const NAME: &str = "lower";

impl Lower<Slot, Ckks> for LowerToCkks {
    fn name(&self) -> &'static str {
        NAME
    }
    fn run(&self, module: &Module<Slot>) -> Result<Module<Ckks>, PassError> {
        let error = |issue| PassError { pass: NAME, issues: vec![issue] };
        let module = share_common(module);
        let mut consts = module.consts.clone();
        let mut program = expr::ExprProgram::read(&module, &mut consts).map_err(error)?;
        let mut levels = emit::levels(&program, self.result_level);
        if self.single_chain {
            emit::raise_bootstraps(&program, &mut levels);
        }
        emit::absorb(&mut program, &levels);
        let lowered = emit::emit(&module, &program, &levels, &consts).map_err(error)?;
        Ok(share_common(&lowered))
    }
}

/// The highest level in use: the levels that parameters must provide.
pub fn depth(module: &Module<Ckks>) -> u32 {
    module.func.iter().map(|(_, node)| node.ty.level).max().unwrap_or(0)
}
