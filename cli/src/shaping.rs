//! The options that shape a plan, which `fhec compile` and `fhec opt` have in common.

use std::path::PathBuf;

use clap::Args;
use fhec::ir::Port;
use fhec::passes::approx::{CompositeSign, Margin, PUBLISHED};
use fhec::passes::bootstraps::Strategy;
use fhec::report::profile;
use fhec::{CompileOptions, Compiler, Engine, Error, ResultKind, Sizes, data};

use super::files::{self, Files};
use super::{output, values};

/// What a compiler is told beside the model.
#[derive(Args)]
pub struct Shaping {
    /// Inputs from the training set (.npy or .npz) on which the activations' ranges are measured
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub calibration: Option<PathBuf>,
    /// Without calibration data, guess the ranges of activations from synthetic inputs instead of refusing the model: for trying
    /// what a plan of this shape costs
    #[arg(long, conflicts_with = "calibration")]
    pub guess_ranges: bool,
    /// Degree of all polynomials; without it, and with 128 or more calibration inputs or a limit, they are chosen one by one
    #[arg(long, value_parser = values::degree)]
    pub degree: Option<usize>,
    /// Instead of polynomials, degrees of a composite minimax sign of which every ReLU is made, such as 15,15,27; the weights
    /// stay as they are trained
    #[arg(long, value_name = "DEGREES", value_parser = composite, conflicts_with_all = ["degree", "max_latency", "max_error"])]
    pub composite: Option<&'static CompositeSign>,
    /// Where a network that bootstraps does so; all but the first are for comparison
    #[arg(long, value_enum, default_value_t = PlaceOption::Joint)]
    pub place: PlaceOption,
    /// Keep the trained weights instead of rebuilding each layer against the original network
    #[arg(long)]
    pub no_reconstruct: bool,
    /// Take the most accurate plan that runs in this time; refuse the model where none is predicted to
    #[arg(long, value_name = "SECONDS", value_parser = values::limit)]
    pub max_latency: Option<f64>,
    /// Take the fastest plan whose error (sensitivity times mean square error, summed over activations) is at most this; refuse the
    /// model where none has so small an error
    #[arg(long, value_name = "ERROR", value_parser = values::limit)]
    pub max_error: Option<f64>,
    /// Take the fastest plan that agrees with the network as it was given on so many per cent
    /// of held-back calibration inputs (99 by default), or that agrees most; without a limit of time or error
    #[arg(long, value_name = "PERCENT", value_parser = values::percent)]
    pub min_agreement: Option<f64>,
    /// What the results are, and so what agreement is. Without, rows of several numbers are taken for scores of classes, what a sigmoid
    /// makes for labels, and everything else for values, among it rows that nearly always give the same class or labels
    #[arg(long, value_enum, value_name = "WHAT")]
    pub results: Option<ResultsOption>,
    /// Take a plan whose evaluation keys take at most this, such as 4G: with fewer levels than the fastest has, or refuse the model
    /// with the least that is possible
    #[arg(long, value_name = "BYTES", value_parser = output::parse_bytes)]
    pub max_keys: Option<u64>,
    /// Take a plan that runs in so much memory with its keys and constants in it, as --max-keys does; `--mem` of a run bounds the
    /// memory of any plan, and takes longer
    #[arg(long, value_name = "BYTES", value_parser = output::parse_bytes)]
    pub max_memory: Option<u64>,
    /// Times of this machine, as `fhec calibrate` writes them
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub latency: Option<PathBuf>,
    /// Length of a polynomial's interval over that of the inputs seen in calibration; without, what one input in 100,000 is
    /// expected to reach
    #[arg(long, value_parser = values::margin)]
    pub margin: Option<f64>,
    /// Images in one ciphertext, a power of two: they are computed together, in the time of one where slots are left over
    #[arg(long, value_name = "IMAGES", default_value_t = 1)]
    pub batch: usize,
    /// Bits of precision of the results: six standard deviations of the error that encryption adds to them, simulated on
    /// calibration inputs, stay below 2^-BITS, or the model is refused with the most bits that are possible. Without, they
    /// are estimated to stay below 2^-10, of results beyond 16 in proportion
    #[arg(long, value_name = "BITS", value_parser = values::bits)]
    pub precision: Option<u32>,
}

