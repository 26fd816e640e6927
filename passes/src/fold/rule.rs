//! What a rewrite rule is, and how one is applied.
//!
//! A rule is a name, an equation for people, and either a pair of patterns over the ops of `nn` or a function that looks
//! at one node. A function may build constants out of ops over constants (a product of weights and scales): the e-graph
//! computes them once.

use std::str::FromStr;
use std::sync::Arc;

use egg::{
    Applier, EGraph, ENodeOrVar, Id, Language, Pattern, PatternAst, RecExpr, Rewrite, SearchMatches, Searcher, Subst,
    Symbol, Var,
};
use fhec_ir::nn::NnOp;

use super::explain::RewriteStep;
use super::graph::{ClassFacts, Equal, NnNode, RuleGraph};

/// An equation that holds for all tensors the rule matches.
///
/// ```
/// use fhec_passes::fold::{Condition, Fold, Rule};
///
/// let rule = Rule::pattern("half-of-double", "(mul (add ?x ?x) ?half)", "?x", &[("?half", Condition::Near(0.5))])
///     .says("(x + x)/2 = x");
/// let fold = Fold::default().with_rule(rule);
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    /// Kebab-case name.
    pub(super) name: &'static str,
    /// The equation in words or symbols, for `--explain`.
    pub(super) equation: &'static str,
    kind: RuleKind,
}

