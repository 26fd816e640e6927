//! The command `fhec compile` makes a plan of a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use fhec::ir::text::to_hex;
use fhec::passes::program::{Facts, Program};
use fhec::program::{Written, data_beside};
use fhec::{
    Accuracy, Agreement, CompileOptions, Compiled, Destination, Error, Forms, Model, ResultKind, SimulatedPrecision,
    Snapshot, Validation, data,
};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::shaping::Shaping;
use super::{inspect, output, progress, values};

/// Compile an ONNX model to a plan
#[derive(Args)]
pub struct Compile {
    /// The model
    #[arg(value_parser = files::input())]
    pub(super) model: PathBuf,
    /// Where the plan goes
    #[arg(short, long, value_name = "PLAN", value_parser = files::destination())]
    pub(super) output: PathBuf,
    /// Where what a client needs of the plan goes: it holds nothing of the model's weights
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    pub(super) client: Option<PathBuf>,
    #[command(flatten)]
    pub(super) shaping: Shaping,
    /// The polynomial of every activation, as `fhec search` writes them for each point of its front, in place of any choice
    #[arg(long, value_name = "FILE", conflicts_with_all = ["degree", "composite", "max_latency", "max_error", "pareto"], value_parser = files::input())]
    pub(super) forms: Option<PathBuf>,
    /// Write the program after every pass into this directory
    #[arg(long, value_name = "DIR")]
    pub(super) dump_passes: Option<PathBuf>,
    /// Print the chain of rewrites from the model's nodes to the compiled ones
    #[arg(long)]
    pub(super) explain: bool,
    /// The scheme that the network is computed under
    #[arg(long, value_enum, default_value_t = Scheme::Ckks)]
    pub(super) scheme: Scheme,
    /// Under TFHE, bits of the message space: wider sums, and slower tables; by default the fewest with which the network agrees
    #[arg(long, value_name = "BITS", value_parser = super::values::message_bits)]
    pub(super) message_bits: Option<u32>,
    /// Bits of security; only 128 is supported
    #[arg(long, default_value_t = 128, value_parser = security)]
    pub(super) security: u32,
    /// Write the Pareto-optimal plans in time and error as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "composite", value_parser = files::destination())]
    pub(super) pareto: Option<PathBuf>,
    /// Inputs on which the accuracy of the compiled network is measured, and of plans of the front; not those of calibration
    #[arg(long, value_name = "FILE", requires = "labels", value_parser = files::input())]
    pub(super) validation: Option<PathBuf>,
    /// Class numbers of the validation inputs (.npy)
    #[arg(long, value_name = "FILE", requires = "validation", value_parser = files::input())]
    pub(super) labels: Option<PathBuf>,
    /// How many plans of the front are measured
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::count, requires_all = ["validation", "pareto"])]
    pub(super) points: usize,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What ciphertexts hold, and what is computed on them.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheme {
    /// Vectors of real numbers; polynomials in place of activations
    Ckks,
    /// Small integers; a quantised network, whose activations are look-up tables (docs/tfhe.md)
    Tfhe,
}

fn security(text: &str) -> Result<u32, String> {
    match text {
        "128" => Ok(128),
        _ => Err("only 128-bit security is supported".into()),
    }
}

#[derive(Serialize)]
struct CompileReport<'a> {
    plan: String,
    plan_bytes: Option<u64>,
    plan_digest: String,
    seconds: f64,
    stages: Vec<StageTime<'a>>,
    activations: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<Agreement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<Accuracy>,
    precision: SimulatedPrecision,
    notes: &'a [String],
    security_bits: u32,
    summary: inspect::Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a str>,
}

/// A stage of the compilation.
#[derive(Serialize)]
struct StageTime<'a> {
    name: &'a str,
    seconds: f64,
}

/// Writes every snapshot that differs from the one before as a numbered file, with the data of its program beside it.
struct Dump<'a> {
    directory: Option<&'a Path>,
    files: &'a Files,
    count: usize,
    last: String,
    /// Memory that reading the data of each program takes, where that is more than usual.
    large: Vec<(String, Option<u64>)>,
    failure: Option<Error>,
}

