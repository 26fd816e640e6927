//! What a rewrite rule is, and how one is applied.
//!
//! A rule is a name, an equation for people, and either a pair of patterns over the ops of `nn` or a function that looks
//! at one node. A function may build constants out of ops over constants (a product of weights and scales): the e-graph
//! computes them once.

use std::str::FromStr;

use egg::{EGraph, ENodeOrVar, Id, Language, Pattern, PatternAst, RecExpr, Searcher, Subst, Var};
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

    /// The rule ready to be applied; an error when its patterns cannot be read.
    pub(super) fn prepared(&self) -> Result<Prepared, String> {
        let kind = match &self.kind {
            RuleKind::Pattern { left, right, when } => {
                let read = |text: &str| Pattern::from_str(text).map_err(|e| format!("{}: {e}", self.name));
                let when = when.iter().map(|(var, is)| Ok((Var::from_str(var).map_err(|e| e.to_string())?, *is)));
                let (left, right) = (read(left)?, read(right)?.ast);
                Matcher::Pattern { left, right, when: when.collect::<Result<Vec<_>, String>>()? }
            }
            RuleKind::Code { head, apply } => Matcher::Code { head: *head, apply: *apply },
        };
        Ok(Prepared { name: self.name, equation: self.equation, kind })
    }
}

/// A rule whose patterns are compiled.
pub(super) struct Prepared {
    pub name: &'static str,
    equation: &'static str,
    kind: Matcher,
}

enum Matcher {
    Pattern { left: Pattern<NnNode>, right: PatternAst<NnNode>, when: Vec<(Var, Condition)> },
    Code { head: fn(&NnOp) -> bool, apply: Apply },
}

/// What one application of a rule to a class came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Applied {
    /// Nodes that the rule looked at.
    pub matches: usize,
    /// Equalities that were not known.
    pub unions: usize,
}

impl Prepared {
    /// How many levels of nodes the rule looks at.
    pub fn depth(&self) -> usize {
        match &self.kind {
            Matcher::Pattern { left, .. } => depth(&left.ast),
            Matcher::Code { .. } => CODE_DEPTH,
        }
    }

    /// Where the pattern matches in a class of a clean e-graph; nothing for a rule of code.
    pub fn search(&self, egraph: &EGraph<NnNode, ClassFacts>, class: Id) -> Vec<Subst> {
        match &self.kind {
            Matcher::Pattern { left, .. } => left.search_eclass(egraph, class).map_or_else(Vec::new, |m| m.substs),
            Matcher::Code { .. } => Vec::new(),
        }
    }

    /// Applies a rule of patterns to what [`Self::search`] found in `class`, and a rule of code to its nodes.
    pub fn apply(&self, egraph: &mut EGraph<NnNode, ClassFacts>, class: Id, found: &[Subst]) -> Applied {
        let mut applied = Applied::default();
        match &self.kind {
            Matcher::Pattern { left, right, when } => {
                for subst in found {
                    let mut graph = RuleGraph::new(egraph, class);
                    if when.iter().all(|&(var, is)| is.holds(&graph, subst[var]))
                        && let Some(from) = matched(&mut graph, &left.ast, subst)
                    {
                        let equal = instantiate(&mut graph, right, subst);
                        graph.found(equal);
                        applied.matches += 1;
                        applied.unions += conclude(graph, self.name, self.equation, class, &from);
                    }
                }
            }
            Matcher::Code { head, apply } => {
                let mut nodes: Vec<NnNode> = egraph[class].nodes.iter().filter(|n| head(&n.op)).cloned().collect();
                nodes.sort();
                for node in nodes {
                    let mut graph = RuleGraph::new(egraph, class);
                    apply(&mut graph, &node);
                    applied.matches += graph.found.len();
                    applied.unions += conclude(graph, self.name, self.equation, class, &node);
                }
            }
        }
        applied
    }
}

/// A rule of code looks at a node, at those of its operands, and at the ops of their operands.
pub(super) const CODE_DEPTH: usize = 3;

/// Levels of nodes in a pattern.
fn depth(ast: &PatternAst<NnNode>) -> usize {
    let mut depths: Vec<usize> = Vec::new();
    for item in ast {
        depths.push(match item {
            ENodeOrVar::Var(_) => 0,
            ENodeOrVar::ENode(node) => 1 + node.children.iter().map(|&c| depths[usize::from(c)]).max().unwrap_or(0),
        });
    }
    depths.last().copied().unwrap_or(0)
}

/// Unites `class`, which holds `from`, with what a rule found equal to it, and notes the steps. How many were new.
fn conclude(graph: RuleGraph<'_>, name: &'static str, equation: &'static str, class: Id, from: &NnNode) -> usize {
    let RuleGraph { egraph, found, .. } = graph;
    let mut unions = 0;
    for Equal { class: equal, trace } in found {
        if egraph[equal].data.shape != egraph[class].data.shape {
            continue;
        }
        let to = egraph[equal].nodes.iter().min().cloned();
        if !egraph.union(class, equal) {
            continue;
        }
        unions += 1;
        let step = egraph.analysis.steps.len();
        let (from, used, to) = (from.clone(), trace.used, to.unwrap_or_else(|| from.clone()));
        egraph.analysis.steps.push(RewriteStep { rule: name, equation, class, from, used, to });
        for node in trace.added {
            egraph.analysis.made.entry(node).or_insert(step);
        }
    }
    unions
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
