//! Why the folded function is the original one: the named rewrites that lead to each of its nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use egg::{EGraph, Id, Language};
use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Loc, Module, Nn, OpInfo, Value};
use serde::Serialize;

use super::graph::{ClassFacts, NnNode};

/// One application of a rule.
#[derive(Clone, Debug)]
pub(super) struct RewriteStep {
    pub rule: &'static str,
    pub equation: &'static str,
    pub class: Id,
    /// The node the rule looked at.
    pub from: NnNode,
    /// Nodes below it that the rule looked at.
    pub used: Vec<(Id, NnNode)>,
    /// A node of the class it was found equal to.
    pub to: NnNode,
}

/// The rewrites of a whole function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What became of the original function, node by node: first nodes that are new, in order of definition, then nodes
    /// that fell away because they are equal to another.
    pub nodes: Vec<Rewritten>,
    /// For each rule, in how many of these entries it has a part.
    pub rules: BTreeMap<&'static str, usize>,
}

/// How one node came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    /// The ONNX nodes it stands for.
    pub node: String,
    /// The term it is now.
    pub result: String,
    /// The rewrites that lead there, each after those it builds on.
    pub chain: Vec<Link>,
}

/// One rewrite of a term or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The rule.
    pub rule: &'static str,
    /// What the rule says.
    pub equation: &'static str,
    /// The term before, ONNX nodes by name.
    pub before: String,
    /// The term after.
    pub after: String,
}

impl Explanation {
    pub(super) fn push(&mut self, rewritten: Rewritten) {
        let rules: BTreeSet<&'static str> = rewritten.chain.iter().map(|link| link.rule).collect();
        for rule in rules {
            *self.rules.entry(rule).or_default() += 1;
        }
        self.nodes.push(rewritten);
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return writeln!(f, "nothing to fold");
        }
        for Rewritten { node, result, chain } in &self.nodes {
            writeln!(f, "{node}: {result}")?;
            for Link { rule, equation, before, after } in chain {
                writeln!(f, "  {rule}: {equation}\n    {before}\n    = {after}")?;
            }
        }
        Ok(())
    }
}

/// Looks up where nodes come from, in terms of canonical classes.
pub(super) struct Justifier<'a> {
    egraph: &'a EGraph<NnNode, ClassFacts>,
    /// Values of the original function, by the node they are.
    original: HashMap<NnNode, Value>,
    /// Values of the original function that fall into a class.
    by_class: HashMap<Id, Value>,
    made: HashMap<NnNode, usize>,
    module: &'a Module<Nn>,
}

impl<'a> Justifier<'a> {
    pub fn new(module: &'a Module<Nn>, ids: &[Id], egraph: &'a EGraph<NnNode, ClassFacts>) -> Self {
        let (mut original, mut by_class) = (HashMap::new(), HashMap::new());
        for (value, node) in module.func.iter() {
            let children = node.operands.iter().map(|o| egraph.find(ids[o.index()]));
            original.entry(NnNode::new(node.op.clone(), children)).or_insert(value);
            by_class.entry(egraph.find(ids[value.index()])).or_insert(value);
        }
        let mut made: HashMap<NnNode, usize> = HashMap::new();
        for (node, &step) in &egraph.analysis.made {
            let first = made.entry(canonical(egraph, node)).or_insert(step);
            *first = step.min(*first);
        }
        Self { egraph, original, by_class, made, module }
    }

    /// The nodes of the original function.
    pub fn original_nodes(&self) -> HashSet<NnNode> {
        self.original.keys().cloned().collect()
    }

    pub fn is_original(&self, node: &NnNode) -> bool {
        self.original.contains_key(&canonical(self.egraph, node))
    }

    /// The steps that lead to `node`, each after those it builds on.
    fn steps(&self, node: &NnNode, seen: &mut BTreeSet<usize>, out: &mut Vec<usize>) {
        let node = canonical(self.egraph, node);
        let Some(&step) = self.made.get(&node).filter(|_| !self.original.contains_key(&node)) else {
            return;
        };
        if seen.insert(step) {
            let RewriteStep { from, used, .. } = &self.egraph.analysis.steps[step];
            self.steps(from, seen, out);
            for (_, node) in used {
                self.steps(node, seen, out);
            }
            out.push(step);
        }
    }

