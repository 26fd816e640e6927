//! The command `fhec search` looks for plans that are faster and agree better than those of the planner's front.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use fhec::report::profile;
use fhec::{ActivationForm, Compiler, Engine, Error, Model, SearchFolder, SearchOptions, SearchPoint, Searched, data};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::{output, progress, values};

/// Search for plans of a model over the polynomials of all activations at once, by measured agreement
///
/// The folder holds what was found: `front.json`, a file of forms for every point of the front, from which `fhec compile --forms`
/// makes its plan, and a checkpoint. A search that was interrupted goes on from there when the command is given again.
#[derive(Args)]
pub struct Search {
    /// The model
    #[arg(value_parser = files::input())]
    model: PathBuf,
    /// The folder of the search
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// At least 128 inputs from the training set (.npy or .npz), to which polynomials and weights are fitted
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    calibration: PathBuf,
    /// Inputs on which agreement with the model is measured, from the training set too but not those of calibration; without them
    /// half of these is held back
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    images: Option<PathBuf>,
    /// Plans of a generation; so many of the planner's front are the first one
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = values::population)]
    population: usize,
    /// Generations after the first; with more of them than before a finished search goes on
    #[arg(long, value_name = "N", default_value_t = 10)]
    generations: usize,
    /// Begin no further trial after so many seconds: write the front so far, and go on when the command is given again
    #[arg(long, value_name = "SECONDS", value_parser = values::limit)]
    seconds: Option<f64>,
    /// Plans that agree on fewer inputs, in per cent, are of little interest
    #[arg(long, value_name = "PERCENT", default_value_t = 90.0, value_parser = values::percent)]
    min_agreement: f64,
    /// Seed of everything random: the same one gives the same front
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Threads; one per core by default
    #[arg(long, value_name = "N", value_parser = values::threads)]
    threads: Option<usize>,
    /// Times of this machine, as `fhec calibrate` writes them
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    latency: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct SearchReport<'a> {
    front: String,
    seconds: f64,
    evaluated: usize,
    resumed: usize,
    generations: usize,
    finished: bool,
    images: usize,
    points: &'a [SearchPoint],
    seeds: &'a [SearchPoint],
}

pub fn run(c: &Search) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json)
        .reads("the model", [&c.model])?
        .reads("the calibration data", [&c.calibration])?
        .reads("the images", &c.images)?
        .reads("the profile", &c.latency)?;
    for name in ["checkpoint.json", "front.json"] {
        files.writes_within("--output", &c.output.join(name))?;
    }
    let started = Instant::now();
    let bar = progress::bar("search", 0);
    bar.set_message("reading");
    let model = Model::load(&c.model)?;
    let read = |path: &Path| data::read_samples(path, &model.module.inputs);
    let mut compiler = Compiler::new().calibration(read(c.calibration.as_path())?);
    if let Some(path) = &c.latency {
        compiler = compiler.engine(Engine::new(profile(path)?));
    }
    let options = SearchOptions {
        population: c.population,
        generations: c.generations,
        seconds: c.seconds,
        seed: c.seed,
        min_agreement: c.min_agreement / 100.0,
        images: c.images.as_deref().map(read).transpose()?,
        threads: c.threads.unwrap_or(0),
    };
    let folder = SearchFolder { path: c.output.clone(), start_over: c.overwrite.force };
    bar.set_message("planning");
    let searched = compiler.search(&model, &options, &folder, &mut |p| {
        bar.set_length(p.total as u64);
        bar.set_position(p.done as u64);
        bar.set_message(format!("generation {} of {}", p.generation, c.generations));
    })?;
    bar.finish_and_clear();
    report(c, &searched, started.elapsed().as_secs_f64())
}

fn report(c: &Search, searched: &Searched, seconds: f64) -> Result<(), Error> {
    searched.warnings.iter().for_each(output::warning);
    let Searched { front, evaluated, resumed, generations, finished, .. } = searched;
    let path = c.output.join("front.json").display().to_string();
    if c.json {
        return output::json(&SearchReport {
            front: path,
            seconds,
            evaluated: *evaluated,
            resumed: *resumed,
            generations: *generations,
            finished: *finished,
            images: front.images,
            points: &front.points,
            seeds: &front.seeds,
        });
    }
    let row = |p: &SearchPoint| {
        vec![
            format!("{:.3}", p.seconds),
            format!("{:.2} %", 100.0 * p.agreement),
            p.bootstraps.to_string(),
            p.levels.to_string(),
            p.forms.iter().map(degree).collect::<Vec<_>>().join(" "),
            p.file.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = front.points.iter().map(row).collect();
    output::table(&["predicted seconds", "agreement", "bootstraps", "levels", "degrees", "forms"], &rows);
    say!(
        "\nc: polynomials per channel; agreement with the model on {} inputs that nothing was fitted to",
        front.images
    );
    let again = if *resumed > 0 { format!(", {resumed} of them before") } else { String::new() };
    let over = if *finished { "" } else { ": the time is over, and the same command goes on" };
    let state = format!("{generations} of {} generations{over}", c.generations);
    say!("{path}: {} points of {evaluated} plans{again}, {state}, {}", front.points.len(), output::seconds(seconds));
    Ok(())
}

fn degree(form: &ActivationForm) -> String {
    format!("{}{}", form.degree, if form.is_per_channel() { "c" } else { "" })
}
