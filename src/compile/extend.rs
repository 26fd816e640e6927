//! What a program adds to the compiler: passes of its own, and an ear for how far a compilation is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fhec_ir::verify::Violation;
use fhec_ir::{Issue, Loc, Module, Nn, OpInfo, VerifyError, verify};
use fhec_passes::{Pass, PassError};

use super::Compiler;
use crate::error::Error;

/// How far a compilation is: what [`Compiler::progress`] tells.
#[derive(Clone, Copy, Debug)]
pub struct CompileProgress<'a> {
    /// What is done, such as `choose-polynomials` or `reconstruct`.
    pub stage: &'a str,
    /// The layer that it is at; empty where it is at none.
    pub layer: &'a str,
    /// Pieces of the stage that are done.
    pub done: usize,
    /// Pieces of the stage; fewer may do.
    pub total: usize,
}

impl fmt::Display for CompileProgress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, layer, done, total } = self;
        let space = if layer.is_empty() { "" } else { " " };
        write!(f, "{stage}{space}{layer}, {done} of {total}")
    }
}

/// Passes in order.
#[derive(Clone, Default)]
pub(super) struct OwnPasses(Vec<Arc<dyn Pass<Nn> + Send + Sync>>);

/// Hears of progress.
type Hear = dyn Fn(CompileProgress<'_>) + Send + Sync;

/// Who is told of progress.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<Hear>>);

impl fmt::Debug for OwnPasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "nobody" })
    }
}

impl OwnPasses {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|pass| pass.name())
    }

    /// Runs all, and shows what each gives.
    ///
    /// # Errors
    /// What a pass refuses, or a module that is not well formed after it.
    pub(super) fn run(
        &self,
        mut module: Module<Nn>,
        mut observe: impl FnMut(&'static str, &Module<Nn>),
    ) -> Result<Module<Nn>, Error> {
        for pass in &self.0 {
            module = pass.run(&module)?;
            verify(&module).map_err(|e| broken(pass.name(), &module, &e))?;
            observe(pass.name(), &module);
        }
        Ok(module)
    }
}

/// What is wrong with the module that a pass made.
fn broken(pass: &'static str, module: &Module<Nn>, error: &VerifyError) -> PassError {
    let issue = |violation: &Violation| {
        let node = violation.value.map(|value| module.func.node(value));
        let (loc, op) = node.map_or((Loc::default(), "module"), |node| (node.loc.clone(), node.op.mnemonic()));
        Issue::new(&loc, op, violation.message.clone(), format!("correct the pass `{pass}`, which made this"))
    };
    PassError { pass, issues: error.violations.iter().map(issue).collect() }
}

impl Compiler {
    /// Runs a pass of yours on the folded network, before its clusters become functions and its activations polynomials; several
    /// run in the order in which they are added. The network is verified after each, and the plan's provenance names them. What
    /// the network computes after them is what polynomials are compared with.
    pub fn pass(mut self, pass: impl Pass<Nn> + Send + Sync + 'static) -> Self {
        self.passes.0.push(Arc::new(pass));
        self
    }

    /// Tells `listener` how far stages are that take long: the choice of polynomials by its trials, rebuilding weights by layers.
    /// It is called from the thread that compiles.
    pub fn progress(mut self, listener: impl Fn(CompileProgress<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Listener(Some(Arc::new(listener)));
        self
    }

    /// Tells how far a stage is.
    pub(super) fn tell(&self, stage: &str, layer: &str, done: usize, total: usize) {
        if let Listener(Some(listener)) = &self.listener {
            listener(CompileProgress { stage, layer, done, total });
        }
    }

    /// Tells how far a stage is, and whether it goes on.
    ///
    /// # Errors
    /// When the compilation is to stop.
    pub(super) fn goes_on(&self, stage: &str, done: usize, total: usize) -> Result<(), Error> {
        self.tell(stage, "", done, total);
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::cancelled()) } else { Ok(()) }
    }
}
