//! What is trained before it is compiled: a network with other skips and activations, and a recipe for its training.
//!
//! The student computes with the weights of the model as it was given, where it has them still. Its activations stay as
//! they are: training moves from them to the polynomials that the [`Recipe`] states. `docs/recipe.md` says what a
//! training program reads.

mod recipe;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use fhec_frontend::Exported;
use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, Tensor, Value};
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions, Approximated};
use fhec_passes::approx::Choice;
use fhec_passes::pipeline::PlanOptions;
use fhec_passes::prune::prune;
use fhec_passes::skips::{self, Block, Converted, ConvertedJoin, DepthRow, SkipForm, SkipPricer};
use fhec_passes::target::Target;

pub use fhec_passes::prune::NetworkCost;
pub use recipe::{
    FORMAT, Fitted, Recipe, RecipeActivation, RecipeDirac, RecipeGroup, RecipeJoin, RecipeMask, RecipeMatch,
    RecipePolynomial, RecipePowers, VERSION,
};
pub use weights::Pruned;

use crate::compile::Model;
use crate::error::Error;

/// The degrees of activations of one to four levels, for tables of what skips cost.
pub const DEGREES: [usize; 4] = [2, 3, 7, 15];

/// What becomes of the skips of residual blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skips {
    /// They stay.
    #[default]
    Keep,
    /// All that can go into Dirac kernels.
    Dirac,
    /// All that can add the first tensor of their stage instead.
    Shared,
    /// Those that cost something become what costs least.
    Auto,
}

/// What is to be trained.
#[derive(Clone, Debug, Default)]
pub struct PrepareOptions {
    /// What becomes of skips.
    pub skips: Skips,
    /// What activations become in training.
    pub activations: Activations,
    /// The nodes whose activations stay all the same.
    pub keep: Vec<String>,
    /// The share of the predicted time of linear transforms that zeros among the weights are to save.
    pub prune: Option<f64>,
    /// Weights become 0 or ±2^k in training, of so many neighbouring k.
    pub powers_of_two: Option<u32>,
}

/// What activations become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// They stay.
    #[default]
    Keep,
    /// Polynomials of this degree per channel, which are trained.
    Degree(usize),
    /// Quadratics whose coefficients are powers of two, which are not trained.
    PowerOfTwo,
}

impl Activations {
    /// The degree, of polynomials.
    pub fn degree(self) -> Option<usize> {
        match self {
            Self::Keep => None,
            Self::Degree(degree) => Some(degree),
            Self::PowerOfTwo => Some(2),
        }
    }
}

/// A network to be trained.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The network, as an ONNX file.
    pub student: Vec<u8>,
    /// What training must respect.
    pub recipe: Recipe,
    /// The decisions of [`Skips::Auto`], with what they rest on.
    pub decisions: Vec<ConvertedJoin>,
    /// What the masks save, where there are some.
    pub pruned: Option<Pruned>,
}

/// The forms of a model's skips and what each costs, before any training.
///
/// # Errors
/// A model that cannot be packed or planned.
pub fn skip_table(model: &Model, degrees: &[usize], target: &dyn Target) -> Result<Vec<DepthRow>, Error> {
    let (blocks, options) = (skips::blocks(&model.module), PlanOptions::default());
    Ok(SkipPricer::new(&model.module, &blocks, target, &options).table(degrees)?)
}

