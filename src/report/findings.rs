//! Findings are what the passes reported when the plan was compiled, as the plan carries it. Every part may be absent,
//! since plans of other versions, or compiled by hand, say less.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of an activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// The model's node.
    pub node: String,
    /// The function that the polynomial replaces.
    #[serde(default)]
    pub function: String,
    /// Degree of the polynomial.
    pub degree: u64,
    /// Degrees of the stages of a composite; none for a polynomial.
    #[serde(default)]
    pub stages: Vec<u64>,
    /// Where the polynomial holds.
    #[serde(default)]
    pub interval: Option<(f64, f64)>,
    /// Smallest and largest input on the calibration data.
    #[serde(default)]
    pub seen: Option<(f64, f64)>,
    /// Root mean square error under the calibrated distribution.
    #[serde(default)]
    pub rms_error: Option<f64>,
    /// Largest error on the interval.
    #[serde(default)]
    pub max_error: Option<f64>,
    /// Largest magnitude just outside of the interval, over that of the function on the interval and there.
    #[serde(default)]
    pub growth: Option<f64>,
    /// Channels that have a polynomial each; one for all of them otherwise.
    #[serde(default)]
    pub channels: Option<u64>,
}

/// What reconstruction did to a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconstruction {
    /// The model's node.
    pub node: String,
    /// Mean square error of its output against the original network, before.
    pub mse_before: f64,
    /// After.
    pub mse_after: f64,
}

/// A bootstrap that the planner placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The model's node before which it is.
    pub node: String,
    /// Level of its input.
    #[serde(default)]
    pub from: Option<u64>,
    /// Level of its result.
    #[serde(default)]
    pub to: Option<u64>,
    /// Predicted seconds.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// Where two branches meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// The model's node.
    pub node: String,
    /// Level of the main branch.
    pub main: u64,
    /// Level of the skip connection.
    pub skip: u64,
    /// Level at which they meet.
    pub level: u64,
    /// Which branch paid for the difference, and why.
    #[serde(default)]
    pub paid: Option<Value>,
}

/// One choice between time and error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParetoPoint {
    /// Predicted seconds per run.
    pub seconds: f64,
    /// The surrogate of the loss of accuracy.
    pub error: f64,
    /// Bootstraps.
    #[serde(default)]
    pub bootstraps: Option<u64>,
    /// Share of right answers in simulation, where measured.
    #[serde(default)]
    pub accuracy: Option<f64>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Activations, in program order.
    pub activations: Vec<Activation>,
    /// Reconstructed layers.
    pub layers: Vec<Reconstruction>,
    /// Bootstraps.
    pub bootstraps: Vec<Bootstrap>,
    /// Joins.
    pub joins: Vec<Join>,
    /// The Pareto front, fastest first.
    pub pareto: Vec<ParetoPoint>,
    /// Remarks.
    pub notes: Vec<String>,
    /// What the user should change.
    pub warnings: Vec<String>,
    /// Parts that are there and cannot be read.
    pub unreadable: Vec<String>,
}

impl Findings {
    /// The findings in a plan's report.
    pub fn of(report: Option<&Value>) -> Self {
        let mut unreadable = Vec::new();
        let mut out = Self {
            activations: section(report, "activations", &mut unreadable),
            layers: section(report, "layers", &mut unreadable),
            bootstraps: section(report, "bootstraps", &mut unreadable),
            joins: section(report, "joins", &mut unreadable),
            pareto: section(report, "pareto", &mut unreadable),
            notes: section(report, "notes", &mut unreadable),
            warnings: section(report, "warnings", &mut unreadable),
            unreadable,
        };
        out.pareto.retain(|p| p.seconds.is_finite() && p.error.is_finite());
        out.pareto.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        out
    }
}

fn section<T: DeserializeOwned>(report: Option<&Value>, name: &str, unreadable: &mut Vec<String>) -> Vec<T> {
    match report.and_then(|r| r.get(name)) {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => Vec::deserialize(value).unwrap_or_else(|_| {
            unreadable.push(name.into());
            Vec::new()
        }),
    }
}
