//! What a run line asks for.

use std::collections::BTreeMap;

use fhec::passes::approx::Margin;
use fhec::passes::bootstraps::Strategy;
use fhec::passes::registry::PassContext;
use fhec_ir::{Shape, Tensor};

use super::fill::Numbers;

/// A run line: passes separated by commas, then options `key=value` separated by blanks.
pub struct Options {
    pub passes: Vec<String>,
    values: BTreeMap<String, String>,
}

/// The options there are.
const KNOWN: &[&str] = &[
    "batch",
    "calibration",
    "degree",
    "fill",
    "input_bound",
    "insecure",
    "log_n",
    "margin",
    "max_error",
    "place",
    "precision",
    "scale_bits",
    "show",
    "slots",
];

impl Options {
    pub fn read(name: &str, run: &str) -> Self {
        let (values, passes): (Vec<&str>, Vec<&str>) = run.split_whitespace().partition(|word| word.contains('='));
        let passes = passes.concat();
        let values = values.into_iter().filter_map(|word| word.split_once('='));
        let values: BTreeMap<String, String> = values.map(|(k, v)| (k.to_string(), v.to_string())).collect();
        for key in values.keys() {
            assert!(
                KNOWN.contains(&key.as_str()),
                "{name}: there is no option `{key}`; there are {}",
                KNOWN.join(", ")
            );
        }
        Self { passes: passes.split(',').filter(|p| !p.is_empty()).map(str::to_string).collect(), values }
    }

    fn get<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        let value = self.values.get(key)?;
        Some(value.parse().unwrap_or_else(|_| panic!("`{key}={value}` is not understood")))
    }

    /// What is shown, by default the program.
    pub fn shows(&self) -> Vec<&str> {
        self.values.get("show").map_or(vec!["program"], |show| show.split('+').collect())
    }

    /// The options that passes read, as text: what is shown is no such option.
    pub fn of_passes(&self) -> String {
        let read = self.values.iter().filter(|(key, _)| *key != "show");
        read.map(|(key, value)| format!("{key}={value} ")).collect()
    }

    /// Seed of the elements of constants named `w…` and `pos…`, where these are to be random.
    pub fn fill(&self) -> Option<u64> {
        self.get("fill")
    }

    /// Tells the passes.
    pub fn tell(&self, context: &mut PassContext<'_>) {
        if let Some(degree) = self.get("degree") {
            context.approximate.default.degree = degree;
        }
        if let Some(margin) = self.get("margin") {
            context.approximate.margin = Margin::Factor(margin);
        }
        if let Some(slots) = self.get("slots") {
            context.slots = slots;
        }
        if let Some(batch) = self.get("batch") {
            context.plan.batch = batch;
        }
        if let Some(bits) = self.get("precision") {
            context.plan.params.precision = fhec::passes::parameters::Precision::Absolute(bits);
        }
        if let Some(bound) = self.get("input_bound") {
            context.plan.params.input_bound = bound;
        }
        context.plan.params.log_n = self.get("log_n");
        context.plan.params.scale_bits = self.get("scale_bits");
        context.plan.params.insecure = self.get("insecure").unwrap_or(false);
        context.limits.max_error = self.get("max_error");
        context.plan.strategy = match self.values.get("place").map(String::as_str) {
            None | Some("joint") => Strategy::Joint,
            Some("layerwise") => Strategy::Layerwise,
            Some("uniform") => Strategy::Uniform,
            Some("greedy") => Strategy::Greedy,
            Some(other) => panic!("there is no placement `{other}`"),
        };
    }

    /// The calibration data: `normal(seed=1,count=64,sd=1)` or `uniform(seed=1,count=64,lo=-1,hi=1)`.
    pub fn samples(&self, shapes: &[Shape]) -> Vec<Vec<Tensor>> {
        let Some(given) = self.values.get("calibration") else { return Vec::new() };
        let misread = || -> ! { panic!("`calibration={given}` is not understood") };
        let (kind, rest) = given.split_once('(').unwrap_or_else(|| misread());
        let fields: BTreeMap<&str, f64> = rest
            .trim_end_matches(')')
            .split(',')
            .filter_map(|field| field.split_once('='))
            .map(|(key, value): (&str, &str)| (key, value.parse().unwrap_or_else(|_| misread())))
            .collect();
        let field = |key: &str, or: f64| fields.get(key).copied().unwrap_or(or);
        let mut numbers = Numbers::new(field("seed", 1.0) as u64);
        let (sd, lo, hi) = (field("sd", 1.0), field("lo", -1.0), field("hi", 1.0));
        let mut element = || match kind {
            "normal" => sd * normal(&mut numbers),
            "uniform" => lo + (hi - lo) * numbers.uniform(),
            _ => misread(),
        };
        let mut tensor =
            |shape: &Shape| Tensor::new(shape.clone(), (0..shape.len()).map(|_| element() as f32).collect::<Vec<_>>());
        (0..field("count", 64.0) as usize).map(|_| shapes.iter().map(&mut tensor).collect()).collect()
    }
}

/// Of mean 0 and variance 1: twelve uniform numbers less 6, which asks nothing of the mathematics library.
fn normal(numbers: &mut Numbers) -> f64 {
    (0..12).map(|_| numbers.uniform()).sum::<f64>() - 6.0
}
