//! The command `fhec opt` runs passes on a program in text form.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::ir::text::{AnyModule, Blobs, parse_any, print_module};
use fhec::ir::{Dialect, Verify, verify};
use fhec::passes::batch::Batch;
use fhec::passes::fold::Fold;
use fhec::passes::lower::LowerToCkks;
use fhec::passes::pack::Pack;
use fhec::passes::pipeline;
use fhec::passes::{Lower, Pass};
use fhec::{CompileOptions, Compiler, Error, Tensor, data, ir};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::{output, values};

/// Run passes on a program in text form
#[derive(Args)]
pub struct Opt {
    /// The program (.fhir), of any level
    #[arg(required_unless_present = "list", value_parser = files::input())]
    file: Option<PathBuf>,
    /// Passes in order, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pass: Vec<String>,
    /// Calibration data of the pass `approximate-activations`
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    calibration: Option<PathBuf>,
    /// Degree of the polynomials that replace activations in the pass `approximate-activations`
    #[arg(long, value_parser = values::degree)]
    degree: Option<usize>,
    /// Most slots of a ciphertext in the pass `pack`, a power of two; 2^14 by default
    #[arg(long, value_parser = values::slots)]
    slots: Option<usize>,
    /// Images of the pass `batch`, a power of two; 1 by default
    #[arg(long, value_parser = values::slots)]
    batch: Option<usize>,
    /// Where the program goes; standard output by default
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// List the passes
    #[arg(long, conflicts_with_all = ["file", "pass", "calibration", "degree", "slots", "batch", "output"])]
    list: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Slots of a ciphertext where none are given.
const DEFAULT_SLOTS: usize = 1 << 14;

impl Opt {
    /// Refuses options of passes that do not run.
    fn check(&self) -> Result<(), Error> {
        let options = [
            ("--calibration", self.calibration.is_some(), APPROXIMATE),
            ("--degree", self.degree.is_some(), APPROXIMATE),
            ("--slots", self.slots.is_some(), "pack"),
            ("--batch", self.batch.is_some(), "batch"),
        ];
        match options.into_iter().find(|(_, given, pass)| *given && !self.pass.iter().any(|p| p == pass)) {
            None => Ok(()),
            Some((option, _, pass)) => Err(Error::Usage {
                reason: format!("{option} has no effect here: it is for the pass `{pass}`, which does not run"),
                repair: format!("leave {option} out, or add `{pass}` to --pass"),
            }),
        }
    }
}

/// The pass that takes calibration data.
const APPROXIMATE: &str = "approximate-activations";

/// A pass by its name on the command line.
#[derive(Serialize)]
struct Named {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    summary: &'static str,
    #[serde(skip)]
    run: fn(AnyModule, &Opt) -> Result<AnyModule, Error>,
}

const PASSES: &[Named] = &[
    Named { name: "verify", from: "any", to: "same", summary: "check the rules of the level", run: |m, c| check(m, c) },
    Named {
        name: "fold",
        from: "nn",
        to: "nn",
        summary: "canonicalise and fold by equality saturation",
        run: |m, _| Ok(AnyModule::Nn(Fold::default().run(&nn(m, "fold")?)?)),
    },
    Named {
        name: APPROXIMATE,
        from: "nn",
        to: "nn",
        summary: "replace activations by polynomials",
        run: |m, c| {
            let module = nn(m, APPROXIMATE)?;
            let samples = calibration(c, &module)?;
            let mut warnings = Vec::new();
            let polynomial = compiler(c, samples).approximate(&module, &mut warnings)?.module;
            warnings.iter().for_each(output::warning);
            Ok(AnyModule::Nn(polynomial))
        },
    },
    Named {
        name: "pack",
        from: "nn",
        to: "slot",
        summary: "lay tensors out in slots; linear ops become diagonals",
        run: |m, c| Ok(AnyModule::Slot(Pack::new(c.slots.unwrap_or(DEFAULT_SLOTS)).run(&nn(m, "pack")?)?)),
    },
    Named {
        name: "batch",
        from: "slot",
        to: "slot",
        summary: "several images in the slots of one ciphertext",
        run: |m, c| match m {
            AnyModule::Slot(module) => Ok(AnyModule::Slot(Batch { images: c.batch.unwrap_or(1) }.run(&module)?)),
            other => Err(wrong_level("batch", "slot", &other)),
        },
    },
    Named {
        name: "lower",
        from: "slot",
        to: "ckks",
        summary: "levels, scales, rescales, relinearisations",
        run: |m, _| match m {
            AnyModule::Slot(module) => Ok(AnyModule::Ckks(LowerToCkks::default().run(&module)?)),
            other => Err(wrong_level("lower", "slot", &other)),
        },
    },
    Named {
        name: "plan",
        from: "nn",
        to: "ckks",
        summary: "pack, lower and choose parameters",
        run: |m, _| {
            let planned = pipeline::plan(&nn(m, "plan")?, &Default::default(), None, |_, _| ())?;
            Ok(AnyModule::Ckks(planned.module))
        },
    },
];

fn level(module: &AnyModule) -> &'static str {
    match module {
        AnyModule::Nn(_) => ir::Nn::NAME,
        AnyModule::Slot(_) => ir::Slot::NAME,
        AnyModule::Ckks(_) => ir::Ckks::NAME,
    }
}

