//! A second engine: it takes the ops of a plan and prints them as a Python program over OpenFHE.
//!
//! What it knows of fhec is what any engine has to know: the program of a [`Plan`], its parameters and ports, and the trait
//! [`Backend`], through which the executor hands over one op after the other, after the rules of levels and scales have
//! been checked. Nothing here names the engine of the project.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::ops::ControlFlow;
use std::rc::Rc;

use fhec::Plan;
use fhec::ir::Port;
use fhec::ir::ckks::CtTy;
use fhec::ir::ckks::exec::{Backend, ClearError, Constant, ExecError, LinearMap, Observer, RunStep, execute, rules};
use fhec::ir::cost::rotation_in;
use miette::Diagnostic;
use serde_json::json;
use thiserror::Error;

/// The ops as calls of OpenFHE, and what runs them.
const PREAMBLE: &str = include_str!("preamble.py");

/// OpenFHE's primes have up to 60 bits. A scale of 50 leaves more precision than any plan asks for, and keeps the scales of
/// all levels, which OpenFHE takes as equal, within 2^-30 of each other.
const SCALE_BITS: u32 = 50;
const FIRST_BITS: u32 = 60;

/// A program and the constants it reads: `NAME.py` and `NAME.f32` beside it.
#[derive(Debug)]
pub struct Printed {
    /// Python.
    pub program: String,
    /// Little-endian single-precision numbers.
    pub constants: Vec<u8>,
}

/// Why a plan cannot be printed.
#[derive(Debug, Error, Diagnostic)]
pub enum PrintError {
    /// An op that stands for more than one call.
    #[error("OpenFHE has no counterpart of `ckks.{0}` here")]
    #[diagnostic(help("print the plan of a network that needs no bootstraps and no complex numbers"))]
    Op(&'static str),
    /// A program that is none.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Rule(#[from] ClearError),
}

/// The Python program of a plan.
///
/// # Errors
/// When the plan bootstraps.
pub fn print(plan: &Plan) -> Result<Printed, ExecError<PrintError>> {
    let func = &plan.module().func;
    let mut printer = Printer { slots: plan.slots(), ..Printer::default() };
    let inputs: Vec<Ct> = func.params().iter().map(|&param| printer.fresh(*func.ty(param))).collect();
    let (names, results) = (list(&inputs), execute(plan.module(), &mut printer, inputs, &mut Comments)?);
    let Printer { body, rotations, constants, .. } = printer;
    let rotations = Vec::from_iter(rotations);
    let levels: Vec<u32> = func.params().iter().map(|&param| func.ty(param).level).collect();
    let mut program = format!("# {}, printed from a plan of fhec.\n\n", one_line(&plan.provenance().model));
    let mut line = |text: fmt::Arguments<'_>| program.write_fmt(text).expect("a string takes any text");
    line(format_args!("SLOTS = {}\nLEVELS = {}\n", plan.slots(), plan.spec().levels));
    line(format_args!("SCALE_BITS = {SCALE_BITS}\nFIRST_BITS = {FIRST_BITS}\n"));
    line(format_args!("ROTATIONS = {rotations:?}\n"));
    line(format_args!("INPUTS = [\n{}]\n", ports(plan.inputs(), &levels)));
    line(format_args!("OUTPUTS = [\n{}]\n\n", ports(plan.outputs(), &[])));
    line(format_args!("{PREAMBLE}\n\ndef network(m, {names}):\n{body}    return [{}]\n\n\n", list(&results)));
    line(format_args!("if __name__ == \"__main__\":\n    main()\n"));
    Ok(Printed { program, constants: constants.iter().flat_map(|x| x.to_le_bytes()).collect() })
}

/// The ports, with the levels of their ciphertexts. Python reads what JSON calls numbers, texts, lists and objects.
fn ports(ports: &[Port], levels: &[u32]) -> String {
    let mut levels = levels.iter();
    let mut out = String::new();
    for port in ports {
        let spanned = port.layout.as_ref().map_or(0, |layout| layout.ciphertexts);
        let levels: Vec<u32> = levels.by_ref().take(spanned).copied().collect();
        let port = json!({ "name": port.name, "shape": port.shape, "layout": port.layout, "levels": levels });
        let _ = writeln!(out, "    {port},");
    }
    out
}

fn list(cts: &[Ct]) -> String {
    cts.iter().map(|ct| ct.variable.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A ciphertext: a variable of the program.
#[derive(Clone, Debug)]
pub struct Ct {
    variable: Rc<Variable>,
    ty: CtTy,
}

impl fmt::Display for Ct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable.name)
    }
}

/// The executor drops a value after its last use: then the program deletes it too.
#[derive(Debug)]
struct Variable {
    name: String,
    dropped: Rc<RefCell<Vec<String>>>,
}

impl Drop for Variable {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(std::mem::take(&mut self.name));
    }
}

/// What has been printed so far.
#[derive(Debug, Default)]
pub struct Printer {
    slots: usize,
    variables: usize,
    dropped: Rc<RefCell<Vec<String>>>,
    body: String,
    /// Rotations that need a key.
    rotations: BTreeSet<u32>,
    constants: Vec<f32>,
}

/// A name as a comment can hold it.
fn one_line(name: &str) -> String {
    name.replace(|c: char| c.is_control(), " ")
}

/// Writes the name of a layer where it begins.
struct Comments;

impl Observer<Printer> for Comments {
    fn before(&mut self, printer: &mut Printer, step: RunStep<'_>) -> ControlFlow<()> {
        let comment = format!("    # {}\n", one_line(step.node.loc.name()));
        let last = printer.body.rfind("    # ").map(|at| &printer.body[at..]);
        if last.is_none_or(|last| !last.starts_with(&comment)) {
            printer.body.push_str(&comment);
        }
        ControlFlow::Continue(())
    }
}

