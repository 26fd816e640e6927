//! The e-graph view: into an e-graph and back, patterns, extraction that counts shared nodes once.

use egg::{EGraph, FromOp, Id, Rewrite, Runner, rewrite};
use fhec_ir::egraph::{self, Cost, ENode, OpCount, Own};
use fhec_ir::slot::SlotOp;
use fhec_ir::text::{Blobs, parse_module, print_module};
use fhec_ir::{Dialect, Loc, Module, OpInfo, Slot};
use proptest::prelude::*;

use crate::generate;

fn through_egraph<D: Dialect>(module: &Module<D>) -> Module<D> {
    let mut graph: EGraph<ENode<D::Op>, ()> = EGraph::default();
    let ids = egraph::add_module(module, &mut graph);
    graph.rebuild();
    let roots = egraph::roots(module, &ids);
    let choice = egraph::extract(&graph, &roots, &OpCount).expect("the function itself is a choice");
    egraph::rebuild(module, module.consts.clone(), &graph, &choice, &roots, |_, _| Loc::default()).expect("well typed")
}

/// Equal subexpressions merge and dead nodes fall away, once; types and ports stay.
fn check<D: Dialect>(module: &Module<D>) {
    let once = through_egraph(module);
    assert_eq!(print_module(&through_egraph(&once)), print_module(&once));
    assert!(once.func.len() <= module.func.len());
    let types = |m: &Module<D>| m.func.results().iter().map(|&r| m.func.ty(r).clone()).collect::<Vec<_>>();
    assert_eq!(types(&once), types(module));
    assert_eq!(once.inputs, module.inputs);
    assert_eq!(once.func.params().len(), module.func.params().len());
    for (_, node) in module.func.iter() {
        let children: Vec<Id> = node.operands.iter().map(|_| Id::from(0)).collect();
        let enode = ENode::new(node.op.clone(), children.clone());
        assert_eq!(ENode::<D::Op>::from_op(&enode.to_string(), children), Ok(enode));
    }
    assert_eq!(egraph::to_rec_expr(&module.func).len(), module.func.len());
}

proptest! {
    #[test]
    fn nn_through_egraph(choices in generate::choices()) {
        check(&generate::nn(&choices));
    }
    #[test]
    fn slot_through_egraph(choices in generate::choices()) {
        check(&generate::slot(&choices));
    }
    #[test]
    fn ckks_through_egraph(choices in generate::choices()) {
        check(&generate::ckks(&choices));
    }
}

type Rule = Rewrite<ENode<SlotOp>, ()>;

fn rewritten(text: &str, rules: &[Rule], cost: &dyn Cost<SlotOp>) -> Module<Slot> {
    let module: Module<Slot> = parse_module("case.fhir", text, &Blobs::default()).expect("the text is right");
    let mut graph = EGraph::default();
    let ids = egraph::add_module(&module, &mut graph);
    let graph = Runner::default().with_egraph(graph).run(rules).egraph;
    let roots = egraph::roots(&module, &ids);
    let choice = egraph::extract(&graph, &roots, cost).expect("the function itself is a choice");
    egraph::rebuild(&module, module.consts.clone(), &graph, &choice, &roots, |_, _| Loc::default()).expect("well typed")
}

fn count(module: &Module<Slot>, mnemonic: &str) -> usize {
    module.func.iter().filter(|(_, n)| n.op.mnemonic() == mnemonic).count()
}

#[test]
fn rotations_of_a_sum_are_factored() {
    let rules: Vec<Rule> = vec![
        rewrite!("rotate-sum"; "(add (rotate{by=1} ?x) (rotate{by=1} ?y))" => "(rotate{by=1} (add ?x ?y))"),
        rewrite!("rotate-rotate"; "(rotate{by=1} (rotate{by=-1} ?x))" => "?x"),
    ];
    let text = "func @f(%x: slots<8>, %y: slots<8>) -> slots<8> {
        %a = slot.rotate %x {by = 1} : slots<8>
        %b = slot.rotate %y {by = -1} : slots<8>
        %c = slot.rotate %b {by = 1} : slots<8>
        %d = slot.rotate %c {by = 1} : slots<8>
        %e = slot.add %a, %d : slots<8>
        return %e
    }";
    let module = rewritten(text, &rules, &OpCount);
    assert_eq!((count(&module, "rotate"), count(&module, "add"), module.func.len()), (1, 1, 4));
}

/// A rotation costs ten, anything else one.
struct Rotations;

