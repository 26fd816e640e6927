//! The command `fhec prepare` writes the network that is to be trained in a model's place, and the recipe of its
//! training.

use std::path::PathBuf;

use clap::Args;
use fhec::passes::skips::{ConvertedJoin, DepthRow};
use fhec::prepare::{Activations, DEGREES, PrepareOptions, Prepared, Pruned, RecipeJoin, Skips, prepare, skip_table};
use fhec::report::profile;
use fhec::{Destination, Engine, Error, Model, data};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::{output, progress, values};

/// Write the network that is to be trained in a model's place, and a recipe for its training
///
/// The student computes with the trained weights, where it has them still; what a training program makes of the recipe
/// is in docs/recipe.md.
#[derive(Args)]
pub struct Prepare {
    /// The model
    #[arg(value_parser = files::input())]
    model: PathBuf,
    /// Where the student goes, an ONNX file
    #[arg(short, long, value_name = "STUDENT", required_unless_present = "table", value_parser = files::destination())]
    output: Option<PathBuf>,
    /// Where the recipe goes, as JSON
    #[arg(long, value_name = "FILE", required_unless_present = "table", value_parser = files::destination())]
    recipe: Option<PathBuf>,
    /// What becomes of the skips of residual blocks
    #[arg(long, value_enum, default_value_t = SkipsOption::Keep)]
    skips: SkipsOption,
    /// What activations become in training: `keep`, `quadratic`, `power-of-two` (quadratics whose coefficients are powers of
    /// two, not trained), or the degree of polynomials per channel
    #[arg(long, value_name = "FORM", default_value = "keep", value_parser = activations)]
    activations: Activations,
    /// Nodes whose activations stay all the same, separated by commas: the compiler replaces them
    #[arg(long, value_name = "NODES", value_delimiter = ',')]
    keep: Vec<String>,
    /// Zeros among the weights that save this share of the predicted time of linear layers, between 0 and 1: those of
    /// whole rotations and diagonals, of the least squares. Training may exchange them
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    prune: Option<f64>,
    /// Weights and biases become 0 or ±2^k in training, of this many neighbouring k each
    #[arg(long, value_name = "EXPONENTS", value_parser = clap::value_parser!(u32).range(1..=16))]
    powers_of_two: Option<u32>,
    /// Inputs from the training set (.npy or .npz), to which the polynomials are fitted that training starts from
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    calibration: Option<PathBuf>,
    /// Times of this machine, as `fhec calibrate` writes them
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    latency: Option<PathBuf>,
    /// Say what every form of the skips costs, with activations of one to four levels
    #[arg(long)]
    table: bool,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// What becomes of skips.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SkipsOption {
    /// They stay
    Keep,
    /// Into Dirac kernels of their block's convolutions, wherever they can
    Dirac,
    /// The first tensor of the stage is added instead, wherever it can
    Shared,
    /// The form that costs least, where the skip costs something
    Auto,
}

impl From<SkipsOption> for Skips {
    fn from(option: SkipsOption) -> Self {
        match option {
            SkipsOption::Keep => Self::Keep,
            SkipsOption::Dirac => Self::Dirac,
            SkipsOption::Shared => Self::Shared,
            SkipsOption::Auto => Self::Auto,
        }
    }
}

fn activations(text: &str) -> Result<Activations, String> {
    match text {
        "keep" => Ok(Activations::Keep),
        "quadratic" => Ok(Activations::Degree(2)),
        "power-of-two" => Ok(Activations::PowerOfTwo),
        degree => values::degree(degree)
            .map(Activations::Degree)
            .map_err(|e| format!("{e}; besides degrees there are `keep`, `quadratic` and `power-of-two`")),
    }
}

#[derive(Serialize)]
struct PrepareReport<'a> {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    files: Option<FileReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<&'a [ConvertedJoin]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pruned: Option<Pruned>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a [DepthRow]>,
}

#[derive(Serialize)]
struct FileReport<'a> {
    student: String,
    student_bytes: Option<u64>,
    recipe: String,
    joins: &'a [RecipeJoin],
}

/// Where the student and the recipe go, where they are asked for.
fn destinations(c: &Prepare) -> Result<Option<(Destination, Destination)>, Error> {
    let files = Files::new(c.overwrite, c.json).reads("the model", [&c.model])?;
    let mut files = files.reads("the calibration data", &c.calibration)?.reads("the profile", &c.latency)?;
    match (&c.output, &c.recipe) {
        (Some(student), Some(recipe)) => {
            Ok(Some((files.writes("--output", student)?, files.writes("--recipe", recipe)?)))
        }
        (None, None) => Ok(None),
        (student, _) => {
            let [given, missing] = if student.is_some() { ["--output", "--recipe"] } else { ["--recipe", "--output"] };
            let reason = format!("{given} without {missing}: a student is trained by its recipe");
            Err(Error::Usage { reason, repair: format!("give {missing} too, or leave {given} out") })
        }
    }
}