#[derive(Clone, Debug)]
enum RuleKind {
    Pattern { left: String, right: String, when: Vec<(&'static str, Condition)> },
    Code { head: fn(&NnOp) -> bool, apply: Apply },
}

/// Looks at a node and reports classes equal to it through [`RuleGraph::found`].
pub(super) type Apply = fn(&mut RuleGraph<'_>, &NnNode);

/// A condition on a pattern variable.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// Its class is constant.
    Constant,
    /// All its elements are this number, to single precision.
    Near(f64),
}

impl Condition {
    fn holds(self, graph: &RuleGraph<'_>, class: Id) -> bool {
        match self {
            Self::Constant => graph.is_constant(class),
            Self::Near(x) => graph.uniform(class).is_some_and(|c| near(f64::from(c), x)),
        }
    }
}

/// Equal to the few digits with which exporters write the constants of an activation.
pub(super) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * b.abs().max(1e-3)
}

/// A rule of patterns. A variable of the right side that the left does not bind, such as `?-1`, is that number.
pub(super) fn pattern(
    name: &'static str,
    left: impl Into<String>,
    right: impl Into<String>,
    when: &[(&'static str, Condition)],
) -> Rule {
    Rule { name, equation: "", kind: RuleKind::Pattern { left: left.into(), right: right.into(), when: when.to_vec() } }
}

/// A rule of code that looks at the nodes `head` admits.
pub(super) fn code(name: &'static str, head: fn(&NnOp) -> bool, apply: Apply) -> Rule {
    Rule { name, equation: "", kind: RuleKind::Code { head, apply } }
}

impl Rule {
    /// A rule of two patterns over the ops of `nn`, in the notation of egg: `(mnemonic{attribute=value} ?operand ...)`. What matches
    /// `left` equals `right` where the conditions on its variables hold. A variable of `right` that `left` does not bind, such
    /// as `?-1`, is that number. Patterns are read when the pass runs, which reports those that cannot be read.
    pub fn pattern(
        name: &'static str,
        left: impl Into<String>,
        right: impl Into<String>,
        when: &[(&'static str, Condition)],
    ) -> Self {
        pattern(name, left, right, when)
    }

    /// The rule with its equation.
    #[must_use]
    pub fn says(self, equation: &'static str) -> Self {
        Self { equation, ..self }
    }

    /// The rule as egg takes it; `index` tells apart rules that share a name.
    pub(super) fn rewrite(&self, index: usize) -> Result<Rewrite<NnNode, ClassFacts>, String> {
        let equation = self.equation;
        let unique = format!("{}#{index}", self.name);
        match &self.kind {
            RuleKind::Pattern { left, right, when } => {
                let left: Pattern<NnNode> = Pattern::from_str(left).map_err(|e| format!("{}: {e}", self.name))?;
                let right: Pattern<NnNode> = Pattern::from_str(right).map_err(|e| format!("{}: {e}", self.name))?;
                let when = when.iter().map(|(var, is)| Ok((Var::from_str(var).map_err(|e| e.to_string())?, *is)));
                let when = when.collect::<Result<Vec<_>, String>>()?;
                let apply = Replace { left: left.ast.clone(), right: right.ast, when, name: self.name, equation };
                Rewrite::new(unique, left, apply)
            }
            RuleKind::Code { head, apply } => {
                let apply = RunCode { head: *head, apply: *apply, name: self.name, equation };
                Rewrite::new(unique, Head(Arc::new(*head)), apply)
            }
        }
    }
}

/// Unites `class`, which holds `from`, with what a rule found equal to it, and notes the steps. Whether any was new.
fn conclude(graph: RuleGraph<'_>, name: &'static str, equation: &'static str, class: Id, from: &NnNode) -> bool {
    let RuleGraph { egraph, found, .. } = graph;
    let mut changed = false;
    for Equal { class: equal, trace } in found {
        if egraph[equal].data.shape != egraph[class].data.shape {
            continue;
        }
        let to = egraph[equal].nodes.iter().min().cloned();
        if !egraph.union(class, equal) {
            continue;
        }
        changed = true;
        let step = egraph.analysis.steps.len();
        let (from, used, to) = (from.clone(), trace.used, to.unwrap_or_else(|| from.clone()));
        egraph.analysis.steps.push(RewriteStep { rule: name, equation, class, from, used, to });
        for node in trace.added {
            egraph.analysis.made.entry(node).or_insert(step);
        }
    }
    changed
}

struct Replace {
    left: PatternAst<NnNode>,
    right: PatternAst<NnNode>,
    when: Vec<(Var, Condition)>,
    name: &'static str,
    equation: &'static str,
}

impl Applier<NnNode, ClassFacts> for Replace {
    fn apply_one(
        &self,
        egraph: &mut EGraph<NnNode, ClassFacts>,
        class: Id,
        subst: &Subst,
        _: Option<&PatternAst<NnNode>>,
        _: Symbol,
    ) -> Vec<Id> {
        if egraph[class].data.constant.is_some() {
            return Vec::new();
        }
        let mut graph = RuleGraph::new(egraph);
        if !self.when.iter().all(|&(var, is)| is.holds(&graph, subst[var])) {
            return Vec::new();
        }
        let Some(from) = matched(&mut graph, &self.left, subst) else {
            return Vec::new();
        };
        let equal = instantiate(&mut graph, &self.right, subst);
        graph.found(equal);
        if conclude(graph, self.name, self.equation, class, &from) { vec![class] } else { Vec::new() }
    }
}

/// The root node that `ast` matched; the others are noted as used.
fn matched(graph: &mut RuleGraph<'_>, ast: &PatternAst<NnNode>, subst: &Subst) -> Option<NnNode> {
    let mut ids: Vec<Id> = Vec::new();
    let mut nodes: Vec<(Id, NnNode)> = Vec::new();
    for item in ast {
        let id = match item {
            ENodeOrVar::Var(var) => subst[*var],
            ENodeOrVar::ENode(node) => {
                let node = node.clone().map_children(|c| ids[usize::from(c)]);
                let id = graph.egraph.lookup(node.clone())?;
                nodes.push((id, node));
                id
            }
        };
        ids.push(id);
    }
    let (_, root) = nodes.pop()?;
    for (id, node) in &nodes {
        graph.uses(*id, node);
    }
    Some(root)
}

fn instantiate(graph: &mut RuleGraph<'_>, ast: &RecExpr<ENodeOrVar<NnNode>>, subst: &Subst) -> Option<Id> {
    let mut ids: Vec<Id> = Vec::new();
    for item in ast {
        let id = match item {
            ENodeOrVar::Var(var) => match subst.get(*var) {
                Some(&id) => id,
                None => graph.scalar(var.to_string().trim_start_matches('?').parse().ok()?),
            },
            ENodeOrVar::ENode(node) => {
                graph.add(node.op.clone(), node.children.iter().map(|&c| ids[usize::from(c)]))?
            }
        };
        ids.push(id);
    }
    ids.last().copied()
}

/// Finds classes with a node whose op is admitted.
struct Head(Arc<fn(&NnOp) -> bool>);

impl Searcher<NnNode, ClassFacts> for Head {
    fn search_eclass_with_limit(
        &self,
        egraph: &EGraph<NnNode, ClassFacts>,
        class: Id,
        _: usize,
    ) -> Option<SearchMatches<'_, NnNode>> {
        let found = egraph[class].data.constant.is_none() && egraph[class].nodes.iter().any(|n| (self.0)(&n.op));
        found.then(|| SearchMatches { eclass: class, substs: vec![Subst::default()], ast: None })
    }
    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

struct RunCode {
    head: fn(&NnOp) -> bool,
    apply: Apply,
    name: &'static str,
    equation: &'static str,
}

impl Applier<NnNode, ClassFacts> for RunCode {
    fn apply_one(
        &self,
        egraph: &mut EGraph<NnNode, ClassFacts>,
        class: Id,
        _: &Subst,
        _: Option<&PatternAst<NnNode>>,
        _: Symbol,
    ) -> Vec<Id> {
        let mut nodes: Vec<NnNode> = egraph[class].nodes.iter().filter(|n| (self.head)(&n.op)).cloned().collect();
        nodes.sort();
        let mut changed = false;
        for node in nodes {
            let mut graph = RuleGraph::new(egraph);
            (self.apply)(&mut graph, &node);
            changed |= conclude(graph, self.name, self.equation, class, &node);
        }
        if changed { vec![class] } else { Vec::new() }
    }
}
