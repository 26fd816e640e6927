//! What a pass is, and the errors passes report.

use fhec_ir::{Dialect, Issue, Module};
use miette::Diagnostic;
use thiserror::Error;

/// A transformation within one level.
pub trait Pass<D: Dialect> {
    /// Kebab-case verb, the name on the command line.
    fn name(&self) -> &'static str;
    /// The transformed module. The input is never changed in place.
    ///
    /// # Errors
    /// Every node that cannot be compiled, at once.
    fn run(&self, module: &Module<D>) -> Result<Module<D>, PassError>;
}

/// A transformation from one level to the next.
pub trait Lower<A: Dialect, B: Dialect> {
    /// Kebab-case verb, the name on the command line.
    fn name(&self) -> &'static str;
    /// The lowered module.
    ///
    /// # Errors
    /// Every node that cannot be lowered, at once.
    fn run(&self, module: &Module<A>) -> Result<Module<B>, PassError>;
}

/// Why a pass stopped.
#[derive(Debug, Error, Diagnostic)]
#[error("{pass}: {}", headline(issues))]
pub struct PassError {
    /// The pass.
    pub pass: &'static str,
    /// What cannot be compiled, all of it.
    #[related]
    pub issues: Vec<Issue>,
}

fn headline(issues: &[Issue]) -> String {
    match issues.iter().filter(|issue| issue.node.is_some()).count() {
        0 => "cannot be done".into(),
        1 => "1 node cannot be compiled".into(),
        count => format!("{count} nodes cannot be compiled"),
    }
}
