//! The verifier's rules for the `ckks` level.

use std::collections::BTreeSet;

use fhec_parameters::ParamSpec;

use super::{MAX_SLOTS, MAX_STEPS, Part, Report, Verify, finite_constants, ports};
use crate::ckks::{Ckks, CkksOp};
use crate::dialect::OpInfo;
use crate::func::Module;

impl Verify for Ckks {
    fn check(module: &Module<Self>, report: &mut Report<'_, Self>) {
        let func = &module.func;
        if let Some(spec) = &module.params {
            if let Err(problem) = params(spec) {
                report.module(problem);
                return;
            }
            if spec.bootstrap.is_none() {
                for (value, _) in func.iter().filter(|(_, node)| matches!(node.op, CkksOp::Bootstrap { .. })) {
                    report.at(value, Part::Op, "a bootstrap under parameters without levels for bootstrapping");
                }
            }
            for (value, node) in func.iter().filter(|(_, node)| node.ty.level > spec.levels) {
                let message = format!("level {} is above the top level {}", node.ty.level, spec.levels);
                report.at(value, Part::Type, message);
            }
        }
        let inputs = func.params().iter().map(|&v| ("input", v));
        for (kind, value) in inputs.chain(func.results().iter().map(|&v| ("result", v))) {
            let ty = func.ty(value);
            if ty.sd != 1 || ty.parts != 2 {
                report.at(value, Part::Type, format!("this {kind} is {ty}, not a canonical ciphertext of two parts"));
            }
        }
        finite_constants(module, report);
        let n = ports::layouts(module, None, report);
        slots(module, n, report);
        transforms(module, report);
    }
}

/// What a linear transform asks of the engine is bounded by its slots and by [`MAX_STEPS`].
fn transforms(module: &Module<Ckks>, report: &mut Report<'_, Ckks>) {
    for (value, node) in module.func.iter() {
        let CkksOp::Linear { rotations, giants, diagonals, .. } = &node.op else { continue };
        let n = module.consts.tensor(*diagonals).shape().0.last().copied().unwrap_or(0).max(1);
        let step = |by: i64| by.rem_euclid(n as i64);
        let distinct = |steps: &mut dyn Iterator<Item = i64>| steps.collect::<BTreeSet<i64>>().len();
        let babies = distinct(&mut rotations.iter().zip(giants).map(|(r, g)| step(r.wrapping_sub(*g))));
        let giants = distinct(&mut giants.iter().map(|&g| step(g)));
        if rotations.len() > n || babies.max(giants) > MAX_STEPS {
            let diagonals = rotations.len();
            let message = format!(
                "{diagonals} diagonals of {n} slots in {babies} baby and {giants} giant steps; at most as many diagonals as \
                 slots and {MAX_STEPS} steps of a kind are possible"
            );
            report.at(value, Part::Op, message);
        }
    }
}

fn params(spec: &ParamSpec) -> Result<(), String> {
    let ParamSpec { log_n, first_bits, scale_bits, levels, special_bits, special, insecure, ref bootstrap, .. } = *spec;
    let in_range = (3..=17).contains(&log_n)
        && [first_bits, scale_bits].iter().all(|b| (1..=60).contains(b))
        && special_bits <= 60
        && levels <= 1000
        && special <= 1000
        && bootstrap.as_ref().is_none_or(|b| b.levels <= 1000);
    if !in_range {
        return Err(
            "parameters are out of range: log_n 3 to 17, primes of at most 60 bits, at most 1000 of them".into()
        );
    }
    match spec.max_log_qp() {
        _ if insecure => Ok(()),
        Some(max) if spec.log_qp() <= max => Ok(()),
        Some(max) => Err(format!(
            "log QP is {}, above the {max} bits that give 128-bit security at N = 2^{log_n}; take a larger ring or mark \
             the parameters insecure",
            spec.log_qp()
        )),
        None => Err(format!("no parameters at N = 2^{log_n} are secure; take a larger ring or mark them insecure")),
    }
}

/// Vectors and layouts agree on the number of slots, and N/2 slots are enough.
fn slots(module: &Module<Ckks>, n: Option<usize>, report: &mut Report<'_, Ckks>) {
    let mut n = n;
    for (value, node) in module.func.iter() {
        for id in node.op.consts() {
            let len = module.consts.tensor(id).shape().0.last().copied().unwrap_or(0);
            let expected = *n.get_or_insert(len);
            if len != expected {
                report.at(value, Part::Op, format!("a vector of {len} slots where others have {expected}"));
            }
        }
    }
    let limit = module.params.as_ref().map_or(MAX_SLOTS, ParamSpec::slots);
    if let Some(n) = n.filter(|n| !n.is_power_of_two() || *n > limit) {
        report.module(format!("vectors of {n} slots: must be a power of two of at most {limit}"));
    }
}