impl Printer {
    fn fresh(&mut self, ty: CtTy) -> Ct {
        self.variables += 1;
        let name = format!("x{}", self.variables - 1);
        Ct { variable: Rc::new(Variable { name, dropped: self.dropped.clone() }), ty }
    }
    /// A line that calls `method`.
    fn call(&mut self, ty: CtTy, method: &str, arguments: fmt::Arguments<'_>) -> Result<Ct, PrintError> {
        let dropped = self.dropped.take();
        if !dropped.is_empty() {
            let _ = writeln!(self.body, "    del {}", dropped.join(", "));
        }
        let ct = self.fresh(ty);
        let _ = writeln!(self.body, "    {ct} = m.{method}({arguments})");
        Ok(ct)
    }
    /// Where a vector of constants starts.
    fn constant(&mut self, data: &[f32]) -> usize {
        self.constants.extend(data);
        self.constants.len() - data.len()
    }
    /// A rotation as steps to the left, whose key is made.
    fn rotation(&mut self, by: i64) -> u32 {
        let by = rotation_in(by, self.slots);
        self.rotations.extend((by != 0).then_some(by));
        by
    }
}

impl Backend for Printer {
    type Ct = Ct;
    type Error = PrintError;

    fn ty(&self, ct: &Ct) -> CtTy {
        ct.ty
    }
    fn add(&mut self, a: &Ct, b: &Ct) -> Result<Ct, PrintError> {
        self.call(rules::sum(a.ty, b.ty)?, "add", format_args!("{a}, {b}"))
    }
    fn sub(&mut self, a: &Ct, b: &Ct) -> Result<Ct, PrintError> {
        self.call(rules::sum(a.ty, b.ty)?, "sub", format_args!("{a}, {b}"))
    }
    fn neg(&mut self, x: &Ct) -> Result<Ct, PrintError> {
        self.call(x.ty, "neg", format_args!("{x}"))
    }
    fn add_plain(&mut self, x: &Ct, value: Constant<'_>) -> Result<Ct, PrintError> {
        let start = self.constant(value.data());
        self.call(x.ty, "add_plain", format_args!("{x}, {start}, {}, {}", x.ty.level, x.ty.sd))
    }
    fn add_scalar(&mut self, x: &Ct, value: f64) -> Result<Ct, PrintError> {
        self.call(x.ty, "add_scalar", format_args!("{x}, {value:?}"))
    }
    fn mul_plain(&mut self, x: &Ct, value: Constant<'_>, at: u32) -> Result<Ct, PrintError> {
        let (ty, start) = (rules::plain_product(x.ty, at)?, self.constant(value.data()));
        self.call(ty, "mul_plain", format_args!("{x}, {start}, {}, {at}", x.ty.level))
    }
    fn mul_scalar(&mut self, x: &Ct, value: f64, at: u32) -> Result<Ct, PrintError> {
        let ty = rules::plain_product(x.ty, at)?;
        self.call(ty, "mul_scalar", format_args!("{x}, {value:?}, {}, {at}", x.ty.level))
    }
    fn mul_int(&mut self, x: &Ct, by: i64) -> Result<Ct, PrintError> {
        self.call(x.ty, "mul_int", format_args!("{x}, {by}"))
    }
    fn mul(&mut self, a: &Ct, b: &Ct) -> Result<Ct, PrintError> {
        self.call(rules::product(a.ty, b.ty)?, "mul", format_args!("{a}, {b}"))
    }
    fn relinearize(&mut self, x: &Ct) -> Result<Ct, PrintError> {
        self.call(rules::relinearize(x.ty)?, "relinearize", format_args!("{x}"))
    }
    fn rescale(&mut self, x: &Ct) -> Result<Ct, PrintError> {
        self.call(rules::rescale(x.ty)?, "rescale", format_args!("{x}"))
    }
    fn level_drop(&mut self, x: &Ct, to: u32) -> Result<Ct, PrintError> {
        let ty = rules::level_drop(x.ty, to)?;
        self.call(ty, "level_drop", format_args!("{x}, {}, {to}", x.ty.level))
    }
    fn rotate(&mut self, x: &Ct, by: i64) -> Result<Ct, PrintError> {
        let (ty, by) = (rules::automorphism(x.ty, "rotation")?, self.rotation(by));
        self.call(ty, "rotate", format_args!("{x}, {by}"))
    }
    fn conjugate(&mut self, _: &Ct) -> Result<Ct, PrintError> {
        Err(PrintError::Op("conjugate"))
    }
    fn linear(&mut self, x: &Ct, map: LinearMap<'_>) -> Result<Ct, PrintError> {
        let ty = rules::plain_product(x.ty, map.at)?;
        let mut terms = Vec::new();
        for (rotation, giant, diagonal) in map.terms().filter(|(_, _, d)| d.iter().any(|&x| x != 0.0)) {
            let (giant, baby) = (self.rotation(giant), self.rotation(rotation.wrapping_sub(giant)));
            terms.push((giant, baby, self.constant(diagonal)));
        }
        if terms.is_empty() {
            return self.mul_scalar(x, 0.0, map.at);
        }
        self.call(ty, "linear", format_args!("{x}, {terms:?}, {}, {}", x.ty.level, map.at))
    }
    fn bootstrap(&mut self, _: &Ct, _: u32) -> Result<Ct, PrintError> {
        Err(PrintError::Op("bootstrap"))
    }
}
