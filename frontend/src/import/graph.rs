//! Which nodes of a graph are needed, and in which order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::proto;

/// The nodes that the results of a graph depend on.
pub(super) struct Order {
    /// Their places in the list of nodes, each after the nodes it reads: in the order of the file where that is sorted.
    pub(super) nodes: Vec<usize>,
    /// Those that depend on their own results.
    pub(super) cyclic: Vec<usize>,
}

/// The order of those of `nodes` that `outputs` depend on.
pub(super) fn order<'a>(nodes: &'a [proto::Node], outputs: impl Iterator<Item = &'a str>) -> Order {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in named(&node.output) {
            producer.entry(output).or_insert(i);
        }
    }
    let reads: Vec<Vec<&str>> = nodes.iter().map(reads).collect();
    // A node that defines a name again is live too, so that it is reported.
    let mut open: Vec<usize> = Vec::new();
    let mut live = vec![false; nodes.len()];
    let needed: HashSet<&str> = outputs.collect();
    for (i, node) in nodes.iter().enumerate() {
        if named(&node.output).any(|o| needed.contains(o)) {
            live[i] = true;
            open.push(i);
        }
    }
    while let Some(i) = open.pop() {
        for &p in reads[i].iter().filter_map(|name| producer.get(name)) {
            if !live[p] {
                live[p] = true;
                open.push(p);
            }
        }
    }
    sorted(&reads, &producer, &live)
}

/// The live nodes by their dependencies, of those that are ready always the first of the file.
fn sorted(reads: &[Vec<&str>], producer: &HashMap<&str, usize>, live: &[bool]) -> Order {
    let mut waits = vec![0; reads.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); reads.len()];
    for i in (0..reads.len()).filter(|&i| live[i]) {
        for &p in reads[i].iter().filter_map(|name| producer.get(name)) {
            waits[i] += 1;
            readers[p].push(i);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..reads.len()).filter(|&i| live[i] && waits[i] == 0).map(Reverse).collect();
    let mut nodes = Vec::new();
    while let Some(Reverse(i)) = ready.pop() {
        nodes.push(i);
        for &reader in &readers[i] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    let cyclic = (0..reads.len()).filter(|&i| live[i] && waits[i] > 0).collect();
    Order { nodes, cyclic }
}

fn named(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// The names that a node reads; those that graphs inside it take from outside are among them.
pub(super) fn reads(node: &proto::Node) -> Vec<&str> {
    let mut out: Vec<&str> = named(&node.input).collect();
    for graph in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
        let inside: HashSet<&str> = graph
            .node
            .iter()
            .flat_map(|n| named(&n.output))
            .chain(graph.initializer.iter().map(|t| t.name.as_str()))
            .chain(graph.input.iter().map(|i| i.name.as_str()))
            .collect();
        let inner = graph.node.iter().flat_map(reads).chain(graph.output.iter().map(|o| o.name.as_str()));
        out.extend(inner.filter(|name| !inside.contains(name)));
    }
    out
}
