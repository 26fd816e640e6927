//! Writes a run as trace events in the JSON that Perfetto and `chrome://tracing` read.
//!
//! A process stands for the times that were predicted, and another one for those of a run. In each, one track has the model's nodes
//! and one the ops; counters have the level, and the bytes of ciphertexts and temporaries.

use fhec_ir::{Entity, OpInfo};
use fhec_runtime::Plan;
use serde::Serialize;
use serde_json::{Value, json};

use super::chart::phase_names;
use super::model::{Phase, Run};
use super::prediction::Prediction;
use super::walk::phases;
use crate::error::Error;

/// Tracks of a process.
const NODES: u32 = 1;
const OPS: u32 = 2;

/// The file: its events, and what the times are.
#[derive(Serialize)]
struct Trace {
    #[serde(rename = "displayTimeUnit")]
    unit: &'static str,
    #[serde(rename = "otherData")]
    about: Value,
    #[serde(rename = "traceEvents")]
    events: Vec<Value>,
}

/// One op of the program.
struct Op<'a> {
    name: &'static str,
    node: &'a str,
    level: u32,
    phase: Phase,
}

/// The trace of a plan as JSON: by the times predicted, where all are known, and by those that a run measured, where it says them.
///
/// # Errors
/// Where there is neither.
pub fn trace(plan: &Plan, prediction: &Prediction, run: Option<&Run>) -> Result<String, Error> {
    let func = &plan.module().func;
    let live = func.live();
    let executed: Vec<_> = func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none()).collect();
    let ops = executed.iter().zip(phases(plan)).map(|(&(_, node), phase)| Op {
        name: node.op.mnemonic(),
        node: node.loc.name(),
        level: node.ty.level,
        phase,
    });
    let ops: Vec<Op<'_>> = ops.collect();
    let predicted = prediction.seconds_of.as_ref();
    let predicted = predicted.and_then(|all| executed.iter().map(|(v, _)| all.get(v.index()).copied()).collect());
    let measured = run.map(|run| run.op_seconds.clone());
    let threads = |n: Option<usize>| n.map_or(String::new(), |n| format!(", {n} threads"));
    let processes: [(String, Option<Vec<f64>>); 2] = [
        (format!("predicted{}", threads(prediction.threads)), predicted),
        (format!("measured{}", threads(run.and_then(|run| run.threads))), measured),
    ];
    let mut events = Vec::new();
    for (pid, (name, seconds)) in (1..).zip(processes) {
        let Some(seconds) = seconds.filter(|all| all.len() == ops.len() && !ops.is_empty()) else { continue };
        let memory = |i: usize| prediction.op_memory.get(i).map(|m| (m.ciphertexts, m.scratch));
        process(&mut events, pid, &format!("{} ({name})", plan.provenance().model), &ops, &seconds, &memory);
    }
    let about = json!({ "model": plan.provenance().model, "fhec": env!("CARGO_PKG_VERSION") });
    if events.is_empty() {
        return Err(Error::Usage {
            reason: "no times are known for a trace: an op has no predicted time".into(),
            repair: "give costs that `fhec calibrate` wrote, or an encrypted run".into(),
        });
    }
    Ok(json!(Trace { unit: "ms", about, events }).to_string())
}

/// The events of one process.
fn process(
    events: &mut Vec<Value>,
    pid: u32,
    name: &str,
    ops: &[Op<'_>],
    seconds: &[f64],
    memory: &dyn Fn(usize) -> Option<(u64, u64)>,
) {
    let named = |what: &str, tid: u32, name: &str| json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": { "name": name } });
    events.extend([named("process_name", 0, name), named("thread_name", NODES, "nodes of the model")]);
    events.push(named("thread_name", OPS, "operations"));
    let complete = |name: &str, category: &str, tid: u32, start: f64, end: f64, args: Value| {
        json!({ "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid, "ts": micros(start),
            "dur": micros(end) - micros(start), "args": args })
    };
    let counter = |name: &str, at: f64, args: Value| json!({ "ph": "C", "name": name, "pid": pid, "ts": micros(at), "args": args });
    let (mut now, mut node_start, mut level, mut bytes) = (0.0, 0.0, None, None);
    for (i, (op, length)) in ops.iter().zip(seconds).enumerate() {
        let phase = phase_names(op.phase).0;
        events.push(complete(op.name, phase, OPS, now, now + length, json!({ "node": op.node, "level": op.level })));
        if level != Some(op.level) {
            level = Some(op.level);
            events.push(counter("level", now, json!({ "level": op.level })));
        }
        if bytes != memory(i) {
            bytes = memory(i);
            let (ciphertexts, scratch) = bytes.unwrap_or_default();
            events.push(counter("bytes", now, json!({ "ciphertexts": ciphertexts, "temporaries": scratch })));
        }
        now += length;
        if ops.get(i + 1).is_none_or(|next| next.node != op.node) {
            events.push(complete(op.node, "node", NODES, node_start, now, json!({})));
            node_start = now;
        }
    }
}

/// Microseconds, to the nanosecond.
fn micros(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e3
}
