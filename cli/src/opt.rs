//! The command `fhec opt` runs passes on a program in text form.

use std::path::PathBuf;

use clap::Args;
use fhec::ir::Port;
use fhec::ir::text::AnyModule;
use fhec::passes::program::Program;
use fhec::passes::registry::{PassContext, PassOption, Registry};
use fhec::program::{self, Written, data_beside};
use fhec::{Destination, Error, Resumed};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::shaping::{PlaceOption, Shaping};
use super::{output, values};

/// Run passes on a program in text form
///
/// The program may be one that `fhec compile --dump-passes` or another `fhec opt` has written. Give the options of the
/// compilation again: the file holds the program, not what it was made with.
#[derive(Args)]
pub struct Opt {
    /// The program (.fhir), of any level; constants too large for text are read from the file beside it (.fhir.data)
    #[arg(required_unless_present = "list", value_parser = files::input())]
    file: Option<PathBuf>,
    /// Passes in order, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pass: Vec<String>,
    #[command(flatten)]
    shaping: Shaping,
    /// Most slots of a ciphertext in the pass `pack`, a power of two; 2^14 by default
    #[arg(long, value_parser = values::slots)]
    slots: Option<usize>,
    /// Where the program goes; standard output by default. A name that ends in `.fhe` is that of a plan: the passes that remain
    /// are run
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: Option<PathBuf>,
    /// Print why the passes decided as they did
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    max_size: MaxSize,
    #[command(flatten)]
    overwrite: Overwrite,
    /// List the passes
    #[arg(long, conflicts_with_all = ["file", "pass", "calibration", "degree", "slots", "output"])]
    list: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Slots of a ciphertext where none are given.
const DEFAULT_SLOTS: usize = 1 << 14;

impl Opt {
    /// Whether a plan is written.
    fn plans(&self) -> bool {
        self.output.as_ref().is_some_and(|path| path.extension().is_some_and(|e| e == "fhe"))
    }

    /// Refuses options that nothing reads of what is run.
    fn check(&self, registry: &Registry) -> Result<(), Error> {
        let s = &self.shaping;
        let options = [
            ("--calibration", s.calibration.is_some(), Some(PassOption::Calibration)),
            ("--degree", s.degree.is_some(), Some(PassOption::Approximation)),
            ("--composite", s.composite.is_some(), Some(PassOption::Approximation)),
            ("--margin", s.margin.is_some(), Some(PassOption::Margin)),
            ("--batch", s.batch != 1, Some(PassOption::Batch)),
            ("--place", s.place != PlaceOption::Joint, Some(PassOption::Placement)),
            ("--max-latency", s.max_latency.is_some(), Some(PassOption::Placement)),
            ("--max-error", s.max_error.is_some(), Some(PassOption::Placement)),
            ("--latency", s.latency.is_some(), Some(PassOption::Placement)),
            ("--precision", s.precision.is_some(), Some(PassOption::Precision)),
            ("--min-agreement", s.min_agreement.is_some(), None),
            ("--results", s.results.is_some(), None),
            ("--max-keys", s.max_keys.is_some(), None),
            ("--max-memory", s.max_memory.is_some(), None),
            ("--no-reconstruct", s.no_reconstruct, None),
            ("--guess-ranges", s.guess_ranges, None),
        ];
        let reads = |option: PassOption| {
            let of_pass = |name: &String| registry.find(name).is_ok_and(|pass| pass.options().contains(&option));
            self.pass.iter().any(of_pass)
        };
        let idle = |given: bool, option: Option<PassOption>| given && !self.plans() && !option.is_some_and(&reads);
        let idle_option = options.into_iter().find(|(_, given, option)| idle(*given, *option));
        // A plan is packed into the slots that are best for it.
        let slots = ("--slots", self.slots.is_some(), Some(PassOption::Slots));
        let slots = Some(slots).filter(|(_, given, _)| *given && !reads(PassOption::Slots));
        let Some((name, _, option)) = idle_option.or(slots) else { return Ok(()) };
        let readers = registry.iter().filter(|pass| option.is_some_and(|o| pass.options().contains(&o)));
        let readers: Vec<String> = readers.map(|pass| format!("`{}`", pass.name())).collect();
        let reason = match readers.as_slice() {
            [] => format!("{name} has no effect here: it is for plans, and no plan is written"),
            some => format!("{name} has no effect here: it is for the passes {}, which do not run", some.join(", ")),
        };
        Err(Error::Usage { reason, repair: format!("leave {name} out, or add a pass that it is for to --pass") })
    }
}

/// A pass as it is listed.
#[derive(Serialize)]
struct ListedPass<'a> {
    name: &'a str,
    from: &'a str,
    to: &'a str,
    summary: &'a str,
}