    /// The origin of `node` of `class`: its own in the original function, else of all nodes it was made from.
    pub fn loc(&self, class: Id, node: &NnNode) -> Loc {
        if let Some(&value) = self.original.get(&canonical(self.egraph, node)) {
            return self.module.func.node(value).loc.clone();
        }
        let mut steps = Vec::new();
        self.steps(node, &mut BTreeSet::new(), &mut steps);
        let mut values: BTreeSet<Value> = self.by_class.get(&class).copied().into_iter().collect();
        for &step in &steps {
            let RewriteStep { class, from, used, .. } = &self.egraph.analysis.steps[step];
            for (class, node) in used.iter().chain([&(*class, from.clone())]) {
                let node = canonical(self.egraph, node);
                let constant = self.egraph[*class].data.constant.is_some();
                values.extend(self.original.get(&node).filter(|_| !constant && node.op.as_input().is_none()));
            }
        }
        let locs = values.iter().map(|&v| &self.module.func.node(v).loc);
        locs.fold(Loc::default(), |all, loc| all.merge(loc))
    }

    /// How `node` of `class`, which is not original, came about.
    pub fn chain(&self, class: Id, node: &NnNode) -> Rewritten {
        let mut steps = Vec::new();
        self.steps(node, &mut BTreeSet::new(), &mut steps);
        let chain = steps.iter().map(|&step| self.link(&self.egraph.analysis.steps[step])).collect();
        let name = self.loc(class, node).name().to_string();
        Rewritten { node: name, result: self.term(node, &HashMap::new(), 1), chain }
    }

    /// Why `value`, which the result does not need, is equal to another value of the original function.
    pub fn fallen(&self, ids: &[Id], value: Value) -> Option<Rewritten> {
        let class = self.egraph.find(ids[value.index()]);
        let kept = self.by_class.get(&class).copied().filter(|&kept| kept != value)?;
        let original = self.module.func.node(value);
        let children = original.operands.iter().map(|o| self.egraph.find(ids[o.index()]));
        let node = NnNode::new(original.op.clone(), children);
        let steps = &self.egraph.analysis.steps;
        let step = steps.iter().find(|s| canonical(self.egraph, &s.from) == node)?;
        let (name, result) = (original.loc.name().to_string(), self.name(kept));
        Some(Rewritten { node: name, result, chain: vec![self.link(step)] })
    }

    fn link(&self, step: &RewriteStep) -> Link {
        let RewriteStep { rule, equation, from, used, to, .. } = step;
        let inner: HashMap<Id, &NnNode> = used.iter().map(|(c, n)| (self.egraph.find(*c), n)).collect();
        Link { rule, equation, before: self.term(from, &inner, 3), after: self.term(to, &HashMap::new(), 3) }
    }

    fn name(&self, value: Value) -> String {
        let loc = &self.module.func.node(value).loc;
        loc.onnx.as_ref().map_or_else(|| value.to_string(), |name| name.to_string())
    }

    /// A node as text; operands that `inner` knows are written out, others named.
    fn term(&self, node: &NnNode, inner: &HashMap<Id, &NnNode>, depth: usize) -> String {
        let name = match &node.op {
            NnOp::Activation { function, .. } => function.name().to_string(),
            NnOp::Composed { function } => format!("[{function}]"),
            op => op.mnemonic().to_string(),
        };
        let operands: Vec<String> = node.children.iter().map(|&c| self.operand(c, inner, depth)).collect();
        if operands.is_empty() { name } else { format!("{name}({})", operands.join(", ")) }
    }

    fn operand(&self, class: Id, inner: &HashMap<Id, &NnNode>, depth: usize) -> String {
        let class = self.egraph.find(class);
        let data = &self.egraph[class].data;
        if let Some(id) = data.constant {
            let pool = &self.egraph.analysis.pool;
            return match pool.tensor(id).data() {
                [x] => format!("{x:?}"),
                _ => format!("const<{}>", data.shape),
            };
        }
        if let Some(node) = inner.get(&class).filter(|_| depth > 0) {
            return self.term(node, inner, depth - 1);
        }
        if let Some(&value) = self.by_class.get(&class) {
            return self.name(value);
        }
        // Of equal nodes the one made first stands nearest to the original.
        let age =
            |n: &&NnNode| (self.made.get(&canonical(self.egraph, n)).copied().unwrap_or(usize::MAX), (*n).clone());
        let oldest = self.egraph[class].nodes.iter().min_by_key(age);
        oldest.filter(|_| depth > 0).map_or_else(|| "…".into(), |n| self.term(n, inner, depth - 1))
    }
}

pub(super) fn canonical(egraph: &EGraph<NnNode, ClassFacts>, node: &NnNode) -> NnNode {
    node.clone().map_children(|c| egraph.find(c))
}
