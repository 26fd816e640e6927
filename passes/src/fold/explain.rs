//! Why the folded function is the original one: the named rewrites that lead to each of its nodes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use egg::{EGraph, Id, Language};
use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Loc, Module, Nn, OpInfo, Value};
use serde::Serialize;

use super::graph::{Facts, NnNode};

/// One application of a rule.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub rule: &'static str,
    pub equation: &'static str,
    pub class: Id,
    /// The node the rule looked at.
    pub from: NnNode,
    /// Nodes below it that the rule looked at.
    pub used: Vec<(Id, NnNode)>,
}

/// The rewrites of a whole function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// One entry per node of the folded function that the original does not have, in order of definition.
    pub nodes: Vec<Rewritten>,
    /// How often each rule was applied on the way to these nodes.
    pub rules: std::collections::BTreeMap<&'static str, usize>,
}

/// How one node came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    /// The ONNX nodes it stands for.
    pub node: String,
    /// Terms, each equal to the one before.
    pub chain: Vec<Link>,
}

/// One term of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The term, ONNX nodes by name.
    pub term: String,
    /// The rule that turns it into the next term; none for the last.
    pub rule: Option<&'static str>,
    /// What the rule says.
    pub equation: Option<&'static str>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return writeln!(f, "nothing to fold");
        }
        for rewritten in &self.nodes {
            writeln!(f, "{}", rewritten.node)?;
            for link in &rewritten.chain {
                writeln!(f, "  = {}", link.term)?;
                if let (Some(rule), Some(equation)) = (link.rule, link.equation) {
                    writeln!(f, "      {rule}: {equation}")?;
                }
            }
        }
        Ok(())
    }
}

/// Looks up where nodes come from, in terms of canonical classes.
pub(super) struct Justifier<'a> {
    egraph: &'a EGraph<NnNode, Facts>,
    /// Values of the original function, by the node they are.
    original: HashMap<NnNode, Value>,
    /// Values of the original function that fall into a class.
    by_class: HashMap<Id, Value>,
    made: HashMap<NnNode, usize>,
    module: &'a Module<Nn>,
}

impl<'a> Justifier<'a> {
    pub fn new(module: &'a Module<Nn>, ids: &[Id], egraph: &'a EGraph<NnNode, Facts>) -> Self {
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
            let Step { from, used, .. } = &self.egraph.analysis.steps[step];
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
            let Step { class, from, used, .. } = &self.egraph.analysis.steps[step];
            for (class, node) in used.iter().chain([&(*class, from.clone())]) {
                let node = canonical(self.egraph, node);
                let constant = self.egraph[*class].data.constant.is_some();
                values.extend(self.original.get(&node).filter(|_| !constant && node.op.as_input().is_none()));
            }
        }
        let locs = values.iter().map(|&v| &self.module.func.node(v).loc);
        locs.fold(Loc::default(), |all, loc| all.merge(loc))
    }

    /// The chain of `node`, which is not original.
    pub fn chain(&self, class: Id, node: &NnNode) -> Rewritten {
        let mut steps = Vec::new();
        self.steps(node, &mut BTreeSet::new(), &mut steps);
        let mut chain: Vec<Link> = steps
            .iter()
            .map(|&step| {
                let Step { rule, equation, from, used, .. } = &self.egraph.analysis.steps[step];
                let inner: HashMap<Id, &NnNode> = used.iter().map(|(c, n)| (self.egraph.find(*c), n)).collect();
                Link { term: self.term(from, &inner, 3), rule: Some(rule), equation: Some(equation) }
            })
            .collect();
        chain.push(Link { term: self.term(node, &HashMap::new(), 1), rule: None, equation: None });
        Rewritten { node: self.loc(class, node).name().to_string(), chain }
    }

    /// The rules of a chain's steps, for counting.
    pub fn rules(&self, node: &NnNode) -> Vec<&'static str> {
        let mut steps = Vec::new();
        self.steps(node, &mut BTreeSet::new(), &mut steps);
        steps.into_iter().map(|s| self.egraph.analysis.steps[s].rule).collect()
    }

    /// A node as text; operands that `inner` knows are written out, others named.
    fn term(&self, node: &NnNode, inner: &HashMap<Id, &NnNode>, depth: usize) -> String {
        let name = match &node.op {
            NnOp::Activation { function, .. } => function.name().to_string(),
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
        match self.by_class.get(&class) {
            Some(&value) => {
                let loc = &self.module.func.node(value).loc;
                loc.onnx.as_ref().map_or_else(|| value.to_string(), |name| name.to_string())
            }
            None => {
                let node = self.egraph[class].nodes.iter().min();
                node.filter(|_| depth > 0).map_or_else(|| "…".into(), |n| self.term(n, inner, depth - 1))
            }
        }
    }
}

pub(super) fn canonical(egraph: &EGraph<NnNode, Facts>, node: &NnNode) -> NnNode {
    node.clone().map_children(|c| egraph.find(c))
}