fn list(registry: &Registry, json: bool) -> Result<(), Error> {
    let listed = registry.iter().map(|pass| ListedPass {
        name: pass.name(),
        from: pass.from(),
        to: pass.to(),
        summary: pass.summary(),
    });
    let listed: Vec<ListedPass<'_>> = listed.collect();
    if json {
        return output::json(&serde_json::json!({ "passes": listed }));
    }
    let row = |p: &ListedPass<'_>| [p.name, p.from, p.to, p.summary].map(str::to_string).to_vec();
    output::table(&["pass", "from", "to", "summary"], &listed.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// The inputs of one run of a program for one image.
fn inputs(program: &Program) -> Vec<Port> {
    let ports = match &program.module {
        AnyModule::Nn(module) => &module.inputs,
        AnyModule::Slot(module) => &module.inputs,
        AnyModule::Ckks(module) => &module.inputs,
    };
    if matches!(program.module, AnyModule::Nn(_)) {
        return ports.clone();
    }
    let images = fhec::ir::io::batch(ports);
    ports.iter().map(|port| port.image(images)).collect()
}

/// The files that a program goes to.
struct Outputs {
    to: Destination,
    /// Where the data beside it goes, and whether there is a file that it replaces.
    data: Option<(Destination, bool)>,
}

impl Outputs {
    fn of(c: &Opt, files: &mut Files) -> Result<Option<Self>, Error> {
        let Some(path) = &c.output else { return Ok(None) };
        let to = files.writes("--output", path)?;
        // Nothing lies beside a pipe or a device.
        let alone = to.is_standard_output() || c.plans() || (path.exists() && !path.is_file());
        let data = (!alone).then(|| data_beside(path));
        let data = data.map(|path| Ok::<_, Error>((files.writes("--output", &path)?, path.exists()))).transpose()?;
        Ok(Some(Self { to, data }))
    }

    /// Writes a program, and beside it what its text does not say.
    fn write(&self, written: &Written) -> Result<(), Error> {
        self.to.write(written.text.as_bytes())?;
        match &self.data {
            // Data of another program must not stay beside this one.
            Some((data, replaces)) if written.needs_data() || *replaces => {
                output::large_file("this program", written.write_data(data.clone())?);
            }
            Some(_) => {}
            None => warn_of_constants(written),
        }
        Ok(())
    }
}

/// A text that goes where nothing can lie beside it may not be whole.
fn warn_of_constants(written: &Written) {
    if written.constants() > 0 {
        output::warning(format!(
            "{} of the program's constants are named by digest only: with -o FILE they are written beside the text",
            written.constants()
        ));
    }
}

pub fn run(c: &Opt) -> Result<(), Error> {
    let registry = Registry::standard();
    let Some(file) = c.file.as_ref().filter(|_| !c.list) else { return list(&registry, c.json) };
    c.pass.iter().try_for_each(|name| registry.find(name).map(drop))?;
    c.check(&registry)?;
    c.shaping.check(false)?;
    let mut files = c.shaping.reads(Files::new(c.overwrite, c.json).reads("the program", [file])?)?;
    let data = data_beside(file);
    if data.is_file() {
        files = files.reads("the data of the program", [&data])?;
    }
    let outputs = Outputs::of(c, &mut files)?;
    let (program, warning) = program::read(file, c.max_size.bytes())?;
    warning.iter().for_each(output::warning);
    let compiler = c.shaping.compiler(c.shaping.options(), &inputs(&program))?;
    let measures = |option| c.pass.iter().any(|p| registry.find(p).is_ok_and(|p| p.options().contains(&option)));
    let mut warnings = Vec::new();
    let samples = match measures(PassOption::Calibration) {
        true => compiler.samples_of(&program, &mut warnings)?,
        false => Default::default(),
    };
    let slots = c.slots.unwrap_or(DEFAULT_SLOTS);
    let mut context = PassContext { slots, warnings, ..compiler.context(&samples) };
    let program = registry.run(&c.pass, program, &mut context)?;
    context.warnings.iter().for_each(output::warning);
    if c.explain && !c.json {
        say!("{}", context.explanation.trim_end());
    }
    let explanation = c.explain.then_some(context.explanation.as_str());
    match outputs {
        Some(outputs) if c.plans() => save_plan(c, &compiler.resume(program)?, &outputs.to, explanation),
        outputs => {
            let written = Written::of(&program);
            match &outputs {
                Some(outputs) => outputs.write(&written)?,
                None => warn_of_constants(&written),
            }
            report(c, &program, &written.text, explanation)
        }
    }
}

fn report(c: &Opt, program: &Program, text: &str, explanation: Option<&str>) -> Result<(), Error> {
    if c.json {
        let mut report = serde_json::json!({
            "level": program.module.level(), "security_bits": security_bits(&program.module), "output": c.output,
            "program": c.output.is_none().then_some(text),
        });
        if let Some(explanation) = explanation {
            report["explanation"] = explanation.into();
        }
        return output::json(&report);
    }
    if c.output.is_none() {
        say!("{}", text.trim_end());
    }
    Ok(())
}

/// Writes the plan, reads it back, and tells what became of it.
fn save_plan(c: &Opt, resumed: &Resumed, to: &Destination, explanation: Option<&str>) -> Result<(), Error> {
    let digest = resumed.plan.save(to)?;
    resumed.warnings.iter().for_each(output::warning);
    if c.json {
        let mut report = serde_json::json!({
            "level": "ckks", "security_bits": resumed.plan.security().bits, "output": c.output, "program": null,
            "plan_digest": fhec::ir::text::to_hex(&digest),
        });
        if let Some(explanation) = explanation {
            report["explanation"] = explanation.into();
        }
        return output::json(&report);
    }
    resumed.notes.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

/// Bits of security of a program that has parameters.
fn security_bits(module: &AnyModule) -> Option<u32> {
    let AnyModule::Ckks(module) = module else { return None };
    module.params.as_ref().map(|params| if params.insecure { 0 } else { 128 })
}