/// Refuses options that nothing reads.
fn check(c: &Prepare) -> Result<(), Error> {
    let idle = |option: &str, reason: &str| {
        let reason = format!("{option} has no effect here: {reason}");
        Err(Error::Usage { reason, repair: format!("leave {option} out") })
    };
    let keeps = matches!(c.activations, Activations::Keep);
    let written = c.output.is_some() || c.recipe.is_some();
    if c.calibration.is_some() && (keeps || !written) {
        return idle("--calibration", "polynomials are fitted to it, and none are written");
    }
    if !written && c.skips != SkipsOption::Keep {
        return idle("--skips", "no student is written, and --table is of all forms");
    }
    if !written && !keeps {
        return idle("--activations", "no student is written, and --table is of several degrees");
    }
    if !written && (c.prune.is_some() || c.powers_of_two.is_some()) {
        let option = if c.prune.is_some() { "--prune" } else { "--powers-of-two" };
        return idle(option, "no student is written");
    }
    if !c.keep.is_empty() && keeps {
        return idle("--keep", "all activations stay");
    }
    if c.latency.is_some() && !c.table && c.skips != SkipsOption::Auto && c.prune.is_none() {
        return idle("--latency", "times are predicted by --table, --skips auto and --prune");
    }
    Ok(())
}

pub fn run(c: &Prepare) -> Result<(), Error> {
    check(c)?;
    let to = destinations(c)?;
    let spinner = progress::spinner("prepare");
    spinner.set_message("reading the model");
    let model = Model::load(&c.model)?;
    let engine = match &c.latency {
        Some(path) => Engine::new(profile(path)?),
        None => Engine::default(),
    };
    let samples = c.calibration.as_ref().map(|path| data::read_samples(path, &model.module.inputs)).transpose()?;
    let table = match c.table {
        true => {
            spinner.set_message("planning every form");
            Some(skip_table(&model, &DEGREES, &engine)?)
        }
        false => None,
    };
    let prepared = match &to {
        Some((student, recipe)) => {
            spinner.set_message("preparing the student");
            let options = PrepareOptions {
                skips: c.skips.into(),
                activations: c.activations,
                keep: c.keep.clone(),
                prune: c.prune,
                powers_of_two: c.powers_of_two,
            };
            let prepared = prepare(&model, &options, samples.as_deref(), &engine)?;
            let json = serde_json::to_string_pretty(&prepared.recipe).unwrap_or_default();
            student.write(&prepared.student)?;
            recipe.write(json.as_bytes())?;
            Some((prepared, student))
        }
        None => None,
    };
    spinner.finish_and_clear();
    report(c, prepared.as_ref(), table.as_deref())
}

fn report(c: &Prepare, prepared: Option<&(Prepared, &Destination)>, table: Option<&[DepthRow]>) -> Result<(), Error> {
    let name = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let decisions = prepared.map(|(p, _)| &p.decisions[..]).filter(|_| c.skips == SkipsOption::Auto);
    let pruned = prepared.and_then(|(p, _)| p.pruned);
    if c.json {
        let files = prepared.map(|(p, to)| FileReport {
            student: name(&c.output),
            student_bytes: output::written_bytes(to),
            recipe: name(&c.recipe),
            joins: &p.recipe.joins,
        });
        return output::json(&PrepareReport { files, decisions, pruned, table });
    }
    if let Some(table) = table {
        print_table(table);
    }
    if let Some(decisions) = decisions {
        let row = |d: &ConvertedJoin| {
            vec![d.join.clone(), d.form.to_string(), format!("{:+}", d.bootstraps), format!("{:+.3} s", d.seconds)]
        };
        let rows: Vec<Vec<String>> = decisions.iter().map(row).collect();
        output::table(&["join", "form", "bootstraps of the skip", "time of the skip"], &rows);
        say!();
    }
    if let Some(Pruned { weights, zeros, before, after }) = pruned {
        say!(
            "{zeros} of {weights} weights become zeros: {} to {} rotations, {} to {} products with constants, {} to {} predicted",
            before.rotations,
            after.rotations,
            before.plain_products,
            after.plain_products,
            output::seconds(before.seconds),
            output::seconds(after.seconds)
        );
    }
    if let Some((prepared, to)) = prepared {
        let recipe = &prepared.recipe;
        say!(
            "{} ({}) and {}: {} joins, {} convolutions with Dirac kernels, {} activations to train",
            name(&c.output),
            output::size_of(output::written_bytes(to)),
            name(&c.recipe),
            recipe.joins.len(),
            recipe.dirac.len(),
            recipe.activations.len()
        );
    }
    Ok(())
}

fn print_table(table: &[DepthRow]) {
    let of_row = |row: &DepthRow| {
        let degree = row.degree;
        let levels = row.activation_levels;
        row.forms
            .iter()
            .map(|f| {
                let bound =
                    if f.price.bound > 1.0 { format!(" (≤ {:.3}x the best)", f.price.bound) } else { String::new() };
                vec![
                    degree.to_string(),
                    levels.to_string(),
                    f.form.to_string(),
                    f.blocks.to_string(),
                    f.price.levels.to_string(),
                    f.price.bootstraps.to_string(),
                    format!("{:.3}{bound}", f.price.seconds),
                ]
            })
            .collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = table.iter().flat_map(of_row).collect();
    output::table(&["degree", "levels each", "skips", "blocks", "levels", "bootstraps", "predicted seconds"], &rows);
    say!();
}
