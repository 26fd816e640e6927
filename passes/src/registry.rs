//! All passes by name: what `fhec opt`, `--dump-passes` and the file tests run.
//!
//! [`Registry::standard`] holds the passes of this crate. A pass from elsewhere joins them through [`Registry::register`]: a
//! type that implements [`Pass`] or [`Lower`] by [`Within`] or [`Between`], any other by [`AnyPass`].
//!
//! ```
//! use fhec_ir::text::{AnyModule, Blobs, parse_any};
//! use fhec_passes::program::Program;
//! use fhec_passes::registry::{PassContext, Registry};
//!
//! let text = "func @f(%0: tensor<1x4>) -> tensor<1x4> {\n  %1 = nn.neg %0 : tensor<1x4>\n  %2 = nn.neg %1 : tensor<1x4>\n  return %2\n}\n";
//! let program = Program::new(parse_any("f.fhir", text, &Blobs::default())?);
//! let folded = Registry::standard().run(&["fold"], program, &mut PassContext::default())?;
//! assert!(!folded.module.text().contains("nn.neg"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A pass from outside:
//!
//! ```
//! use fhec_ir::{Module, Nn};
//! use fhec_passes::registry::{Registry, Within};
//! use fhec_passes::{Pass, PassError};
//!
//! /// Drops what no result needs.
//! struct DropDead;
//!
//! impl Pass<Nn> for DropDead {
//!     fn name(&self) -> &'static str {
//!         "drop-dead"
//!     }
//!     fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
//!         let Ok(live) = module.rebuild(|out, _, node, operands| {
//!             let made = out.func.push_unchecked(node.op.clone(), operands, node.ty.clone(), node.loc.clone());
//!             Ok::<_, std::convert::Infallible>(made)
//!         });
//!         Ok(live)
//!     }
//! }
//!
//! let mut registry = Registry::standard();
//! registry.register(Within::new(DropDead, "drop what no result needs"));
//! assert_eq!(registry.find("drop-dead")?.from(), "nn");
//! # Ok::<(), fhec_passes::registry::RunError>(())
//! ```

mod standard;

use std::marker::PhantomData;

use fhec_ir::text::Level;
use fhec_ir::{Tensor, VerifyError};
use miette::Diagnostic;
use thiserror::Error;

use crate::activations::{ApproximateError, ApproximateOptions};
use crate::pass::{Lower, Pass, PassError};
use crate::pipeline::{MOST_SLOTS, PlanOptions};
use crate::planner::Limits;
use crate::program::Program;
use crate::target::Target;

/// A pass over programs of whichever level.
pub trait AnyPass: Send + Sync {
    /// Kebab-case verb, the name on the command line.
    fn name(&self) -> &str;
    /// The level it takes, `any` where it takes all.
    fn from(&self) -> &'static str;
    /// The level it gives, `same` where it is that of its operand.
    fn to(&self) -> &'static str;
    /// What it does, in one line without a full stop.
    fn summary(&self) -> &str;
    /// The options of [`PassContext`] that it reads.
    fn options(&self) -> &'static [PassOption] {
        &[]
    }
    /// The program that it makes. The registry has checked the level.
    ///
    /// # Errors
    /// Every node that the pass cannot handle, at once.
    fn run(&self, program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError>;
}

/// What a pass may be told beside the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOption {
    /// [`PassContext::samples`].
    Calibration,
    /// [`PassContext::approximate`].
    Approximation,
    /// The margin of [`PassContext::approximate`] alone.
    Margin,
    /// [`PassContext::slots`].
    Slots,
    /// The batch of [`PassContext::plan`].
    Batch,
    /// The strategy of [`PassContext::plan`], [`PassContext::limits`] and [`PassContext::target`].
    Placement,
    /// The precision of [`PassContext::plan`].
    Precision,
}

/// What passes are told beside the program, and what they tell beside it.
pub struct PassContext<'a> {
    /// Inputs of the network that values are measured on. Without any, passes that need them stop, and magnitudes are bounded
    /// from the weights.
    pub samples: &'a [Vec<Tensor>],
    /// Whether the samples are data of the user, whose ranges are written to the ports.
    pub calibrated: bool,
    /// How activations are replaced.
    pub approximate: ApproximateOptions,
    /// Most slots of a ciphertext in `pack`, a power of two.
    pub slots: usize,
    /// Batch, parameters, costs and the strategy of bootstraps.
    pub plan: PlanOptions,
    /// What polynomials and bootstraps are chosen for.
    pub limits: Limits,
    /// The engine; without one nothing is bootstrapped.
    pub target: Option<&'a dyn Target>,
    /// What the passes explain about their decisions, pass by pass.
    pub explanation: String,
    /// What the user should change.
    pub warnings: Vec<String>,
}

impl Default for PassContext<'_> {
    fn default() -> Self {
        Self {
            samples: &[],
            calibrated: false,
            approximate: ApproximateOptions::default(),
            slots: MOST_SLOTS,
            plan: PlanOptions::default(),
            limits: Limits::default(),
            target: None,
            explanation: String::new(),
            warnings: Vec::new(),
        }
    }
}