impl<'a> Dump<'a> {
    /// Makes the folder. It holds no programs of another run unless `--force` was given.
    fn new(directory: Option<&'a Path>, files: &'a Files) -> Result<Self, Error> {
        if let Some(directory) = directory {
            let io = |source| Error::File { file: directory.display().to_string(), source };
            std::fs::create_dir_all(directory).map_err(io)?;
            let entries = std::fs::read_dir(directory).map_err(io)?.flatten().map(|entry| entry.path());
            let dumped = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.ends_with(".fhir") || name.ends_with(".fhir.data")
            };
            for program in entries.filter(dumped) {
                files.writes_within("--dump-passes", &program)?.check()?;
            }
        }
        Ok(Self { directory, files, count: 0, last: String::new(), large: Vec::new(), failure: None })
    }

    fn write(&mut self, pass: &str, snapshot: Snapshot<'_>, facts: &Facts) {
        if self.failure.is_none()
            && let Some(directory) = self.directory
        {
            let program = Program { module: snapshot.module(), facts: facts.clone() };
            self.failure = self.write_to(directory, pass, &program).err();
        }
    }

    fn write_to(&mut self, directory: &Path, pass: &str, program: &Program) -> Result<(), Error> {
        let written = Written::of(program);
        if written.text == self.last {
            return Ok(());
        }
        let path = directory.join(format!("{:02}-{pass}.{}.fhir", self.count, program.module.level()));
        let to = self.files.writes_within("--dump-passes", &path)?;
        let data = self.files.writes_within("--dump-passes", &data_beside(&path))?;
        to.write(written.text.as_bytes())?;
        self.count += 1;
        if written.needs_data() {
            self.large.push((format!("`{}`", path.display()), written.write_data(data)?));
        }
        self.last = written.text;
        Ok(())
    }
}

pub fn run(c: &Compile) -> Result<(), Error> {
    if c.scheme == Scheme::Tfhe {
        #[cfg(feature = "tfhe")]
        return super::tfhe::compile::run(c);
        #[cfg(not(feature = "tfhe"))]
        return Err(Error::Usage {
            reason: "this fhec was built without TFHE".into(),
            repair: "build it with `--features tfhe`; docs/tfhe.md says what that brings, and under which licence"
                .into(),
        });
    }
    if c.message_bits.is_some() {
        let reason = "--message-bits is of `--scheme tfhe`: under CKKS numbers are not small integers".into();
        return Err(Error::Usage { reason, repair: "leave it out, or give `--scheme tfhe`".into() });
    }
    c.shaping.check(c.pareto.is_some())?;
    let started = Instant::now();
    let spinner = Arc::new(progress::spinner("compile"));
    spinner.set_message("reading the model");
    let model = Model::load(&c.model)?;
    let forms = c.forms.as_ref().map(Forms::load).transpose()?;
    let options = CompileOptions { front: c.pareto.is_some(), forms, ..c.shaping.options() };
    if c.shaping.calibration.is_some() {
        spinner.set_message("reading calibration data");
    }
    let mut compiler = c.shaping.compiler(options, &model.module.inputs)?;
    if let (Some(inputs), Some(labels)) = (&c.validation, &c.labels) {
        let inputs = data::read_samples(inputs, &model.module.inputs)?;
        let labels = data::read_labels(labels, inputs.len(), &model.module.outputs)?;
        compiler = compiler.validation(Validation { inputs, labels, points: c.points });
    }
    let shown = spinner.clone();
    let compiler = compiler.progress(move |at| shown.set_message(at.to_string()));
    let (files, to, [client, pareto]) = destinations(c)?;
    let mut dump = Dump::new(c.dump_passes.as_deref(), &files)?;
    let compiled = compiler.compile_observed(&model, &mut |pass, snapshot, facts| {
        spinner.set_message(format!("{pass} done"));
        dump.write(pass, snapshot, facts);
    })?;
    if let Some(failure) = dump.failure {
        return Err(failure);
    }
    let digest = compiled.plan.save(&to)?;
    dump.large.iter().for_each(|(program, limit)| output::large_file(program, *limit));
    if let Some(client) = client {
        compiled.plan.client()?.save(client)?;
    }
    if let Some(pareto) = pareto {
        pareto.write(serde_json::to_string_pretty(&compiled.front).unwrap_or_default().as_bytes())?;
    }
    spinner.finish_and_clear();
    report(c, &compiled, (&to, &digest), started.elapsed().as_secs_f64())
}

