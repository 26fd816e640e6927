//! The command `fhec compile` makes a plan of a model.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use fhec::ir::text::to_hex;
use fhec::passes::approx::{CompositeSign, PUBLISHED};
use fhec::passes::bootstraps::Strategy;
use fhec::report::profile;
use fhec::runtime::Saved;
use fhec::{
    Accuracy, CompileOptions, Compiled, Compiler, Destination, Engine, Error, Model, SimulatedPrecision, Snapshot,
    Validation, data,
};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::{inspect, output, progress, values};

/// Compile an ONNX model to a plan
#[derive(Args)]
pub struct Compile {
    /// The model
    #[arg(value_parser = files::input())]
    model: PathBuf,
    /// Where the plan goes
    #[arg(short, long, value_name = "PLAN", value_parser = files::destination())]
    output: PathBuf,
    /// Where what a client needs of the plan goes: it holds nothing of the model's weights
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    client: Option<PathBuf>,
    /// Inputs from the training set (.npy or .npz) on which the activations' ranges are measured
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    calibration: Option<PathBuf>,
    /// Write the program after every pass into this directory
    #[arg(long, value_name = "DIR")]
    dump_passes: Option<PathBuf>,
    /// Print the chain of rewrites from the model's nodes to the compiled ones
    #[arg(long)]
    explain: bool,
    /// Bits of security; only 128 is supported
    #[arg(long, default_value_t = 128, value_parser = security)]
    security: u32,
    /// Degree of all polynomials; without it and with a limit, those of a network that bootstraps are chosen one by one
    #[arg(long, value_parser = values::degree)]
    degree: Option<usize>,
    /// Instead of polynomials, degrees of a composite minimax sign of which every ReLU is made, such as 15,15,27; the weights
    /// stay as they are trained
    #[arg(long, value_name = "DEGREES", value_parser = composite, conflicts_with_all = ["degree", "max_latency", "max_error", "pareto"])]
    composite: Option<&'static CompositeSign>,
    /// Where a network that bootstraps does so; all but the first are for comparison
    #[arg(long, value_enum, default_value_t = Place::Joint)]
    place: Place,
    /// Keep the trained weights instead of rebuilding each layer against the original network
    #[arg(long)]
    no_reconstruct: bool,
    /// Take the most accurate plan that runs in this time, where the network bootstraps; refuse the plan of any network that is
    /// predicted to take longer
    #[arg(long, value_name = "SECONDS", value_parser = values::limit)]
    max_latency: Option<f64>,
    /// Take the fastest plan whose error (sensitivity times mean square error, summed over activations) is at most this, where
    /// the network bootstraps; refuse the plan of any network with a larger error
    #[arg(long, value_name = "ERROR", value_parser = values::limit)]
    max_error: Option<f64>,
    /// Write the Pareto-optimal plans in time and error as JSON
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    pareto: Option<PathBuf>,
    /// Inputs on which the accuracy of the compiled network is measured, and of plans of the front; not those of calibration
    #[arg(long, value_name = "FILE", requires = "labels", value_parser = files::input())]
    validation: Option<PathBuf>,
    /// Class numbers of the validation inputs (.npy)
    #[arg(long, value_name = "FILE", requires = "validation", value_parser = files::input())]
    labels: Option<PathBuf>,
    /// How many plans of the front are measured
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::count, requires_all = ["validation", "pareto"])]
    points: usize,
    /// Times of this machine, as `fhec calibrate` writes them
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    latency: Option<PathBuf>,
    /// Length of a polynomial's interval over that of the inputs seen in calibration, 1.3 by default
    #[arg(long, value_parser = values::margin)]
    margin: Option<f64>,
    /// Images in one ciphertext, a power of two: they are computed together, in the time of one where slots are left over
    #[arg(long, value_name = "IMAGES", default_value_t = 1)]
    batch: usize,
    /// Bits of precision of the results: six standard deviations of the error that encryption adds to them, simulated on
    /// calibration inputs, stay below 2^-BITS, or the model is refused with the most bits that are possible. Without, they
    /// are estimated to stay below 2^-10, of results beyond 16 in proportion
    #[arg(long, value_name = "BITS", value_parser = values::bits)]
    precision: Option<u32>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// How bootstraps are placed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    /// Where and to the level that the exact planner finds best, together with the degrees
    Joint,
    /// Before every activation but the first, to the level needed (OLA)
    Layerwise,
    /// Before every activation but the first, to the highest level: a single modulus chain
    Uniform,
    /// Where levels run out, to the highest level (AutoFHE)
    Greedy,
}

impl From<Place> for Strategy {
    fn from(place: Place) -> Self {
        match place {
            Place::Joint => Self::Joint,
            Place::Layerwise => Self::Layerwise,
            Place::Uniform => Self::Uniform,
            Place::Greedy => Self::Greedy,
        }
    }
}

/// A published composite by its degrees.
fn composite(text: &str) -> Result<&'static CompositeSign, String> {
    let degrees: Result<Vec<usize>, _> = text.split(',').map(|d| d.trim().parse()).collect();
    degrees.ok().and_then(|degrees| CompositeSign::of_degrees(&degrees)).ok_or_else(|| {
        let listed =
            |(_, degrees): &(u32, &[usize])| degrees.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        format!("the composites known are {}", PUBLISHED.iter().map(listed).collect::<Vec<_>>().join("; "))
    })
}

fn security(text: &str) -> Result<u32, String> {
    match text {
        "128" => Ok(128),
        _ => Err("only 128-bit security is supported".into()),
    }
}

