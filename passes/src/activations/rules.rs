//! Rules of approximation: what may take the place of an activation, each family of forms with its equation.
//!
//! A new family is a [`Rule`] in [`RULES`]: from the inputs an activation has on calibration data it makes forms, which
//! become e-nodes in the activation's class ([`super::alternatives`]).

use fhec_ir::nn::NnOp;

use super::{ApproximateOptions, Choice, Replacement, Target, composite, fit};
use crate::approx::{ApproxError, CompositeSign, Histogram};

/// A family of forms.
pub(super) struct Rule {
    /// Its name, as explanations print it.
    pub name: &'static str,
    /// The equation; it holds up to the error that a form states.
    pub equation: &'static str,
    /// The forms of the family, as far as they are asked for.
    pub forms: fn(&Site<'_>) -> Result<Vec<Form>, ApproxError>,
}

/// All rules.
pub(super) const RULES: [Rule; 3] = [
    Rule {
        name: "least-squares",
        equation: "f(x) ≈ p(x), p the least-squares polynomial under the calibrated distribution",
        forms: |site| site.polynomials(false),
    },
    Rule {
        name: "least-squares-per-channel",
        equation: "f(x_c) ≈ p_c(x_c), p_c the least-squares polynomial under the calibrated distribution of channel c",
        forms: |site| site.polynomials(true),
    },
    Rule {
        name: "composite-sign",
        equation: "f(x) ≈ x·s(x), s a composite minimax sign with the slopes of f for its values",
        forms: |site| site.composite(),
    },
];

/// Which forms are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Polynomials.
    pub choices: Vec<Choice>,
    /// A composite.
    pub composite: Option<&'static CompositeSign>,
}

/// What a rule looks at: an activation and the inputs it has per channel.
pub(super) struct Site<'a> {
    pub target: Target,
    pub seen: &'a [Histogram],
    pub options: &'a ApproximateOptions,
    pub asked: &'a Asked,
}

/// What may take the place of an activation.
#[derive(Debug)]
pub(super) struct Form {
    /// The polynomial it is; none for a composite.
    pub choice: Option<Choice>,
    /// Levels it takes.
    pub depth: u32,
    /// Polynomials one after the other.
    pub stages: Vec<NnOp>,
    /// Whether the result is the product of what the stages give and the operand.
    pub gated: bool,
    /// What is reported of it; the node's name is set by the pass.
    pub replacement: Replacement,
}

impl Site<'_> {
    fn polynomials(&self, per_channel: bool) -> Result<Vec<Form>, ApproxError> {
        let form = |&choice: &Choice| {
            let fitted = fit(self.target, self.seen, choice, self.options, false)?;
            let (depth, stages) = (fitted.depth(), vec![fitted.op()?]);
            let replacement = fitted.replacement;
            Ok(Form { choice: Some(choice), depth, stages, gated: false, replacement })
        };
        self.asked.choices.iter().filter(|c| c.per_channel == per_channel).map(form).collect()
    }

    fn composite(&self) -> Result<Vec<Form>, ApproxError> {
        let form = |sign| composite::fit(self.target, self.seen, sign, self.options.margin);
        self.asked.composite.map(form).transpose().map(|form| form.into_iter().collect())
    }
}