/// The student of `model`, and its recipe; polynomials start at fits to `samples`, where there are some. Costs are
/// those of `target`.
///
/// # Errors
/// A model that cannot be planned, with [`Skips::Auto`] or where it is pruned; one that does not run on the samples or is too
/// large for a file; Dirac kernels whose weights would be pruned or become powers of two; an activation that no quadratic
/// of powers of two resembles; a node to keep that is no activation, or where all stay.
pub fn prepare(
    model: &Model,
    options: &PrepareOptions,
    samples: Option<&[Vec<Tensor>]>,
    target: &dyn Target,
) -> Result<Prepared, Error> {
    let _span = tracing::debug_span!("prepare").entered();
    let teacher = &model.module;
    let blocks = skips::blocks(teacher);
    let mut decisions = Vec::new();
    let forms: Vec<SkipForm> = match options.skips {
        Skips::Keep => vec![SkipForm::Residual; blocks.len()],
        Skips::Dirac => blocks.iter().map(|block| block.nearest(SkipForm::Dirac)).collect(),
        Skips::Shared => blocks.iter().map(|block| block.nearest(SkipForm::Shared)).collect(),
        Skips::Auto => {
            let plan = PlanOptions::default();
            // Activations that stay become polynomials when the network is compiled, of the default degree.
            let degree = options.activations.degree().unwrap_or(default_degree());
            decisions = SkipPricer::new(teacher, &blocks, target, &plan).automatic(degree)?;
            decisions.iter().map(|decision| decision.form).collect()
        }
    };
    let converted = skips::convert(teacher, &blocks, &forms)?;
    let exported = fhec_frontend::export_model(&converted.module)?;
    let student = exported.encode()?;
    let degree = options.activations.degree();
    let replaced = replaced(&converted.module, options)?;
    let mut fits = match (degree, samples) {
        (Some(degree), Some(samples)) => fits(&converted.module, samples, degree)?,
        _ => BTreeMap::new(),
    };
    if options.activations == Activations::PowerOfTwo {
        fits = weights::power_of_two_quadratics(&converted.module, &replaced, &fits)?;
    }
    if !converted.dirac.is_empty() && (options.prune.is_some() || options.powers_of_two.is_some()) {
        let reason = "the weights of Dirac kernels are neither pruned nor made powers of two".into();
        return Err(Error::Usage { reason, repair: "keep the skips, or leave out --prune and --powers-of-two".into() });
    }
    let namer = Namer { teacher, converted: &converted, exported: &exported };
    let (masks, pruned) = match options.prune {
        Some(share) => {
            let pruning = prune(&converted.module, share, degree.unwrap_or(default_degree()), target)?;
            (namer.masks(&pruning), Some(Pruned::of(&pruning, &converted.module)))
        }
        None => (Vec::new(), None),
    };
    let recipe = Recipe {
        format: FORMAT.into(),
        version: VERSION,
        teacher_digest: model.digest.clone(),
        student_digest: blake3::hash(&student).to_hex().to_string(),
        joins: joins(&blocks, &forms),
        dirac: namer.dirac(),
        activations: namer.activations(options.activations, &replaced, &fits),
        matches: namer.matches(),
        masks,
        powers_of_two: options.powers_of_two.map(|count| namer.powers_of_two(count)).unwrap_or_default(),
    };
    Ok(Prepared { student, recipe, decisions, pruned })
}

/// The degree of activations that stay, once the network is compiled.
fn default_degree() -> usize {
    ApproximateOptions::default().default.degree
}

/// The activations of a network that results need: each with its operand, its node and its function.
fn live_activations(module: &Module<Nn>) -> impl Iterator<Item = (Value, Value, &str, &str)> {
    let live = module.func.live();
    module.func.iter().filter(move |(v, _)| live[v.index()]).filter_map(|(v, node)| match &node.op {
        NnOp::Activation { function, .. } => Some((v, node.operands[0], node.loc.name(), function.name())),
        _ => None,
    })
}

/// The activations that become polynomials.
fn replaced(student: &Module<Nn>, options: &PrepareOptions) -> Result<BTreeSet<Value>, Error> {
    if options.activations == Activations::Keep {
        if options.keep.is_empty() {
            return Ok(BTreeSet::new());
        }
        let (reason, repair) =
            ("nodes are named whose activations stay, and all stay", "name none, or say what the others become");
        return Err(Error::Usage { reason: reason.into(), repair: repair.into() });
    }
    let nodes: Vec<&str> = live_activations(student).map(|(_, _, node, _)| node).collect();
    if let Some(foreign) = options.keep.iter().find(|name| !nodes.contains(&name.as_str())) {
        let reason = format!("`{foreign}` is to stay, and is no activation of the student");
        return Err(Error::Usage { reason, repair: format!("name some of these: {}", nodes.join(", ")) });
    }
    let stays = |node: &str| options.keep.iter().any(|name| name == node);
    Ok(live_activations(student).filter(|(_, _, node, _)| !stays(node)).map(|(v, ..)| v).collect())
}

