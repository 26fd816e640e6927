//! Findings are what the passes reported when the plan was compiled, as the plan carries it. Every part may be absent,
//! since plans of other versions, or compiled by hand, say less.

use std::collections::BTreeMap;

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
    /// The highest level of its program.
    #[serde(default, skip_serializing)]
    pub levels: Option<u64>,
    /// The polynomial of every activation, by node.
    #[serde(default, skip_serializing)]
    pub choices: BTreeMap<String, Choice>,
}

/// The polynomial of an activation in a point of a front.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Choice {
    /// Its degree.
    pub degree: u64,
}

/// How often the network with polynomials names the class of the network as it was given, on calibration inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The share that was aimed at.
    pub asked: f64,
    /// The share that was measured.
    pub measured: f64,
    /// Calibration inputs it was measured on.
    pub inputs: u64,
    /// Whether polynomials and weights were fitted without these inputs.
    #[serde(default)]
    pub held_back: bool,
    /// What the output that agrees least is taken for: `classes` or `values`; older reports do not say.
    #[serde(default)]
    pub of: Option<String>,
}

/// Shares of validation inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Those that the network as given classifies as labelled.
    pub original: f64,
    /// Those that the network with polynomials does.
    pub polynomial: f64,
    /// Those for which both name the same class.
    #[serde(default)]
    pub agreement: Option<f64>,
    /// How many have a result that is not finite or far from that of the network as given.
    #[serde(default)]
    pub destroyed: Option<u64>,
    /// How far from the centre of its interval, in half widths, the operand of a polynomial went.
    #[serde(default)]
    pub furthest: Option<f64>,
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
    /// Agreement on calibration inputs.
    pub agreement: Option<Agreement>,
    /// Accuracy on validation inputs.
    pub accuracy: Option<Accuracy>,
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
            agreement: part(report, "agreement", &mut unreadable),
            accuracy: part(report, "accuracy", &mut unreadable),
            notes: section(report, "notes", &mut unreadable),
            warnings: section(report, "warnings", &mut unreadable),
            unreadable,
        };
        let front = std::mem::take(&mut out.pareto);
        out.set_front(front);
        out
    }

    /// Takes these points as the front.
    pub(super) fn set_front(&mut self, mut front: Vec<ParetoPoint>) {
        front.retain(|p| p.seconds.is_finite() && p.error.is_finite());
        front.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        self.pareto = front;
    }

    /// The index of the activation at a node; after fusion a node's name is several, joined.
    pub(super) fn activation_of(&self, name: &str) -> Option<usize> {
        self.activations.iter().position(|a| a.node == name || name.split('+').any(|part| part == a.node))
    }

    /// The index of the point of the front whose polynomials have the degrees of this plan's.
    pub(super) fn front_plan(&self) -> Option<usize> {
        let same = |point: &ParetoPoint| {
            let degree = |a: &Activation| point.choices.get(&a.node).map(|choice| choice.degree);
            !point.choices.is_empty() && self.activations.iter().all(|a| degree(a) == Some(a.degree))
        };
        self.pareto.iter().position(same)
    }
}

fn part<T: DeserializeOwned>(report: Option<&Value>, name: &str, unreadable: &mut Vec<String>) -> Option<T> {
    let value = report.and_then(|r| r.get(name)).filter(|value| !value.is_null())?;
    T::deserialize(value).inspect_err(|_| unreadable.push(name.into())).ok()
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
