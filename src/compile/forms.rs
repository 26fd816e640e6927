//! The forms of all activations of a model in a file, from which the same plan is compiled again.

use std::path::Path;
use std::sync::Arc;

use fhec_ir::{Entity, Module, Nn, Node, Tensor, Value};
use fhec_passes::activations::{ApproximateOptions, Choices};
use fhec_passes::approx::Choice;
use fhec_passes::approx::families::LeastSquares;
use fhec_passes::bootstraps::offer::{Decision, Offer, Request};
use fhec_passes::planner::Limits;
use serde::{Deserialize, Serialize};

use super::choose::{Chosen, in_terms_of};
use super::{Compiler, Model};
use crate::error::Error;

/// What tells such a file from other JSON.
const FORMAT: &str = "fhec forms";
/// The version of the form of the file.
const VERSION: u32 = 1;

/// The polynomials of all activations of a model: what `fhec search` writes for every point of its front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forms {
    format: String,
    version: u32,
    /// blake3 of the model's file, in hexadecimal.
    pub model_digest: String,
    /// The form of every activation, in the order in which they are computed.
    pub forms: Vec<ActivationForm>,
}

/// The form of one activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationForm {
    /// Name of the ONNX node.
    pub node: String,
    /// The family of approximations.
    pub family: Arc<str>,
    /// Degree of the polynomial.
    pub degree: usize,
}

impl ActivationForm {
    /// What becomes of the activation.
    pub fn choice(&self) -> Choice {
        Choice { family: self.family.clone(), degree: self.degree }
    }

    /// Whether every channel has a polynomial of its own.
    pub fn is_per_channel(&self) -> bool {
        *self.family == *LeastSquares::PER_CHANNEL
    }
}

impl Forms {
    /// The forms of a model's activations.
    pub(super) fn new(model_digest: String, forms: Vec<ActivationForm>) -> Self {
        Self { format: FORMAT.into(), version: VERSION, model_digest, forms }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = path.as_ref().display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { file: file.clone(), source })?;
        let refused = |reason: String| Error::Usage {
            reason: format!("{file}: {reason}"),
            repair: "give a file of forms that `fhec search` of this version wrote".into(),
        };
        let forms: Self = serde_json::from_str(&text).map_err(|e| refused(format!("it holds no forms: {e}")))?;
        match (forms.format.as_str(), forms.version) {
            (FORMAT, VERSION) => Ok(forms),
            (FORMAT, version) => {
                Err(refused(format!("its forms are of version {version}, this program knows {VERSION}")))
            }
            (other, _) => Err(refused(format!("its format is `{other}`, not `{FORMAT}`"))),
        }
    }

    /// As the file has it.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Refuses forms of another model.
    pub(super) fn check(&self, model: &Model) -> Result<(), Error> {
        if self.model_digest == model.digest {
            return Ok(());
        }
        let [theirs, ours] = [&self.model_digest, &model.digest].map(|d| d.get(..16).unwrap_or(d));
        Err(Error::Usage {
            reason: format!("the forms are of another model: of {theirs}…, not of {ours}…"),
            repair: "give the model that was searched, or search this one".into(),
        })
    }

    /// The forms by the activation of `folded`.
    fn choices(&self, folded: &Module<Nn>) -> Result<Choices, Error> {
        let names = || activations(folded).map(|(_, node)| node.loc.name());
        if !self.forms.iter().map(|form| form.node.as_str()).eq(names()) {
            let names: Vec<String> = names().map(|name| format!("`{name}`")).collect();
            return Err(Error::Usage {
                reason: format!(
                    "the forms are not those of the activations of this network, in this order: {}",
                    if names.is_empty() { "it has none".into() } else { names.join(", ") }
                ),
                repair: "give each activation one form, under the name of its node".into(),
            });
        }
        Ok(activations(folded).map(|(v, _)| v).zip(self.forms.iter().map(ActivationForm::choice)).collect())
    }
}

/// The activations of a network that become polynomials, in order of definition.
pub(super) fn activations(folded: &Module<Nn>) -> impl Iterator<Item = (Value, &Node<Nn>)> {
    let live = folded.func.live();
    folded.func.iter().filter(move |(v, node)| live[v.index()] && node.op.is_function())
}

/// Limits that any plan keeps, within which the fastest is taken.
pub(super) fn fastest() -> Limits {
    Limits { max_error: Some(f64::MAX), ..Limits::default() }
}

impl Compiler {
    /// The given forms, and the fastest plan that has them.
    pub(super) fn with_forms(
        &self,
        forms: &Forms,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: &ApproximateOptions,
    ) -> Result<Chosen, Error> {
        let choices = forms.choices(folded)?;
        let (network, given) = self.offered_network(folded, samples)?;
        let plan = self.asked_of_plans(samples);
        let offer = Offer::new(&network, Request { samples, approximate, plan: &plan })?;
        for (moved, offered) in offer.offered() {
            let choice = given.get(&moved).and_then(|v| Some((v, choices.get(v)?)));
            let Some((v, choice)) = choice.filter(|(_, choice)| offered.iter().all(|form| form.choice != **choice))
            else {
                continue;
            };
            let known: Vec<String> =
                offered.iter().map(|form| format!("{} {}", form.choice.family, form.choice.degree)).collect();
            let node = folded.func.node(*v).loc.name();
            return Err(Error::Usage {
                reason: format!("activation `{node}` has no form `{} {}`", choice.family, choice.degree),
                repair: format!("it has {}", known.join(", ")),
            });
        }
        let admits = |v: Value, choice: &Choice| given.get(&v).and_then(|v| choices.get(v)) == Some(choice);
        let found = offer.choose_among(&*self.engine, &fastest(), |v, form| admits(v, &form.choice))?;
        let Decision { placed, bootstraps, .. } = in_terms_of(&given, found);
        Ok(Chosen { choices, placed: bootstraps.then_some(placed), forms: offer.forms(), ..Chosen::default() })
    }
}
