//! The forms an activation may take, as e-nodes in the class of the activation.
//!
//! An approximation is no equation, so classes hold what may stand for each other and every form carries its error; whoever
//! decides (the planner, or options that leave no choice) names one form per class, and the term of these is extracted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use egg::{EGraph, Id, Language};
use fhec_ir::egraph::{self, Cost, ENode, Own};
use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Loc, Module, Nn, Value};
use rayon::prelude::*;

use super::rules::{Asked, Form, RULES, Rule, Site};
use super::{ApproximateOptions, Calibration, NAME, Target, ill_typed, unfit};
use crate::PassError;
use crate::approx::ApproxError;

type NnNode = ENode<NnOp>;

/// One form of an activation.
pub(super) struct Alternative {
    /// The rule that made it.
    pub rule: &'static Rule,
    pub form: Form,
    /// The e-node in the activation's class.
    node: NnNode,
}

/// The e-graph of a network whose activations' classes hold forms that may replace them.
pub struct Alternatives<'a> {
    module: &'a Module<Nn>,
    egraph: EGraph<NnNode, ()>,
    /// The class of every value.
    classes: Vec<Id>,
    /// The first stage of forms that have several, and where it comes from.
    inner: HashMap<Id, Loc>,
    forms: BTreeMap<Value, Vec<Alternative>>,
}

/// A network extracted from the e-graph.
pub(super) struct Extracted {
    pub module: Module<Nn>,
    /// The polynomial that takes the operand, by the activation it replaces.
    pub polynomials: BTreeMap<Value, Value>,
}