/// The polynomials per channel of every activation, by its value, and the inputs seen there.
fn fits(student: &Module<Nn>, samples: &[Vec<Tensor>], degree: usize) -> Result<BTreeMap<Value, Fitted>, Error> {
    let default = Choice::least_squares_per_channel(degree);
    let options = ApproximateOptions { default, ..ApproximateOptions::default() };
    let Approximated { module, polynomials, .. } = ApproximateActivations::calibrated(student, samples, options)?;
    let fitted = |(activation, stages): (&Value, &Vec<Value>)| {
        let NnOp::Polynomial { basis, lo, hi, rows, coeffs } = &module.func.node(*stages.first()?).op else {
            return None;
        };
        let width = coeffs.len() / (*rows).max(1) as usize;
        let coefficients = coeffs.chunks(width).map(|row| row.iter().map(|c| c.0).collect()).collect();
        Some((*activation, Fitted { basis: basis.to_string(), interval: [lo.0, hi.0], coefficients }))
    };
    Ok(polynomials.iter().filter_map(fitted).collect())
}

fn joins(blocks: &[Block], forms: &[SkipForm]) -> Vec<RecipeJoin> {
    let join = |(block, form): (&Block, &SkipForm)| RecipeJoin { join: block.name.clone(), form: *form };
    blocks.iter().zip(forms).map(join).collect()
}

/// What the values of the student are called in its file, and in that of the teacher.
struct Namer<'a> {
    teacher: &'a Module<Nn>,
    converted: &'a Converted,
    exported: &'a Exported,
}

impl Namer<'_> {
    fn name(&self, value: Value) -> String {
        self.exported.name(value).unwrap_or_default().to_string()
    }

    fn dirac(&self) -> Vec<RecipeDirac> {
        let module = &self.converted.module;
        let conv = |conv: &skips::DiracConv| {
            let node = module.func.node(conv.conv);
            RecipeDirac {
                node: node.loc.name().into(),
                output: self.name(conv.conv),
                weight: self.name(node.operands[1]),
                tap: conv.tap,
                a: conv.a.clone(),
                b: conv.b.clone(),
            }
        };
        self.converted.dirac.iter().map(conv).collect()
    }

    fn activations(
        &self,
        form: Activations,
        replaced: &BTreeSet<Value>,
        fits: &BTreeMap<Value, Fitted>,
    ) -> Vec<RecipeActivation> {
        let module = &self.converted.module;
        let Some(degree) = form.degree() else { return Vec::new() };
        let trained = form != Activations::PowerOfTwo;
        let activation = |(v, operand, node, function): (Value, Value, &str, &str)| {
            let axis = (trained && module.func.ty(v).0.rank() > 1).then_some(1);
            RecipeActivation {
                node: node.into(),
                input: self.name(operand),
                output: self.name(v),
                function: function.into(),
                polynomial: RecipePolynomial { degree, axis, start: fits.get(&v).cloned(), trained },
            }
        };
        live_activations(module).filter(|(v, ..)| replaced.contains(v)).map(activation).collect()
    }

    /// The operands of activations that both networks have.
    fn matches(&self) -> Vec<RecipeMatch> {
        let matched = |(v, _, node, _): (Value, Value, &str, &str)| {
            let twin = *self.converted.values.get(&v)?;
            let operand = *self.converted.module.func.node(twin).operands.first()?;
            Some(RecipeMatch { student: self.name(operand), teacher_node: node.into() })
        };
        live_activations(self.teacher).filter_map(matched).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Engine;

    #[test]
    fn nodes_whose_activations_stay_are_named_only_where_others_do_not() {
        let model = Model::load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/mnist_mlp.onnx")).unwrap();
        let options = PrepareOptions { keep: vec!["relu1".into()], ..PrepareOptions::default() };
        let refused = prepare(&model, &options, None, &Engine::default()).unwrap_err().to_string();
        assert!(refused.contains("all stay"), "{refused}");
        let options = PrepareOptions { activations: Activations::Degree(2), ..options };
        let prepared = prepare(&model, &options, None, &Engine::default()).unwrap();
        assert_eq!(prepared.recipe.activations.len(), 1);
    }
}
