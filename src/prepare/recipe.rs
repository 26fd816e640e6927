//! The recipe: what training must respect, as JSON. `docs/recipe.md` describes it.

use fhec_passes::skips::SkipForm;
use serde::{Deserialize, Serialize};

/// What tells a recipe from other JSON.
pub const FORMAT: &str = "fhec recipe";
/// The version of the form of recipes.
pub const VERSION: u32 = 2;

/// What the training of a student must respect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// blake3 of the teacher's file, in hexadecimal.
    pub teacher_digest: String,
    /// blake3 of the student's file.
    pub student_digest: String,
    /// The joins of residual blocks, and what became of each.
    pub joins: Vec<RecipeJoin>,
    /// Convolutions with Dirac kernels.
    pub dirac: Vec<RecipeDirac>,
    /// The activations that become polynomials; none where they stay.
    pub activations: Vec<RecipeActivation>,
    /// Tensors that correspond to tensors of the teacher.
    pub matches: Vec<RecipeMatch>,
    /// Weights of which groups become zero; version 1 has none.
    #[serde(default)]
    pub masks: Vec<RecipeMask>,
    /// Weights that become powers of two; version 1 has none.
    #[serde(default)]
    pub powers_of_two: Vec<RecipePowers>,
}

/// A join of a residual block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeJoin {
    /// The teacher's node.
    pub join: String,
    /// What became of it.
    pub form: SkipForm,
}

/// A convolution whose weights are `diag(a)·δ + diag(b)·W/‖W‖`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeDirac {
    /// The student's node.
    pub node: String,
    /// Its result.
    pub output: String,
    /// The initialiser that holds the weights.
    pub weight: String,
    /// Where δ is 1, flat over the kernel's spatial dimensions.
    pub tap: usize,
    /// One element per filter; without weight decay.
    pub a: Vec<f32>,
    /// One element per filter; without weight decay.
    pub b: Vec<f32>,
}

/// An activation that becomes a polynomial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeActivation {
    /// The student's node.
    pub node: String,
    /// Its operand.
    pub input: String,
    /// Its result.
    pub output: String,
    /// What it computes before training.
    pub function: String,
    /// What it becomes.
    pub polynomial: RecipePolynomial,
}

/// A polynomial that is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipePolynomial {
    /// Its degree.
    pub degree: usize,
    /// The dimension of channels, each with coefficients of its own; `null` where there are none.
    pub axis: Option<usize>,
    /// Where it starts; `null` without calibration data.
    pub start: Option<Fitted>,
    /// Whether its coefficients are trained; those that are not are powers of two. Version 1 trains all.
    #[serde(default = "trained")]
    pub trained: bool,
}

fn trained() -> bool {
    true
}

/// A least-squares fit to the activation on calibration data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// `chebyshev`, on the interval mapped to [-1, 1], or `monomial`.
    pub basis: String,
    /// Where the operands of all channels lie.
    pub interval: [f64; 2],
    /// One row per channel, or a single one; lowest first.
    pub coefficients: Vec<Vec<f64>>,
}

/// An initialiser of which groups of elements become zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeMask {
    /// The initialiser.
    pub weight: String,
    /// Groups of its elements; they may overlap.
    pub groups: Vec<RecipeGroup>,
}

/// Weights whose zeros together save a rotation or a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeGroup {
    /// Their places in the flattened initialiser.
    pub elements: Vec<u32>,
    /// Predicted seconds that their zeros save.
    pub seconds: f64,
    /// Whether they are zeros at the start of training.
    pub masked: bool,
}

/// An initialiser whose elements become 0 or ±2^k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipePowers {
    /// The initialiser.
    pub weight: String,
    /// The least k.
    pub lowest: i32,
    /// The largest k.
    pub highest: i32,
}

/// A tensor of the student and the operand of an activation of the teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeMatch {
    /// The student's tensor.
    pub student: String,
    /// The teacher's node, of which it is the first operand.
    pub teacher_node: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_come_back_from_json() {
        let recipe = Recipe {
            format: FORMAT.into(),
            version: VERSION,
            teacher_digest: "00".into(),
            student_digest: "01".into(),
            joins: vec![RecipeJoin { join: "add".into(), form: SkipForm::Shared }],
            dirac: Vec::new(),
            activations: Vec::new(),
            matches: vec![RecipeMatch { student: "conv".into(), teacher_node: "relu".into() }],
            masks: vec![RecipeMask {
                weight: "w".into(),
                groups: vec![RecipeGroup { elements: vec![0, 3], seconds: 0.25, masked: true }],
            }],
            powers_of_two: vec![RecipePowers { weight: "w".into(), lowest: -7, highest: 0 }],
        };
        let json = serde_json::to_string(&recipe).unwrap();
        assert!(json.contains("\"form\":\"shared\""), "{json}");
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
        assert!(serde_json::from_str::<Recipe>(&json.replace("\"dirac\"", "\"direc\"")).is_err());
    }

    #[test]
    fn recipes_of_version_1_are_read() {
        let json = r#"{"format": "fhec recipe", "version": 1, "teacher_digest": "00", "student_digest": "01", "joins": [],
            "dirac": [], "matches": [], "activations": [{"node": "a", "input": "x", "output": "y", "function": "relu",
            "polynomial": {"degree": 2, "axis": 1, "start": null}}]}"#;
        let recipe: Recipe = serde_json::from_str(json).unwrap();
        assert!(recipe.activations[0].polynomial.trained && recipe.masks.is_empty() && recipe.powers_of_two.is_empty());
    }
}
