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

use super::polynomial::stage_ops;
use super::{ApproximateOptions, Calibration, NAME, Polynomials, ill_typed, in_sequence, unfit};
use crate::PassError;
use crate::approx::{ApproxError, Approximation, Choice, Families, Seen, Site};

type NnNode = ENode<NnOp>;

/// One form of an activation.
pub struct Form {
    /// What it computes, with levels and errors.
    pub approximation: Approximation,
    /// The e-node in the activation's class.
    node: NnNode,
}

/// The e-graph of a network whose activations' classes hold forms that may replace them.
pub struct FormGraph<'a> {
    module: &'a Module<Nn>,
    families: &'a Families,
    egraph: EGraph<NnNode, ()>,
    /// The class of every value.
    classes: Vec<Id>,
    /// The first stage of forms that have several, and where it comes from.
    inner: HashMap<Id, Loc>,
    forms: BTreeMap<Value, Vec<Form>>,
}

/// A network extracted from the e-graph.
pub struct Extracted {
    /// The network.
    pub module: Module<Nn>,
    /// The polynomials of every activation, that of its operand first, by the activation they replace.
    pub polynomials: Polynomials,
}

impl<'a> FormGraph<'a> {
    /// The forms that `asked` names for each activation of `module`, of which `calibration` holds the inputs.
    ///
    /// # Errors
    /// Every activation that has no calibration or no such form.
    pub fn new(
        module: &'a Module<Nn>,
        calibration: &Calibration,
        options: &'a ApproximateOptions,
        asked: impl Fn(Value, &Site) -> Vec<Choice> + Sync,
    ) -> Result<Self, PassError> {
        let families = &options.families;
        let live = module.func.live();
        let targets = module.func.iter().filter(|(v, _)| live[v.index()]);
        let targets: Vec<_> = targets.filter_map(|(v, node)| Some((v, node, node.op.function()?))).collect();
        let in_sequence = in_sequence(module);
        let made = targets.par_iter().map(|&(value, _, ref function)| {
            let unseen = Seen::default();
            let seen = calibration.inputs_of(value).unwrap_or(&unseen);
            let site = Site::new(function.clone(), seen, options.margin, options.fit)?;
            let site = Site { in_sequence: in_sequence[value.index()], ..site };
            let form = |choice: &Choice| families.approximate(&site, choice);
            asked(value, &site).par_iter().map(form).collect()
        });
        let made: Vec<Result<Vec<Approximation>, ApproxError>> = made.collect();
        let mut egraph = EGraph::default();
        let classes = egraph::add_module(module, &mut egraph);
        let mut out = Self { module, families, egraph, classes, inner: HashMap::new(), forms: BTreeMap::new() };
        let mut issues = Vec::new();
        for ((value, node, _), made) in targets.into_iter().zip(made) {
            let forms = made.and_then(|made| made.into_iter().map(|form| out.insert(value, form)).collect());
            match forms {
                Ok(forms) => {
                    out.forms.insert(value, forms);
                }
                Err(e) => issues.push(unfit(node, &e)),
            }
        }
        out.egraph.rebuild();
        if issues.is_empty() { Ok(out) } else { Err(PassError { pass: NAME, issues }) }
    }

    /// For every activation the default form and all that the families offer to a planner.
    ///
    /// # Errors
    /// As [`FormGraph::new`].
    pub fn offered(
        module: &'a Module<Nn>,
        calibration: &Calibration,
        options: &'a ApproximateOptions,
    ) -> Result<Self, PassError> {
        Self::new(module, calibration, options, |_, site| {
            let offers = |family: &dyn crate::approx::Family| {
                let name: std::sync::Arc<str> = family.name().into();
                let beyond = if options.beyond { family.offers_beyond(site) } else { Vec::new() };
                let degrees = family.offers(site).into_iter().chain(beyond);
                degrees.map(move |degree| Choice { family: name.clone(), degree })
            };
            let offered = options.families.iter().flat_map(offers).filter(|choice| *choice != options.default);
            std::iter::once(options.default.clone()).chain(offered).collect()
        })
    }

    /// Puts a form into the class of `value`.
    fn insert(&mut self, value: Value, approximation: Approximation) -> Result<Form, ApproxError> {
        let activation = self.module.func.node(value);
        let operand = self.classes[activation.operands[0].index()];
        let mut nodes: Vec<NnNode> = Vec::new();
        let mut y = operand;
        let product = approximation.gated.then_some(NnOp::Mul {});
        for op in stage_ops(&approximation)?.into_iter().chain(product) {
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
        Ok(Form { approximation, node })
    }

    /// The forms of every activation, in the order in which they were asked for.
    pub fn forms(&self) -> &BTreeMap<Value, Vec<Form>> {
        &self.forms
    }

    /// The network that takes of every activation the form of the number `pick` gives. Activations that are one and the same
    /// term take that of the first.
    ///
    /// # Errors
    /// A number that does not exist, or a form that does not fit its operand: defects.
    pub fn extract(&self, pick: impl Fn(Value) -> usize) -> Result<Extracted, PassError> {
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
            let mut stages = vec![class];
            // Down the stages to the one that takes the operand.
            while let Some(&below) = term.node(class).and_then(|n| n.children.last())
                && self.egraph.find(below) != operand
            {
                class = self.egraph.find(below);
                stages.push(class);
            }
            let stages: Vec<Value> = stages.iter().rev().filter_map(|class| by_class.get(class).copied()).collect();
            polynomials.insert(value, stages);
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

impl fmt::Display for FormGraph<'_> {
    /// Per activation the forms in its class, by family.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (&value, forms) in &self.forms {
            writeln!(f, "class of `{}`: {} forms", self.module.func.node(value).loc.name(), forms.len())?;
            for family in self.families.iter() {
                let made = forms.iter().filter(|form| *form.approximation.family == *family.name());
                let degrees: Vec<String> = made.map(|form| form.approximation.degree.to_string()).collect();
                if !degrees.is_empty() {
                    writeln!(f, "  {}: {}; degrees {}", family.name(), family.equation(), degrees.join(", "))?;
                }
            }
        }
        Ok(())
    }
}