impl<'a> Alternatives<'a> {
    /// Applies all rules to the activations of `module`, for what `asked` says of each.
    ///
    /// # Errors
    /// Every activation that has no calibration or no form.
    pub(super) fn new(
        module: &'a Module<Nn>,
        calibration: &Calibration,
        options: &ApproximateOptions,
        asked: impl Fn(Value) -> Asked + Sync,
    ) -> Result<Self, PassError> {
        let live = module.func.live();
        let targets = module.func.iter().filter(|(v, _)| live[v.index()]);
        let targets: Vec<_> = targets.filter_map(|(v, node)| Some((v, &node.loc, Target::of(&node.op)?))).collect();
        let forms_of = |&(value, _, target): &(Value, &Loc, Target)| {
            let seen = calibration
                .channels_of(value)
                .ok_or(ApproxError::NoData { lo: f64::NEG_INFINITY, hi: f64::INFINITY })?;
            let site = Site { target, seen, options, asked: &asked(value) };
            let mut forms = Vec::new();
            for rule in &RULES {
                forms.extend((rule.forms)(&site)?.into_iter().map(|form| (rule, form)));
            }
            Ok(forms)
        };
        let found: Vec<Result<Vec<(&'static Rule, Form)>, ApproxError>> = targets.par_iter().map(forms_of).collect();
        let mut egraph = EGraph::default();
        let classes = egraph::add_module(module, &mut egraph);
        let mut out = Self { module, egraph, classes, inner: HashMap::new(), forms: BTreeMap::new() };
        let mut issues = Vec::new();
        for ((value, loc, target), forms) in targets.into_iter().zip(found) {
            match forms {
                Ok(forms) => {
                    let forms = forms.into_iter().map(|(rule, form)| out.insert(value, rule, form)).collect();
                    out.forms.insert(value, forms);
                }
                Err(e) => issues.push(unfit(loc, target, &e)),
            }
        }
        out.egraph.rebuild();
        if issues.is_empty() { Ok(out) } else { Err(PassError { pass: NAME, issues }) }
    }

    /// Puts a form into the class of `value`.
    fn insert(&mut self, value: Value, rule: &'static Rule, form: Form) -> Alternative {
        let activation = self.module.func.node(value);
        let operand = self.classes[activation.operands[0].index()];
        let mut nodes: Vec<NnNode> = Vec::new();
        let mut y = operand;
        let product = form.gated.then_some(NnOp::Mul {});
        for op in form.stages.iter().cloned().chain(product) {
            if let Some(inner) = nodes.last() {
                y = self.egraph.add(inner.clone());
                self.inner.entry(y).or_insert_with(|| activation.loc.clone());
            }
            let operands = if matches!(op, NnOp::Mul {}) { vec![operand, y] } else { vec![y] };
            nodes.push(ENode::new(op, operands));
        }
        let node = nodes.pop().unwrap_or_else(|| ENode::new(activation.op.clone(), [operand]));
        let class = self.egraph.add(node.clone());
        self.egraph.union(self.classes[value.index()], class);
        Alternative { rule, form, node }
    }

    /// The forms of every activation, in the order in which rules made them.
    pub(super) fn forms(&self) -> &BTreeMap<Value, Vec<Alternative>> {
        &self.forms
    }

    /// The network that takes of every activation the form of the number `pick` gives. Activations that are one and the same
    /// term take that of the first.
    ///
    /// # Errors
    /// A number that does not exist, or a form that does not fit its operand: defects.
    pub(super) fn extract(&self, pick: impl Fn(Value) -> usize) -> Result<Extracted, PassError> {
        let mut decided: BTreeMap<Id, NnNode> = BTreeMap::new();
        for (&value, forms) in &self.forms {
            let loc = &self.module.func.node(value).loc;
            let form = forms.get(pick(value)).ok_or_else(|| ill_typed(loc, "no form of this number"))?;
            let node = form.node.clone().map_children(|c| self.egraph.find(c));
            decided.entry(self.egraph.find(self.classes[value.index()])).or_insert(node);
        }
        let roots = egraph::roots(self.module, &self.classes);
        let term = egraph::extract(&self.egraph, &roots, &Decided(&decided));
        let term = term.ok_or_else(|| ill_typed(&Loc::default(), "no term was found"))?;
        let mut locs: HashMap<Id, Loc> = self.inner.iter().map(|(&c, l)| (self.egraph.find(c), l.clone())).collect();
        for (value, node) in self.module.func.iter().collect::<Vec<_>>().into_iter().rev() {
            locs.insert(self.egraph.find(self.classes[value.index()]), node.loc.clone());
        }
        let mut order = Vec::new();
        let consts = self.module.consts.clone();
        let module = egraph::rebuild(self.module, consts, &self.egraph, &term, &roots, |class, _| {
            order.push(class);
            locs.get(&class).cloned().unwrap_or_default()
        });
        let module = module.map_err(|e| ill_typed(&Loc::default(), &e.to_string()))?;
        // Nodes follow the parameters in the order in which they were asked for their origin.
        let made = module.func.iter().map(|(v, _)| v).filter(|v| !module.func.params().contains(v));
        let by_class: HashMap<Id, Value> = order.into_iter().zip(made).collect();
        let mut polynomials = BTreeMap::new();
        for &value in self.forms.keys() {
            let mut class = self.egraph.find(self.classes[value.index()]);
            let operand = self.egraph.find(self.classes[self.module.func.node(value).operands[0].index()]);
            // Down the stages to the one that takes the operand.
            while let Some(&below) = term.node(class).and_then(|n| n.children.last())
                && self.egraph.find(below) != operand
            {
                class = self.egraph.find(below);
            }
            polynomials.extend(by_class.get(&class).map(|&first| (value, first)));
        }
        Ok(Extracted { module, polynomials })
    }
}

/// Admits the forms decided on, and every node of other classes.
struct Decided<'a>(&'a BTreeMap<Id, NnNode>);

impl Cost<NnOp> for Decided<'_> {
    fn own(&self, class: Id, node: &NnNode) -> Option<Own> {
        let admitted = self.0.get(&class).is_none_or(|decided| decided == node);
        admitted.then_some(Own { levels: 0, work: 1 })
    }
}

impl fmt::Display for Alternatives<'_> {
    /// Per activation the forms in its class, by the rule that made them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (&value, forms) in &self.forms {
            writeln!(f, "class of `{}`: {} forms", self.module.func.node(value).loc.name(), forms.len())?;
            for rule in &RULES {
                let made = forms.iter().filter(|a| a.rule.name == rule.name);
                let degrees: Vec<String> = made.map(|a| a.form.replacement.degree.to_string()).collect();
                if !degrees.is_empty() {
                    writeln!(f, "  {}: {}; degrees {}", rule.name, rule.equation, degrees.join(", "))?;
                }
            }
        }
        Ok(())
    }
}
