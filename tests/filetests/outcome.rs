//! What a run line does: the program that comes out, or errors at their lines.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use fhec::passes::PassError;
use fhec::passes::activations::ApproximateError;
use fhec::passes::program::Program;
use fhec::passes::registry::{PassContext, Registry, RunError};
use fhec::runtime::HostProfile;
use fhec_ir::text::{AnyModule, Blobs, ParseError, parse_any};
use fhec_ir::verify::VerifyError;
use fhec_ir::{Dialect, Func, Issue, IssueNode, Shape, Value};
use miette::Diagnostic;

use super::options::Options;
use super::{fill, summary};

/// An error and the line it stands at, counted from 0; none where it is about the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub line: Option<usize>,
    pub message: String,
}

/// What came of a run line.
pub struct Outcome {
    /// What the run line shows, unless it failed.
    pub shown: Option<String>,
    pub complaints: Vec<Complaint>,
    /// What the passes explained.
    pub explanation: String,
}

impl Outcome {
    fn failed(complaints: Vec<Complaint>) -> Self {
        Self { shown: None, complaints, explanation: String::new() }
    }
}

/// The engine that tests plan for: the built-in times of two threads, whatever the machine.
fn engine() -> &'static fhec::Engine {
    static ENGINE: OnceLock<fhec::Engine> = OnceLock::new();
    ENGINE.get_or_init(|| fhec::Engine::new(HostProfile::builtin(2)))
}

/// A program after some passes, with what they have said.
#[derive(Clone)]
struct Stage {
    program: Program,
    explanation: String,
    warnings: Vec<String>,
}

/// Programs after the passes that run lines of one file have in common, by options and passes.
#[derive(Default)]
pub struct Stages(BTreeMap<(String, Vec<String>), Stage>);

impl Stages {
    /// Runs the passes that have not run yet.
    fn run(&mut self, options: &Options, start: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
        let key = |count: usize| (options.of_passes(), options.passes[..count].to_vec());
        let known = (0..=options.passes.len()).rev().find_map(|count| Some((count, self.0.get(&key(count))?)));
        let (mut done, mut program) = (0, start);
        if let Some((count, stage)) = known {
            let Stage { program: reached, explanation, warnings } = stage.clone();
            (done, program, context.explanation, context.warnings) = (count, reached, explanation, warnings);
        }
        let registry = Registry::standard();
        if options.passes.is_empty() {
            return registry.run(&options.passes, program, context);
        }
        while done < options.passes.len() {
            program = registry.run(&options.passes[done..=done], program, context)?;
            done += 1;
            let (explanation, warnings) = (context.explanation.clone(), context.warnings.clone());
            self.0.insert(key(done), Stage { program: program.clone(), explanation, warnings });
        }
        Ok(program)
    }
}

pub fn of(name: &str, input: &str, run: &str, stages: &mut Stages) -> Outcome {
    let options = Options::read(name, run);
    let module = match parse_any(name, input, &Blobs::default()) {
        Ok(module) => module,
        Err(e) => return Outcome::failed(parser(input, &e)),
    };
    let module = match (module, options.fill()) {
        (AnyModule::Nn(module), Some(seed)) => AnyModule::Nn(fill::filled(&module, seed)),
        (module, _) => module,
    };
    if let Err(e) = module.verify() {
        return Outcome::failed(verifier(input, &module, &e));
    }
    let samples = options.samples(&shapes(&module));
    let mut context = PassContext {
        samples: &samples,
        calibrated: !samples.is_empty(),
        target: Some(engine()),
        ..PassContext::default()
    };
    options.tell(&mut context);
    match stages.run(&options, Program::new(module), &mut context) {
        Ok(program) => {
            let shown = summary::shown(&program, &context, &options.shows());
            Outcome { shown: Some(shown), complaints: Vec::new(), explanation: context.explanation }
        }
        Err(e) => Outcome { explanation: context.explanation, ..Outcome::failed(passes(input, &e)) },
    }
}

/// The shapes of one input of a program.
fn shapes(module: &AnyModule) -> Vec<Shape> {
    let ports = match module {
        AnyModule::Nn(m) => return m.func.params().iter().map(|&p| m.func.ty(p).0.clone()).collect(),
        AnyModule::Slot(m) => &m.inputs,
        AnyModule::Ckks(m) => &m.inputs,
    };
    ports.iter().map(|port| port.shape.clone()).collect()
}

fn with_help(message: impl std::fmt::Display, help: Option<impl std::fmt::Display>) -> String {
    let help = help.map_or_else(String::new, |help| format!("; help: {help}"));
    summary::short(&format!("{message}{help}").replace('\n', " "))
}

fn line_at(input: &str, offset: usize) -> usize {
    let before = input.get(..offset.min(input.len())).unwrap_or(input);
    before.matches('\n').count().min(input.lines().count().saturating_sub(1))
}

fn parser(input: &str, error: &ParseError) -> Vec<Complaint> {
    let complaint = |e: &fhec_ir::text::TextError| {
        // Errors about the whole file have neither a place nor a label.
        let whole = e.span.offset() == 0 && e.label.is_empty();
        let line = (!whole).then(|| line_at(input, e.span.offset()));
        let label = if e.label.is_empty() { String::new() } else { format!(" [{}]", e.label) };
        Complaint { line, message: with_help(format!("{}{label}", e.message), e.help.as_ref()) }
    };
    error.errors.iter().map(complaint).collect()
}

fn verifier(input: &str, module: &AnyModule, error: &VerifyError) -> Vec<Complaint> {
    fn span<D: Dialect>(func: &Func<D>, value: Value) -> Option<(usize, usize)> {
        func.node(value).loc.span
    }
    let place = |value: Value| match module {
        AnyModule::Nn(m) => span(&m.func, value),
        AnyModule::Slot(m) => span(&m.func, value),
        AnyModule::Ckks(m) => span(&m.func, value),
    };
    let complaint = |v: &fhec_ir::verify::Violation| Complaint {
        line: v.value.and_then(place).map(|(start, _)| line_at(input, start)),
        message: with_help(&v.message, None::<&str>),
    };
    error.violations.iter().map(complaint).collect()
}

fn passes(input: &str, error: &RunError) -> Vec<Complaint> {
    match error {
        RunError::Pass(e) | RunError::Approximate(ApproximateError::Pass(e)) => issues(input, e),
        // The program is one that a pass has made: its lines are not those of the file.
        other => vec![Complaint { line: None, message: with_help(other, other.help()) }],
    }
}

/// Issues stand at the line of the node that they name, if there is one such line.
fn issues(input: &str, error: &PassError) -> Vec<Complaint> {
    let complaint = |issue: &Issue| {
        let named = |node: &IssueNode| format!("loc(\"{}\")", node.name);
        let (line, op) = match &issue.node {
            Some(node) => {
                let mut lines =
                    input.lines().enumerate().filter(|(_, line)| line.contains(&named(node))).map(|(n, _)| n);
                (lines.next().filter(|_| lines.next().is_none()), format!(" ({})", node.op))
            }
            None => (None, String::new()),
        };
        let message = format!("{}{op}: {}", error.pass, issue.reason);
        Complaint { line, message: with_help(message, Some(&issue.repair)) }
    };
    error.issues.iter().map(complaint).collect()
}