/// Why passes did not run to the end.
#[derive(Debug, Error, Diagnostic)]
pub enum RunError {
    /// No pass has this name.
    #[error("there is no pass `{name}`")]
    #[diagnostic(help("passes: {known}"))]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// A pass takes programs of another level.
    #[error("pass `{pass}` takes a program of the {needs} level, this one is of the {level} level")]
    #[diagnostic(help(
        "put the pass that makes a {needs} program before `{pass}`; `fhec opt --list` shows the levels"
    ))]
    Level {
        /// The pass.
        pass: String,
        /// The level that it takes.
        needs: &'static str,
        /// The level of the program.
        level: &'static str,
    },
    /// A pass needs what it was not given.
    #[error("pass `{pass}` needs {needs}")]
    #[diagnostic(help("{repair}"))]
    Missing {
        /// The pass.
        pass: &'static str,
        /// What it needs.
        needs: &'static str,
        /// How to give it.
        repair: &'static str,
    },
    /// A program that violates the rules of its level.
    #[error("{}", source.listing())]
    #[diagnostic(help("correct the lines shown"))]
    Verify {
        /// All violations.
        source: VerifyError,
    },
    /// Activations that cannot be approximated.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Approximate(#[from] ApproximateError),
    /// Nodes that a pass cannot handle.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pass(#[from] PassError),
}

/// A [`Pass`] as an [`AnyPass`].
pub struct Within<D, P> {
    pass: P,
    summary: &'static str,
    level: PhantomData<fn() -> D>,
}

impl<D: Level, P: Pass<D> + Send + Sync> Within<D, P> {
    /// The pass with its one-line summary.
    pub fn new(pass: P, summary: &'static str) -> Self {
        Self { pass, summary, level: PhantomData }
    }
}

impl<D: Level, P: Pass<D> + Send + Sync> AnyPass for Within<D, P> {
    fn name(&self) -> &str {
        self.pass.name()
    }
    fn from(&self) -> &'static str {
        D::NAME
    }
    fn to(&self) -> &'static str {
        D::NAME
    }
    fn summary(&self) -> &str {
        self.summary
    }
    fn run(&self, program: Program, _: &mut PassContext<'_>) -> Result<Program, RunError> {
        let module = self.pass.run(of_level(self.name(), &program)?)?;
        Ok(program.becomes(module))
    }
}

/// A [`Lower`] as an [`AnyPass`].
pub struct Between<A, B, P> {
    pass: P,
    summary: &'static str,
    levels: PhantomData<fn() -> (A, B)>,
}

impl<A: Level, B: Level, P: Lower<A, B> + Send + Sync> Between<A, B, P> {
    /// The pass with its one-line summary.
    pub fn new(pass: P, summary: &'static str) -> Self {
        Self { pass, summary, levels: PhantomData }
    }
}

impl<A: Level, B: Level, P: Lower<A, B> + Send + Sync> AnyPass for Between<A, B, P> {
    fn name(&self) -> &str {
        self.pass.name()
    }
    fn from(&self) -> &'static str {
        A::NAME
    }
    fn to(&self) -> &'static str {
        B::NAME
    }
    fn summary(&self) -> &str {
        self.summary
    }
    fn run(&self, program: Program, _: &mut PassContext<'_>) -> Result<Program, RunError> {
        let module = self.pass.run(of_level(self.name(), &program)?)?;
        Ok(program.becomes(module))
    }
}

/// The module of `program`, which `pass` takes at level `D`.
fn of_level<'a, D: Level>(pass: &str, program: &'a Program) -> Result<&'a fhec_ir::Module<D>, RunError> {
    let wrong = || RunError::Level { pass: pass.into(), needs: D::NAME, level: program.module.level() };
    D::of(&program.module).ok_or_else(wrong)
}

/// Passes by name.
pub struct Registry {
    passes: Vec<Box<dyn AnyPass>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::standard()
    }
}

impl Registry {
    /// The passes of this crate, in the order of the pipeline.
    pub fn standard() -> Self {
        Self { passes: standard::passes() }
    }

    /// Adds a pass. It takes the place of one of the same name.
    pub fn register(&mut self, pass: impl AnyPass + 'static) {
        match self.passes.iter_mut().find(|known| known.name() == pass.name()) {
            Some(known) => *known = Box::new(pass),
            None => self.passes.push(Box::new(pass)),
        }
    }

    /// All passes in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn AnyPass> {
        self.passes.iter().map(|pass| &**pass)
    }

    /// The pass of this name.
    ///
    /// # Errors
    /// [`RunError::Unknown`].
    pub fn find(&self, name: &str) -> Result<&dyn AnyPass, RunError> {
        self.iter().find(|pass| pass.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(AnyPass::name).collect();
            RunError::Unknown { name: name.into(), known: known.join(", ") }
        })
    }

    /// Runs passes in order on a program that verifies. What each makes is verified.
    ///
    /// # Errors
    /// An unknown pass, before any has run; else those of the first that fails.
    pub fn run(
        &self,
        names: &[impl AsRef<str>],
        program: Program,
        context: &mut PassContext<'_>,
    ) -> Result<Program, RunError> {
        let passes = names.iter().map(|name| self.find(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let verified = |program: Program| match program.module.verify() {
            Ok(()) => Ok(program),
            Err(source) => Err(RunError::Verify { source }),
        };
        let mut program = verified(program)?;
        for pass in passes {
            let level = program.module.level();
            if ![level, "any"].contains(&pass.from()) {
                return Err(RunError::Level { pass: pass.name().into(), needs: pass.from(), level });
            }
            let mut made = verified(pass.run(program, context)?)?;
            made.facts.passes.push(pass.name().into());
            program = made;
        }
        Ok(program)
    }
}