#[derive(Serialize)]
struct Report<'a> {
    plan: String,
    plan_bytes: Option<u64>,
    plan_digest: String,
    seconds: f64,
    stages: Vec<Stage<'a>>,
    activations: serde_json::Value,
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
struct Stage<'a> {
    name: &'a str,
    seconds: f64,
}

/// Writes every snapshot that differs from the one before as a numbered file.
struct Dump<'a> {
    directory: Option<&'a Path>,
    files: &'a Files,
    count: usize,
    last: String,
    failure: Option<Error>,
}

impl<'a> Dump<'a> {
    /// Makes the folder. It holds no programs of another run unless `--force` was given.
    fn new(directory: Option<&'a Path>, files: &'a Files) -> Result<Self, Error> {
        if let Some(directory) = directory {
            let io = |source| Error::File { file: directory.display().to_string(), source };
            std::fs::create_dir_all(directory).map_err(io)?;
            let entries = std::fs::read_dir(directory).map_err(io)?.flatten().map(|entry| entry.path());
            for program in entries.filter(|path| path.extension().is_some_and(|e| e == "fhir")) {
                files.writes_within("--dump-passes", &program)?.check()?;
            }
        }
        Ok(Self { directory, files, count: 0, last: String::new(), failure: None })
    }

    fn write(&mut self, pass: &str, snapshot: Snapshot<'_>) {
        let Some(directory) = self.directory.filter(|_| self.failure.is_none()) else { return };
        let text = snapshot.text();
        if text == self.last {
            return;
        }
        let level = match snapshot {
            Snapshot::Nn(_) => "nn",
            Snapshot::Slot(_) => "slot",
            Snapshot::Ckks(_) => "ckks",
        };
        let path = directory.join(format!("{:02}-{pass}.{level}.fhir", self.count));
        let to = self.files.writes_within("--dump-passes", &path);
        self.failure = to.and_then(|to| Ok(to.write(text.as_bytes())?)).err();
        self.count += 1;
        self.last = text;
    }
}

pub fn run(c: &Compile) -> Result<(), Error> {
    if c.place == Place::Greedy && (c.max_latency.is_some() || c.max_error.is_some() || c.pareto.is_some()) {
        let reason = "the greedy placement takes polynomials as they are: it chooses none within limits".into();
        return Err(Error::Usage { reason, repair: "leave the limits out, or take another --place".into() });
    }
    let started = Instant::now();
    let spinner = progress::spinner("compile");
    spinner.set_message("reading the model");
    let model = Model::load(&c.model)?;
    let mut options = CompileOptions::default();
    if let Some(degree) = c.degree {
        options.approximate.default.degree = degree;
        options.uniform = true;
    }
    if let Some(sign) = c.composite {
        options.approximate = options.approximate.with_composite(sign.clone());
    }
    options.plan.strategy = c.place.into();
    options.limits.max_latency_us = c.max_latency.map(|s| s * 1e6);
    options.limits.max_error = c.max_error;
    options.keep_weights = c.no_reconstruct;
    options.front = c.pareto.is_some();
    if let Some(margin) = c.margin {
        options.approximate.margin = margin;
    }
    options.plan.batch = c.batch;
    options.precision = c.precision;
    let mut compiler = Compiler::with_options(options);
    if let Some(path) = &c.latency {
        compiler = compiler.engine(Engine::new(profile(path)?));
    }
    if let Some(path) = &c.calibration {
        spinner.set_message("reading calibration data");
        compiler = compiler.calibration(data::read_samples(path, &model.module.inputs)?);
    }
    if let (Some(inputs), Some(labels)) = (&c.validation, &c.labels) {
        let inputs = data::read_samples(inputs, &model.module.inputs)?;
        let labels = data::read_labels(labels, inputs.len(), &model.module.outputs)?;
        compiler = compiler.validation(Validation { inputs, labels, points: c.points });
    }
    let (files, to, [client, pareto]) = destinations(c)?;
    let mut dump = Dump::new(c.dump_passes.as_deref(), &files)?;
    let compiled = compiler.compile_observed(&model, &mut |pass, snapshot| {
        spinner.set_message(format!("{pass} done"));
        dump.write(pass, snapshot);
    })?;
    if let Some(failure) = dump.failure {
        return Err(failure);
    }
    let Saved { digest, limit } = compiled.plan.save(&to)?;
    if let Some(limit) = limit {
        let mebibytes = limit.div_ceil(1 << 20);
        output::warning(format!(
            "reading this plan takes {}, more than a file of its length may by default: give `--max-size {mebibytes}M` to the \
             commands that read it",
            output::bytes(limit)
        ));
    }
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
    let files = files.reads("the calibration data", &c.calibration)?.reads("the profile", &c.latency)?;
    let mut files = files.reads("the validation data", &c.validation)?.reads("the labels", &c.labels)?;
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
    let prediction = inspect::predicted(&compiled.plan, c.latency.as_deref())?;
    let summary = inspect::Summary::with(&compiled.plan, &prediction);
    let explanation = c.explain.then_some(compiled.explanation.as_str());
    if c.json {
        return output::json(&Report {
            plan: c.output.display().to_string(),
            plan_bytes: output::written_bytes(to),
            plan_digest: to_hex(digest),
            seconds,
            stages: compiled.seconds.iter().map(|(name, seconds)| Stage { name, seconds: *seconds }).collect(),
            activations: serde_json::json!(compiled.activations),
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
    if let Some(Accuracy { original, polynomial }) = compiled.accuracy {
        say!("accuracy    {:.2} % with polynomials, {:.2} % as given\n", 100.0 * polynomial, 100.0 * original);
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