impl Shaping {
    /// The options of the compiler.
    pub fn options(&self) -> CompileOptions {
        let mut options = CompileOptions::default();
        if let Some(degree) = self.degree {
            options.approximate.default.degree = degree;
            options.uniform = true;
        }
        if let Some(sign) = self.composite {
            options.approximate = options.approximate.with_composite(sign.clone());
        }
        options.plan.strategy = self.place.into();
        options.limits.max_latency_us = self.max_latency.map(|s| s * 1e6);
        options.limits.max_error = self.max_error;
        options.min_agreement = self.min_agreement.map(|percent| percent / 100.0);
        options.results = self.results.map(Into::into);
        options.sizes = Sizes { max_keys: self.max_keys, max_memory: self.max_memory };
        options.guess_ranges = self.guess_ranges;
        options.keep_weights = self.no_reconstruct;
        if let Some(margin) = self.margin {
            options.approximate.margin = Margin::Factor(margin);
        }
        options.plan.batch = self.batch;
        options.precision = self.precision;
        options
    }

    /// A compiler with `options`, which may go beyond [`Shaping::options`], for a network with these inputs.
    ///
    /// # Errors
    /// Calibration data or times that cannot be read.
    pub fn compiler(&self, options: CompileOptions, inputs: &[Port]) -> Result<Compiler, Error> {
        let mut compiler = Compiler::with_options(options);
        if let Some(path) = &self.latency {
            compiler = compiler.engine(Engine::new(profile(path)?));
        }
        if let Some(path) = &self.calibration {
            compiler = compiler.calibration(data::read_samples(path, inputs)?);
        }
        Ok(compiler)
    }

    /// Adds the files that these options name to what a command reads.
    ///
    /// # Errors
    /// As [`Files::reads`].
    pub fn reads(&self, files: Files) -> Result<Files, Error> {
        files.reads("the calibration data", &self.calibration)?.reads("the profile", &self.latency)
    }

    /// Refuses limits where no polynomials are chosen.
    ///
    /// # Errors
    /// The greedy placement with a limit.
    pub fn check(&self, chooses: bool) -> Result<(), Error> {
        if self.place == PlaceOption::Greedy && (self.max_latency.is_some() || self.max_error.is_some() || chooses) {
            let reason = "the greedy placement takes polynomials as they are: it chooses none within limits".into();
            return Err(Error::Usage { reason, repair: "leave the limits out, or take another --place".into() });
        }
        Ok(())
    }
}

/// What results are.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ResultsOption {
    /// Scores of classes: networks agree where the largest is that of the same class
    Classes,
    /// Scores of labels, or of one class against another: networks agree where all are on the same side of zero, or of a half if the
    /// network ends in a sigmoid
    Labels,
    /// Values: networks agree as far as the root mean square of their difference is small beside how much they vary
    Values,
}

impl From<ResultsOption> for ResultKind {
    fn from(results: ResultsOption) -> Self {
        match results {
            ResultsOption::Classes => Self::Classes,
            ResultsOption::Labels => Self::Labels,
            ResultsOption::Values => Self::Values,
        }
    }
}

/// How bootstraps are placed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlaceOption {
    /// Where and to the level that the exact planner finds best, together with the degrees
    Joint,
    /// Before every activation but the first, to the level needed (OLA)
    Layerwise,
    /// Before every activation but the first, to the highest level: a single modulus chain
    Uniform,
    /// Where levels run out, to the highest level (AutoFHE)
    Greedy,
}

impl From<PlaceOption> for Strategy {
    fn from(place: PlaceOption) -> Self {
        match place {
            PlaceOption::Joint => Self::Joint,
            PlaceOption::Layerwise => Self::Layerwise,
            PlaceOption::Uniform => Self::Uniform,
            PlaceOption::Greedy => Self::Greedy,
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
