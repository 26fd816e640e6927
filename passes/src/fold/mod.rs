//! `fold`: canonicalise and fold an `nn` function by equality saturation.
//!
//! The function goes into an e-graph; the rules add everything equal to it that they know: batch normalisation as a scale
//! and a shift, scales taken in by convolutions and matrix products on either side, or passed through ReLU and pooling to
//! where they can be; shifts collected; skip connections as part of a kernel; activations recognised. Ops over constants
//! are computed. What comes out is the term with the fewest multiplicative levels, then products, shared nodes counted
//! once.
//!
//! Rules are equations, so their order does not matter and nothing is lost by applying one; limits on rounds, nodes and
//! bytes bound the work, and whatever is there by then is a correct function. The same module gives the same result.

#[cfg(test)]
mod chains;
mod cost;
mod explain;
mod graph;
mod rule;
mod rules;
mod saturate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use egg::{EGraph, Id};
use fhec_ir::egraph::{self, Choice};
use fhec_ir::nn::NnOp;
use fhec_ir::{ConstId, ConstPool, Entity, Module, Nn};

pub use explain::{Explanation, Link, Rewritten};

use crate::{Issue, Pass, PassError};
use explain::Justifier;
use graph::{ClassFacts, NnNode};
pub use rule::{Condition, Rule};
pub use saturate::{Bound, FoldCost, RuleCost};
use saturate::{Limits, saturate};

const NAME: &str = "fold";

/// The names of all rewrite rules, as explanations print them; several rules may share one.
pub fn rule_names() -> Vec<&'static str> {
    rules::all().iter().map(|rule| rule.name).collect()
}

/// The pass, with its limits.
#[derive(Clone, Debug)]
pub struct Fold {
    /// Rounds of rewriting.
    pub iterations: usize,
    /// Nodes the e-graph may grow to.
    pub nodes: usize,
    /// Bytes of constants that may be computed.
    pub bytes: usize,
    /// Rules beside those of this pass.
    more: Vec<Rule>,
}

impl Default for Fold {
    fn default() -> Self {
        Self { iterations: 1000, nodes: 100_000, bytes: 4 << 30, more: Vec::new() }
    }
}

/// The e-graph of a module with everything that the rules found.
struct Saturated {
    egraph: EGraph<NnNode, ClassFacts>,
    /// The class of every value.
    ids: Vec<Id>,
    cost: FoldCost,
}

/// What the fold made of a module.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The folded module.
    pub module: Module<Nn>,
    /// The chain of rewrites that leads to each node the original does not have.
    pub explanation: Explanation,
    /// What the saturation cost, rule by rule.
    pub cost: FoldCost,
}

impl Folded {
    /// What the user should know where a limit ended the saturation.
    pub fn warning(&self) -> Option<String> {
        let bound = self.cost.bound?;
        Some(format!(
            "the fold ended at its limit of {bound}: the program is correct, but layers may be left that could be one; \
             merge linear layers that follow each other before the export, and please report the model"
        ))
    }
}

impl Pass<Nn> for Fold {
    fn name(&self) -> &'static str {
        NAME
    }
    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        self.explain(module).map(|(module, _)| module)
    }
}

