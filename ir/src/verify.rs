//! The verifier checks what a module must satisfy so that no later stage panics on it.
//!
//! For every module:
//! - a node has as many operands as its op takes, each defined earlier;
//! - the constants its attributes name are in the pool;
//! - its stated type is the one its op gives over its operands;
//! - the function's inputs are its parameters, each once and in order, and its results are values it defines;
//! - ports are either absent altogether (a fragment) or stand for all parameters and results, and their ranges are finite,
//!   the least value first;
//! - numbers in attributes are finite where a later stage computes with them, and an interval `[lo, hi]` has `lo < hi`.
//!
//! For `nn`: every port stands for one value of its shape and has no layout and no heads.
//!
//! For `slot`: all values have as many slots, a power of two of at most [`MAX_SLOTS`]; constants are finite; every port has
//! a layout in ciphertexts of so many slots, and spans as many values as the layout says; the addresses of its elements
//! lie within the period of those ciphertexts, no two alike; the heads of an output fit the shape of one image;
//! ports, ciphertexts, digits and heads are bounded in number.
//!
//! For `ckks`: parameters are in range and, unless marked insecure, within the bound on log QP; no value is above the top
//! level; inputs and results are canonical (scale degree 1, two parts); vectors and layouts agree on the number of slots,
//! at most N/2; constants are finite; ports as at `slot`; a linear transform has at most as many diagonals as slots, in at most
//! [`MAX_STEPS`] baby and as many giant steps.
//!
//! [`verify`] reports every violation at once, each with its line in the function.

mod ckks;
mod ports;

pub use ports::{Spanned, check_ports};

use std::fmt;

use miette::{Diagnostic, SourceSpan};
use thiserror::Error;

use crate::attr::Attr;
use crate::dialect::{Dialect, OpInfo};
use crate::entity::{Entity, Value};
use crate::func::{Func, Module, Node};
use crate::nn::Nn;
use crate::slot::Slot;
use crate::text::node_line;

/// Most slots of one vector: more than any ring supported here has.
pub const MAX_SLOTS: usize = 1 << 20;

/// Most distinct baby steps, and most distinct giant steps, of a linear transform: the engine holds a polynomial for each, and
/// sums as many products as there are baby steps. A transform of 2^16 diagonals takes 2^8 of both.
pub const MAX_STEPS: usize = 1 << 10;

/// A level with invariants of its own.
pub trait Verify: Dialect {
    /// Adds what violates the invariants of this level. Called only for modules that satisfy those of every level.
    fn check(module: &Module<Self>, report: &mut Report<'_, Self>);
}

/// Checks the invariants of the module documentation.
///
/// # Errors
/// All violations.
pub fn verify<D: Verify>(module: &Module<D>) -> Result<(), VerifyError> {
    let mut report = Report { module, violations: Vec::new(), more: 0 };
    structure(module, &mut report);
    // The rules of a level rely on sound structure.
    if report.violations.is_empty() {
        D::check(module, &mut report);
    }
    if report.more > 0 {
        let message = format!("and {} more", report.more);
        report.violations.push(Violation { message, line: None, span: None, value: None });
    }
    if report.violations.is_empty() {
        Ok(())
    } else {
        Err(VerifyError { func: module.func.name.clone(), violations: report.violations })
    }
}

/// Most violations that are described; the rest is counted, so that a hostile file cannot ask for a long answer.
const MAX_VIOLATIONS: usize = 64;

/// Everything that is wrong with a module.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("function `{func}` does not verify: {} violated", count(violations.len()))]
#[diagnostic(code(fhir::verify))]
pub struct VerifyError {
    /// Name of the function.
    pub func: String,
    /// What is wrong, in order of definition.
    #[related]
    pub violations: Vec<Violation>,
}

fn count(n: usize) -> String {
    if n == 1 { "1 rule is".into() } else { format!("{n} rules are") }
}

/// One violated invariant.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("{message}")]
pub struct Violation {
    /// What is wrong.
    pub message: String,
    /// The line of the function it stands in; none when it concerns the module.
    #[source_code]
    pub line: Option<String>,
    /// The place in the line.
    #[label("here")]
    pub span: Option<SourceSpan>,
    /// The value that the line defines; where the function was read from text, its node knows the place in the file.
    pub value: Option<Value>,
}

impl VerifyError {
    /// All violations, each followed by its line with the place underlined.
    pub fn listing(&self) -> String {
        let all: Vec<String> = self.violations.iter().map(|v| Underlined(v).to_string()).collect();
        all.join("\n")
    }
}

struct Underlined<'a>(&'a Violation);

impl fmt::Display for Underlined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { message, line, span, .. } = self.0;
        f.write_str(message)?;
        if let (Some(line), Some(span)) = (line, span) {
            let columns = |range: std::ops::Range<usize>| line.get(range).map_or(0, |s| s.chars().count());
            let start = columns(0..span.offset());
            let width = columns(span.offset()..span.offset() + span.len()).max(1);
            write!(f, "\n  {line}\n  {}{}", " ".repeat(start), "^".repeat(width))?;
        }
        Ok(())
    }
}

/// The part of a line a violation points at.
#[derive(Clone, Copy)]
enum Part {
    Op,
    Type,
}