fn wrong_level(pass: &str, needs: &str, module: &AnyModule) -> Error {
    Error::Usage {
        reason: format!(
            "pass `{pass}` takes a program of the {needs} level, this one is of the {} level",
            level(module)
        ),
        repair: format!(
            "put the pass that makes a {needs} program before `{pass}`; `fhec opt --list` shows the levels"
        ),
    }
}

fn nn(module: AnyModule, pass: &str) -> Result<ir::Module<ir::Nn>, Error> {
    match module {
        AnyModule::Nn(module) => Ok(module),
        other => Err(wrong_level(pass, "nn", &other)),
    }
}

fn check(module: AnyModule, _: &Opt) -> Result<AnyModule, Error> {
    fn checked<D: Verify>(module: &ir::Module<D>) -> Result<(), Error> {
        verify(module).map_err(|e| Error::Usage { reason: e.listing(), repair: "correct the lines shown".into() })
    }
    match &module {
        AnyModule::Nn(m) => checked(m)?,
        AnyModule::Slot(m) => checked(m)?,
        AnyModule::Ckks(m) => checked(m)?,
    }
    Ok(module)
}

fn calibration(c: &Opt, module: &ir::Module<ir::Nn>) -> Result<Option<Vec<Vec<Tensor>>>, Error> {
    Ok(c.calibration.as_ref().map(|path| data::read_samples(path, &module.inputs)).transpose()?)
}

fn compiler(c: &Opt, samples: Option<Vec<Vec<Tensor>>>) -> Compiler {
    let mut options = CompileOptions::default();
    options.approximate.default.degree = c.degree.unwrap_or(options.approximate.default.degree);
    let compiler = Compiler::with_options(options);
    match samples {
        Some(samples) => compiler.calibration(samples),
        None => compiler,
    }
}

fn text(module: &AnyModule) -> String {
    match module {
        AnyModule::Nn(m) => print_module(m),
        AnyModule::Slot(m) => print_module(m),
        AnyModule::Ckks(m) => print_module(m),
    }
}

fn read(path: &Path) -> Result<AnyModule, Error> {
    let source = |source| Error::File { file: path.display().to_string(), source };
    let program = std::fs::read_to_string(path).map_err(source)?;
    Ok(parse_any(&path.display().to_string(), &program, &Blobs::default())?)
}

pub fn run(c: &Opt) -> Result<(), Error> {
    let Some(file) = c.file.as_ref().filter(|_| !c.list) else {
        if c.json {
            return output::json(&serde_json::json!({ "passes": PASSES }));
        }
        let row = |p: &Named| [p.name, p.from, p.to, p.summary].map(str::to_string).to_vec();
        output::table(&["pass", "from", "to", "summary"], &PASSES.iter().map(row).collect::<Vec<_>>());
        return Ok(());
    };
    c.check()?;
    let passes: Vec<&Named> = c.pass.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    let mut files =
        Files::new(c.overwrite, c.json).reads("the program", [file])?.reads("calibration data", &c.calibration)?;
    let to = c.output.as_ref().map(|path| files.writes("--output", path)).transpose()?;
    let mut module = check(read(file)?, c)?;
    for pass in passes {
        module = check((pass.run)(module, c)?, c)?;
    }
    let program = text(&module);
    if let Some(to) = to {
        to.write(program.as_bytes())?;
    }
    match &c.output {
        _ if c.json => output::json(&serde_json::json!({
            "level": level(&module), "security_bits": security_bits(&module), "output": c.output,
            "program": c.output.is_none().then_some(program),
        })),
        None => {
            say!("{}", program.trim_end());
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// Bits of security of a program that has parameters.
fn security_bits(module: &AnyModule) -> Option<u32> {
    let AnyModule::Ckks(module) = module else { return None };
    module.params.as_ref().map(|params| if params.insecure { 0 } else { 128 })
}

fn find(name: &str) -> Result<&'static Named, Error> {
    PASSES.iter().find(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
        Error::Usage { reason: format!("there is no pass `{name}`"), repair: format!("passes: {}", names.join(", ")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names on the command line are those the passes give themselves.
    #[test]
    fn passes_have_their_own_names() {
        let within = [Pass::name(&Fold::default()), Pass::name(&Batch { images: 1 })];
        for name in within.into_iter().chain([Lower::name(&Pack::new(8)), Lower::name(&LowerToCkks::default())]) {
            assert!(find(name).is_ok(), "{name}");
        }
        assert!(matches!(find("nonsense"), Err(Error::Usage { .. })));
    }
}