/// Where the plan, the client plan and the front go, with all files of the command.
fn destinations(c: &Compile) -> Result<(Files, Destination, [Option<Destination>; 2]), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the model", [&c.model])?;
    let mut files = c
        .shaping
        .reads(files)?
        .reads("the validation data", &c.validation)?
        .reads("the labels", &c.labels)?
        .reads("the forms", &c.forms)?;
    let to = files.writes("--output", &c.output)?;
    let client = c.client.as_ref().map(|path| files.writes("--client", path)).transpose()?;
    let pareto = c.pareto.as_ref().map(|path| files.writes("--pareto", path)).transpose()?;
    Ok((files, to, [client, pareto]))
}

fn report(
    c: &Compile,
    compiled: &Compiled,
    (to, digest): (&Destination, &fhec::ir::Digest),
    seconds: f64,
) -> Result<(), Error> {
    compiled.warnings.iter().for_each(output::warning);
    let prediction = inspect::predicted(&compiled.plan, c.shaping.latency.as_deref())?;
    let summary = inspect::Summary::with(&compiled.plan, &prediction);
    let explanation = c.explain.then_some(compiled.explanation.as_str());
    if c.json {
        return output::json(&CompileReport {
            plan: c.output.display().to_string(),
            plan_bytes: output::written_bytes(to),
            plan_digest: to_hex(digest),
            seconds,
            stages: compiled.seconds.iter().map(|(name, seconds)| StageTime { name, seconds: *seconds }).collect(),
            activations: serde_json::json!(compiled.activations),
            agreement: compiled.agreement,
            accuracy: compiled.accuracy,
            precision: compiled.precision,
            notes: &compiled.notes,
            security_bits: compiled.plan.security().bits,
            summary,
            explanation,
        });
    }
    if let Some(explanation) = explanation {
        say!("{explanation}");
    }
    if !compiled.activations.is_empty() {
        let rows: Vec<Vec<String>> = compiled
            .activations
            .iter()
            .map(|a| {
                let range = |(lo, hi): (f64, f64)| format!("[{lo:.2}, {hi:.2}]");
                let errors = [format!("{:.1e}", a.rms_error), format!("{:.1e}", a.max_error)];
                let [rms, max] = errors;
                let degrees = if a.stages.is_empty() { &[a.degree][..] } else { &a.stages };
                vec![
                    a.node.clone(),
                    a.function.clone(),
                    degrees.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
                    range(a.seen),
                    range(a.interval),
                    rms,
                    max,
                ]
            })
            .collect();
        output::table(&["activation", "function", "degree", "seen", "interval", "rms error", "max error"], &rows);
        say!();
    }
    if let Some(Agreement { measured, inputs, held_back, of, .. }) = compiled.agreement {
        let held_back = if held_back { " held back" } else { "" };
        say!(
            "agreement   {:.1} % with the network as it was given, on {inputs} calibration inputs{held_back}",
            100.0 * measured
        );
        let asked = if c.shaping.results.is_some() { "" } else { "; --results says what they are if not this" };
        match of {
            ResultKind::Classes => say!("            of classes: where the largest result is{asked}\n"),
            ResultKind::Labels => say!("            of labels: on which side each result is{asked}\n"),
            ResultKind::Values => {
                let off = 100.0 * (1.0 - measured);
                say!(
                    "            of values: results are off by {off:.1} % of what they vary, root mean square{asked}\n"
                )
            }
        }
    }
    if let Some(Accuracy { original, polynomial, agreement, destroyed, furthest }) = compiled.accuracy {
        say!("accuracy    {:.2} % with polynomials, {:.2} % as given", 100.0 * polynomial, 100.0 * original);
        say!("validation  {:.2} % in the same class, {destroyed} inputs destroyed", 100.0 * agreement);
        say!("furthest    {furthest:.2} half widths from the centre of a polynomial's interval\n");
    }
    compiled.notes.iter().for_each(|note| say!("note: {note}"));
    summary.print();
    let SimulatedPrecision { bits, max_error, .. } = compiled.precision;
    say!("precision   {bits:.1} bits simulated on calibration inputs, largest error {max_error:.1e}");
    say!(
        "\n{} ({}), compiled in {}",
        c.output.display(),
        output::size_of(output::written_bytes(to)),
        output::seconds(seconds)
    );
    Ok(())
}