/// Collects violations.
pub struct Report<'a, D: Dialect> {
    module: &'a Module<D>,
    violations: Vec<Violation>,
    /// Violations beyond those.
    more: usize,
}

impl<D: Dialect> Report<'_, D> {
    /// Whether one more violation is described.
    fn room(&mut self) -> bool {
        let room = self.violations.len() < MAX_VIOLATIONS;
        self.more += usize::from(!room);
        room
    }
    fn module(&mut self, message: impl Into<String>) {
        if !self.room() {
            return;
        }
        self.violations.push(Violation { message: message.into(), line: None, span: None, value: None });
    }
    fn at(&mut self, value: Value, part: Part, message: impl Into<String>) {
        if !self.room() {
            return;
        }
        let line = node_line(&self.module.func, value, &self.module.consts);
        let after = |marker: &str, from: usize| line[from..].find(marker).map_or(from, |i| from + i + marker.len());
        let span = match part {
            Part::Op => {
                let start = after(" = ", 0);
                start..line[start..].find(' ').map_or(line.len(), |i| start + i)
            }
            Part::Type => {
                let ty = self.module.func.ty(value).to_string();
                line.rfind(&ty).map_or(0..line.len(), |start| start..start + ty.len())
            }
        };
        let span = Some(SourceSpan::from(span));
        self.violations.push(Violation { message: message.into(), line: Some(line), span, value: Some(value) });
    }
}

fn structure<D: Dialect>(module: &Module<D>, report: &mut Report<'_, D>) {
    let func = &module.func;
    inputs(func, report);
    for (value, node) in func.iter().filter(|(_, n)| n.op.as_input().is_none()) {
        match func.infer(&node.op, &node.operands, &module.consts) {
            Ok(ty) if ty == node.ty => {}
            Ok(ty) => report.at(value, Part::Type, format!("the type is stated as {}, inferred as {ty}", node.ty)),
            Err(e) => report.at(value, Part::Op, e.to_string()),
        }
        numbers(value, node, report);
    }
    for result in func.results().iter().filter(|r| r.index() >= func.len()) {
        report.module(format!("the result {result} is not defined"));
    }
    ports::ranges(module, report);
}

/// The inputs among the nodes are the parameters in order.
fn inputs<D: Dialect>(func: &Func<D>, report: &mut Report<'_, D>) {
    let indexed = func.iter().filter_map(|(v, n)| n.op.as_input().map(|index| (v, index)));
    for (place, (value, index)) in indexed.enumerate() {
        if func.params().get(place) != Some(&value) || index as usize != place {
            report.at(
                value,
                Part::Op,
                format!("this input stands as parameter {index} where parameter {place} is due"),
            );
        }
    }
}

fn numbers<D: Dialect>(value: Value, node: &Node<D>, report: &mut Report<'_, D>) {
    let attrs = node.op.attrs();
    let bound = |name| attrs.iter().find_map(|(n, a)| if *n == name { Some(a) } else { None });
    if let (Some(Attr::Float(lo)), Some(Attr::Float(hi))) = (bound("lo"), bound("hi")) {
        let interval = lo.0.is_finite() && hi.0.is_finite() && lo.0 < hi.0;
        if !interval {
            report.at(value, Part::Op, format!("[{lo}, {hi}] is not an interval"));
        }
    }
    for (name, attr) in &attrs {
        // Bounds of clip, and values of padding under max pooling, are legitimately infinite.
        let infinite_is_fine = D::NAME == Nn::NAME && ["alpha", "beta", "value"].contains(name);
        let finite = match attr {
            Attr::Float(x) => x.0.is_finite() || infinite_is_fine || ["lo", "hi"].contains(name),
            Attr::Floats(xs) => xs.iter().all(|x| x.0.is_finite()),
            _ => true,
        };
        if !finite {
            report.at(value, Part::Op, format!("attribute `{name}` is not finite"));
        }
    }
}

/// Every constant that is used holds finite numbers.
fn finite_constants<D: Dialect>(module: &Module<D>, report: &mut Report<'_, D>) {
    let mut checked = vec![false; module.consts.len()];
    for (value, node) in module.func.iter() {
        for id in node.op.consts() {
            let c = module.consts.get(id);
            if !std::mem::replace(&mut checked[id.index()], true) && !c.tensor.data().iter().all(|x| x.is_finite()) {
                report.at(value, Part::Op, format!("constant `{}` holds a number that is not finite", c.name));
            }
        }
    }
}

impl Verify for Nn {
    fn check(module: &Module<Self>, report: &mut Report<'_, Self>) {
        ports::tensors(module, report);
    }
}

impl Verify for Slot {
    fn check(module: &Module<Self>, report: &mut Report<'_, Self>) {
        finite_constants(module, report);
        let Some(n) = module.func.iter().next().map(|(_, node)| node.ty.0) else {
            return;
        };
        for (value, node) in module.func.iter() {
            if !node.ty.0.is_power_of_two() || node.ty.0 > MAX_SLOTS {
                report.at(
                    value,
                    Part::Type,
                    format!("the number of slots must be a power of two of at most {MAX_SLOTS}"),
                );
            } else if node.ty.0 != n {
                report.at(value, Part::Type, format!("this value has {} slots, others have {n}", node.ty.0));
            }
        }
        ports::layouts(module, Some(n), report);
    }
}
