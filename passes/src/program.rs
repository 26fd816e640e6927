//! A program on its way through the passes: its module, and what passes know of it that its text does not say.

use std::collections::BTreeMap;
use std::ops::Range;

use fhec_ir::slot::SlotOp;
use fhec_ir::text::{AnyModule, Level};
use fhec_ir::{Dialect, Entity, Func, Issue, Loc, Module, OpInfo, Slot, Value};
use serde::{Deserialize, Serialize};

use crate::activations::Choices;
use crate::approx::Choice;
use crate::ends::Magnitudes;
use crate::pack::{Packed, PackedTensor, TensorKind};
use crate::parameters::Estimate;
use crate::pass::PassError;

/// A module and the facts about it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The module.
    pub module: AnyModule,
    /// What is known of it beside its text.
    pub facts: Facts,
}

impl Program {
    /// A module of which nothing is known but its text.
    pub fn new(module: AnyModule) -> Self {
        Self { module, facts: Facts::default() }
    }

    /// What a pass has made of this program: facts that name values of the old module are gone, the others stay.
    #[must_use]
    pub fn becomes<D: Level>(self, module: Module<D>) -> Self {
        let facts = Facts { tensors: Vec::new(), choices: BTreeMap::new(), ..self.facts };
        Self { module: D::any(module), facts }
    }

    /// A packed module as a program. Its facts hold what the pass `place-bootstraps` needs of the packing.
    #[must_use]
    pub fn packed(self, packed: Packed) -> Self {
        let tensors = TensorFact::all(&packed.module.func, &packed.tensors);
        let mut program = self.becomes::<Slot>(packed.module);
        program.facts.tensors = tensors;
        program.facts.notes.extend(packed.notes);
        program
    }
}

/// What passes tell those that follow them. A program in a file carries them beside its text.
///
/// Values are named by their place in the text: parameters first, then one per line of the function. Numbers and names stay
/// valid from pass to pass; [`Facts::tensors`] and [`Facts::choices`] belong to the module as it is, and a pass that writes
/// another one drops them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// Names of the passes that have run, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<String>,
    /// Largest magnitudes of inputs and results on the calibration data, of the network of polynomials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magnitudes: Option<Magnitudes>,
    /// What is known of the results' size and error, of the slot program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// The polynomial chosen for each activation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<usize, Choice>,
    /// The tensors that a packed program consists of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorFact>,
    /// Whether the compiler has decided on bootstraps, and on which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrapped: Option<bool>,
    /// Remarks for the user, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A [`PackedTensor`] in terms of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorFact {
    /// Name of the ONNX node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// How it came about.
    pub kind: TensorKind,
    /// The tensors it is made of, by their place in the list.
    pub operands: Vec<usize>,
    /// One value per ciphertext.
    pub values: Vec<usize>,
    /// The first of the values that compute it, and how many there are.
    pub nodes: (usize, usize),
}

/// The values of a function in the order of its text: parameters first.
fn text_order<D: Dialect>(func: &Func<D>) -> Vec<Value> {
    let others = func.iter().filter(|(_, node)| node.op.as_input().is_none()).map(|(value, _)| value);
    func.params().iter().copied().chain(others).collect()
}

impl TensorFact {
    /// The tensors of a packed function.
    pub fn all(func: &Func<Slot>, tensors: &[PackedTensor]) -> Vec<Self> {
        let mut place = vec![0; func.len()];
        for (at, value) in text_order(func).into_iter().enumerate() {
            place[value.index()] = at;
        }
        let fact = |t: &PackedTensor| Self {
            name: t.loc.onnx.as_deref().map(str::to_string),
            kind: t.kind,
            operands: t.operands.clone(),
            values: t.values.iter().map(|v| place[v.index()]).collect(),
            nodes: (place.get(t.nodes.start).copied().filter(|_| !t.nodes.is_empty()).unwrap_or(0), t.nodes.len()),
        };
        tensors.iter().map(fact).collect()
    }

    /// Whether values and nodes are of the kind that a tensor of this kind has: facts come from files, and what the planner
    /// reads must not surprise it.
    fn is_sound(&self, module: &Module<Slot>, values: &[Value], nodes: &Range<usize>) -> bool {
        let ops = || module.func.iter().skip(nodes.start).take(nodes.len()).map(|(_, node)| &node.op);
        let of_kind = match self.kind {
            TensorKind::Input => self.operands.is_empty() && ops().all(|op| matches!(op, SlotOp::Input { .. })),
            TensorKind::Activation => {
                let polynomials = ops().all(|op| matches!(op, SlotOp::Polynomial { .. } | SlotOp::Mul {}));
                !self.operands.is_empty() && !nodes.is_empty() && polynomials
            }
            TensorKind::Fixed => !self.operands.is_empty() && !ops().any(|op| matches!(op, SlotOp::Input { .. })),
        };
        let computed = nodes.is_empty() || values.iter().any(|v| nodes.contains(&v.index()));
        of_kind && computed && !values.is_empty()
    }
}