impl Fold {
    /// The pass with one rule more. Whoever adds it answers for its equation.
    #[must_use]
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.more.push(rule);
        self
    }

    /// The folded module, and the chain of rewrites that leads to each node the original does not have.
    ///
    /// # Errors
    /// When the module does not verify.
    pub fn explain(&self, module: &Module<Nn>) -> Result<(Module<Nn>, Explanation), PassError> {
        self.fold(module).map(|folded| (folded.module, folded.explanation))
    }

    /// As [`Self::explain`], with what the saturation cost and whether it came to its end.
    ///
    /// # Errors
    /// When the module does not verify.
    pub fn fold(&self, module: &Module<Nn>) -> Result<Folded, PassError> {
        let _span = tracing::debug_span!("fold").entered();
        fhec_ir::verify(module).map_err(|e| {
            let issues = e.violations.iter();
            let issue = |v: &fhec_ir::verify::Violation| {
                Issue::of_network(v.message.clone(), "this is a defect of the program that made it")
            };
            PassError { pass: NAME, issues: issues.map(issue).collect() }
        })?;
        let rules: Vec<Rule> = rules::all().into_iter().chain(self.more.iter().cloned()).collect();
        let Saturated { egraph, ids, mut cost } = self.saturate(module, &rules)?;
        tracing::debug!("cost of saturation\n{cost}");
        let roots = egraph::roots(module, &ids);
        let justifier = Justifier::new(module, &ids, &egraph);
        let original = justifier.original_nodes();
        let levels = cost::Levels { egraph: &egraph, original: &original };
        let choice = egraph::extract(&egraph, &roots, &levels).ok_or_else(|| defect("no term was found"))?;
        cost.search = choice.effort;
        let folded = egraph::rebuild(module, egraph.analysis.pool.clone(), &egraph, &choice, &roots, |class, node| {
            justifier.loc(class, node)
        });
        let folded = folded.and_then(|m| with_used_constants(&m, &module.consts)).map_err(|e| defect(&e.0))?;
        let explanation = explanation(&justifier, module, &ids, &choice, &egraph);
        Ok(Folded { module: folded, explanation, cost })
    }

    /// Applies `rules` to the e-graph of `module`; the class of every value, and what it cost.
    fn saturate(&self, module: &Module<Nn>, rules: &[Rule]) -> Result<Saturated, PassError> {
        let params = module.func.params().iter().map(|&p| module.func.ty(p).clone()).collect();
        let facts = ClassFacts { pool: module.consts.clone(), params, ..ClassFacts::default() };
        let mut egraph = EGraph::new(facts);
        let ids = egraph::add_module(module, &mut egraph);
        egraph.rebuild();
        let rules = rules.iter().map(Rule::prepared).collect::<Result<Vec<_>, _>>().map_err(|e| defect(&e))?;
        let limits = Limits { rounds: self.iterations, nodes: self.nodes, bytes: self.bytes };
        let cost = saturate(&mut egraph, &rules, limits);
        Ok(Saturated { egraph, ids, cost })
    }
}

fn defect(what: &str) -> PassError {
    let issue = Issue::of_network(what, "please report this with the model");
    PassError { pass: NAME, issues: vec![issue] }
}

fn explanation(
    justifier: &Justifier<'_>,
    module: &Module<Nn>,
    ids: &[Id],
    choice: &Choice<NnOp>,
    egraph: &EGraph<NnNode, ClassFacts>,
) -> Explanation {
    let mut out = Explanation::default();
    for (class, node) in choice.postorder(egraph, &egraph::roots(module, ids)) {
        if !matches!(node.op, NnOp::Const { .. }) && !justifier.is_original(node) {
            let rewritten = justifier.chain(class, node);
            // A node without a chain differs from an original one in its operands only.
            if !rewritten.chain.is_empty() {
                out.push(rewritten);
            }
        }
    }
    let live = module.func.live();
    for (value, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
        if !matches!(node.op, NnOp::Const { .. } | NnOp::Input { .. })
            && let Some(fallen) = justifier.fallen(ids, value)
        {
            out.push(fallen);
        }
    }
    out
}

/// The module with only the constants it uses, named after those of the original they were made of.
fn with_used_constants(module: &Module<Nn>, original: &ConstPool) -> Result<Module<Nn>, fhec_ir::TypeError> {
    let mut consts = ConstPool::default();
    let mut renumbered: HashMap<ConstId, ConstId> = HashMap::new();
    for (_, node) in module.func.iter() {
        if let NnOp::Const { value } = node.op {
            let c = module.consts.get(value);
            let name = stem(&c.name, original);
            let id = consts.insert(name, c);
            renumbered.insert(value, id);
        }
    }
    let source = Module { consts, ..module.clone() };
    source.rebuild(|m, _, node, operands| {
        let op = match node.op {
            NnOp::Const { value } => NnOp::Const { value: renumbered[&value] },
            ref op => op.clone(),
        };
        m.push(op, operands, node.loc.clone())
    })
}

/// The name of the original constant that `name` is a numbered variant of; else `name`.
fn stem<'a>(name: &'a str, original: &ConstPool) -> &'a str {
    let mut stem = name;
    while original.by_name(stem).is_none() {
        match stem.rsplit_once('.') {
            Some((shorter, number)) if number.parse::<u32>().is_ok() => stem = shorter,
            _ => return name,
        }
    }
    stem
}