impl Cost<SlotOp> for Rotations {
    fn own(&self, _: Id, node: &ENode<SlotOp>) -> Option<Own> {
        Some(Own { levels: 0, work: if matches!(node.op, SlotOp::Rotate { .. }) { 10 } else { 1 } })
    }
}

#[test]
fn a_shared_node_counts_once() {
    // The rotation of x is a result too. Counted as a tree the two forms of %c cost as many rotations as they contain;
    // counted once, the unfactored form needs no rotation of its own.
    let rules: Vec<Rule> = vec![rewrite!("double";
        "(add (rotate{by=1} ?x) (add (rotate{by=1} ?x) ?y))" => "(add (rotate{by=1} (add ?x ?x)) ?y)")];
    let text = "func @f(%x: slots<8>, %y: slots<8>) -> (slots<8>, slots<8>) {
        %a = slot.rotate %x {by = 1} : slots<8>
        %b = slot.add %a, %y : slots<8>
        %c = slot.add %a, %b : slots<8>
        return %c, %a
    }";
    let module = rewritten(text, &rules, &Rotations);
    assert_eq!((count(&module, "rotate"), count(&module, "add")), (1, 2));
}

#[test]
fn a_choice_good_for_a_part_but_bad_for_the_whole_is_undone() {
    // neg(rotate(x)) = rotate(neg(x)) looks cheaper where neg(x) is shared, but rotate(x) is needed anyway. Bottom-up the
    // class of %n sees two equal costs; only the total over both results tells them apart.
    let rules: Vec<Rule> = vec![rewrite!("neg-rotate"; "(neg (rotate{by=1} ?x))" => "(rotate{by=1} (neg ?x))")];
    let text = "func @f(%x: slots<8>) -> (slots<8>, slots<8>) {
        %r = slot.rotate %x {by = 1} : slots<8>
        %n = slot.neg %r : slots<8>
        return %n, %r
    }";
    assert_eq!(count(&rewritten(text, &rules, &Rotations), "rotate"), 1);
    let swapped =
        text.replace("%r = slot.rotate %x {by = 1}", "%m = slot.neg %x : slots<8>\n%n = slot.rotate %m {by = 1}");
    let swapped = swapped.replace("%n = slot.neg %r : slots<8>", "%r = slot.rotate %x {by = 1} : slots<8>");
    let back: Vec<Rule> = vec![rewrite!("rotate-neg"; "(rotate{by=1} (neg ?x))" => "(neg (rotate{by=1} ?x))")];
    assert_eq!(count(&rewritten(&swapped, &back, &Rotations), "rotate"), 1);
}

#[test]
fn levels_come_before_work() {
    struct Levels;
    impl Cost<SlotOp> for Levels {
        fn own(&self, _: Id, node: &ENode<SlotOp>) -> Option<Own> {
            Some(Own { levels: u32::from(matches!(node.op, SlotOp::Mul {})), work: 1 })
        }
    }
    let rules: Vec<Rule> = vec![
        rewrite!("balance"; "(mul ?a (mul ?b (mul ?c ?d)))" => "(mul (mul ?a ?b) (mul ?c (add ?d (mul ?d ?d))))"),
        rewrite!("balance-right"; "(mul ?a (mul ?b (mul ?c ?d)))" => "(mul (mul ?a ?b) (neg (mul ?c ?d)))"),
    ];
    let text = "func @f(%a: slots<8>, %b: slots<8>, %c: slots<8>, %d: slots<8>) -> slots<8> {
        %x = slot.mul %c, %d : slots<8>
        %y = slot.mul %b, %x : slots<8>
        %z = slot.mul %a, %y : slots<8>
        return %z
    }";
    let module = rewritten(text, &rules, &Levels);
    // One node more than the chain, one level less.
    assert_eq!((count(&module, "mul"), count(&module, "neg"), module.func.len()), (3, 1, 8));
}

#[test]
fn pattern_ops_that_do_not_exist_are_errors() {
    let error = |text: &str, n: usize| {
        ENode::<SlotOp>::from_op(text, vec![Id::from(0); n]).expect_err("this op is wrong").to_string()
    };
    assert_eq!(error("rotat{by=1}", 1), "`rotat{by=1}`: `rotat` is not an op of this level");
    assert_eq!(error("rotate{by=1}", 2), "`rotate{by=1}`: does not take 2 operands");
    assert_eq!(error("rotate", 1), "`rotate`: attribute `by` (an integer) is missing");
    assert_eq!(error("rotate{by=", 1), "`rotate{by=`: the file ends too early");
}