impl Facts {
    /// The packed program that `module` is, with its tensors as these facts describe them.
    ///
    /// # Errors
    /// Facts without tensors, or tensors that are not those of `module`.
    pub fn packing(&self, pass: &'static str, module: &Module<Slot>) -> Result<Packed, PassError> {
        let error = |reason: &str| {
            let repair = "run `pack` in the same command, or keep the file of facts that lies beside its output";
            PassError { pass, issues: vec![Issue::of_network(reason, repair)] }
        };
        if self.tensors.is_empty() {
            return Err(error("nothing says which values make up a tensor"));
        }
        let order = text_order(&module.func);
        let tensor = |(number, fact): (usize, &TensorFact)| {
            let values = fact.values.iter().map(|&v| order.get(v).copied()).collect::<Option<Vec<_>>>()?;
            let (first, count) = fact.nodes;
            let start = if count == 0 { 0 } else { order.get(first)?.index() };
            let nodes = start..start.checked_add(count).filter(|&end| end <= module.func.len())?;
            let sound = fact.operands.iter().all(|&o| o < number) && fact.is_sound(module, &values, &nodes);
            let loc = fact.name.as_deref().map_or_else(Loc::default, Loc::onnx);
            sound.then(|| PackedTensor {
                kind: fact.kind,
                operands: fact.operands.clone(),
                values,
                nodes,
                origin: None,
                loc,
            })
        };
        let tensors = self.tensors.iter().enumerate().map(tensor).collect::<Option<Vec<_>>>();
        let tensors = tensors.ok_or_else(|| error("its facts describe the tensors of another program"))?;
        Ok(Packed { module: module.clone(), tensors, notes: self.notes.clone() })
    }

    /// Notes the polynomials chosen for the activations of a function.
    pub fn choose<D: Dialect>(&mut self, func: &Func<D>, choices: &Choices) {
        let chosen = |(at, value): (usize, &Value)| Some((at, choices.get(value)?.clone()));
        self.choices = text_order(func).iter().enumerate().filter_map(chosen).collect();
    }

    /// The polynomials chosen for the activations of a function.
    pub fn chosen<D: Dialect>(&self, func: &Func<D>) -> Choices {
        let order = text_order(func);
        self.choices.iter().filter_map(|(&at, choice)| Some((*order.get(at)?, choice.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use fhec_ir::text::{Blobs, parse_module};

    use super::*;
    use crate::pack::Pack;

    const TEXT: &str = "\
input \"x\" : tensor<1x4>
output \"y\" : tensor<1x4>
func @f(%0: tensor<1x4> loc(\"x\")) -> tensor<1x4> {
  %1 = nn.polynomial %0 {basis = monomial, lo = -1, hi = 1, rows = 1, coeffs = [0, 0.5, 0.5]} : tensor<1x4> loc(\"p\")
  %2 = nn.add %1, %0 : tensor<1x4> loc(\"sum\")
  return %2
}
";

    #[test]
    fn facts_describe_their_own_program_only() {
        let module = parse_module("f.fhir", TEXT, &Blobs::default()).expect("the text is right");
        let packed = Pack::new(4).pack(&module).expect("packs");
        let program = Program::new(AnyModule::Nn(module)).packed(packed.clone());
        let read = |facts: &Facts| facts.packing("test", &packed.module);
        let again = read(&program.facts).expect("its own facts");
        assert_eq!(TensorFact::all(&packed.module.func, &again.tensors), program.facts.tensors);
        let wrong = |change: fn(&mut TensorFact)| {
            let mut facts = program.facts.clone();
            facts.tensors.iter_mut().for_each(change);
            assert!(read(&facts).is_err());
        };
        wrong(|t| t.values = vec![999]);
        wrong(|t| t.values.clear());
        wrong(|t| t.nodes = (1, usize::MAX));
        wrong(|t| t.nodes = (usize::MAX, 1));
        wrong(|t| t.operands = vec![7]);
        wrong(|t| t.kind = TensorKind::Activation);
        wrong(|t| t.kind = TensorKind::Input);
        assert!(read(&Facts::default()).is_err());
    }
}
