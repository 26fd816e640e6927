//! Extraction chooses one node per class, and counts nodes that are shared once.
//!
//! It takes two steps. A bottom-up fixpoint keeps for every class the node with the fewest levels and, among those, the least
//! work of the set of classes below it (a set, so that sharing within the term counts once). That is greedy: it cannot see what
//! the rest of the function uses. A local search then changes one class of the chosen term at a time as long as the total
//! over all roots falls.

mod search;

use std::collections::BTreeMap;

use egg::{Analysis, EGraph, Id, Language};

use super::ENode;
use crate::dialect::OpInfo;

/// What one node costs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Multiplicative levels it consumes.
    pub levels: u32,
    /// Work in any unit; at least 1, or the node counts as free and a cycle could look cheap.
    pub work: u64,
}

/// The cost that [`extract`] minimises: fewest levels on any path to a root, then least work in total.
pub trait Cost<O> {
    /// What `node` of `class` costs by itself; `None` forbids the node.
    fn own(&self, class: Id, node: &ENode<O>) -> Option<Own>;
}

/// Fewest nodes.
#[derive(Clone, Copy, Debug)]
pub struct OpCount;

impl<O> Cost<O> for OpCount {
    fn own(&self, _: Id, _: &ENode<O>) -> Option<Own> {
        Some(Own { levels: 0, work: 1 })
    }
}

/// One node for each class a term needs.
#[derive(Clone, Debug)]
pub struct Choice<O> {
    nodes: BTreeMap<Id, ENode<O>>,
    /// Levels on the longest path.
    pub levels: u32,
    /// Work, each class counted once.
    pub work: u64,
    /// Nodes that the local search looked at.
    pub effort: usize,
}

impl<O: OpInfo> Choice<O> {
    /// The node chosen for a (canonical) class.
    pub fn node(&self, class: Id) -> Option<&ENode<O>> {
        self.nodes.get(&class)
    }
    /// The chosen classes with their nodes, children first, in the order in which the roots need them.
    pub fn postorder<N: Analysis<ENode<O>>>(&self, egraph: &EGraph<ENode<O>, N>, roots: &[Id]) -> Vec<(Id, &ENode<O>)> {
        let mut out = Vec::with_capacity(self.nodes.len());
        let mut seen = std::collections::BTreeSet::new();
        let mut stack: Vec<(Id, usize)> = Vec::new();
        for &root in roots {
            stack.push((egraph.find(root), 0));
            while let Some((class, child)) = stack.pop() {
                let Some(node) = self.nodes.get(&class).filter(|_| !seen.contains(&class)) else {
                    continue;
                };
                match node.children.get(child) {
                    Some(&next) => {
                        stack.push((class, child + 1));
                        stack.push((egraph.find(next), 0));
                    }
                    None => {
                        seen.insert(class);
                        out.push((class, node));
                    }
                }
            }
        }
        out
    }
}

/// The cheapest term found for `roots`; `None` when some root has no finite term of allowed nodes. Deterministic.
pub fn extract<O: OpInfo, N: Analysis<ENode<O>>>(
    egraph: &EGraph<ENode<O>, N>,
    roots: &[Id],
    cost: &dyn Cost<O>,
) -> Option<Choice<O>> {
    let table = Table::new(egraph, cost);
    let roots: Vec<usize> = roots.iter().map(|&r| table.row(egraph.find(r))).collect();
    let mut picks = table.bottom_up();
    let mut total = table.total(&roots, &picks)?;
    let effort = search::improve(&table, &roots, &mut picks, &mut total);
    let nodes =
        total.order.iter().filter_map(|&row| Some((table.classes[row], table.rows[row][picks[row]?].node.clone())));
    Some(Choice { nodes: nodes.collect(), levels: total.levels, work: total.work, effort })
}

/// The allowed nodes of every class, with children as row numbers.
struct Table<O> {
    classes: Vec<Id>,
    rows: Vec<Vec<Entry<O>>>,
}

struct Entry<O> {
    node: ENode<O>,
    own: Own,
    children: Vec<usize>,
}

/// For every row the entry chosen, if a finite term exists.
type Picks = Vec<Option<usize>>;

struct Total {
    levels: u32,
    work: u64,
    /// Rows of the term, children first.
    order: Vec<usize>,
}

impl Total {
    fn key(&self) -> (u32, u64) {
        (self.levels, self.work)
    }
}

/// The best term of a class so far: its levels, and the rows it needs as a bit set.
#[derive(Clone)]
struct Best {
    entry: usize,
    levels: u32,
    work: u64,
    needs: Vec<u64>,
}

impl<O: OpInfo> Table<O> {
    fn new<N: Analysis<ENode<O>>>(egraph: &EGraph<ENode<O>, N>, cost: &dyn Cost<O>) -> Self {
        let mut classes: Vec<Id> = egraph.classes().map(|c| c.id).collect();
        classes.sort_unstable();
        let row = |id: Id| classes.binary_search(&egraph.find(id)).unwrap_or(usize::MAX);
        let entries = |&class: &Id| {
            let mut nodes: Vec<ENode<O>> =
                egraph[class].nodes.iter().map(|n| n.clone().map_children(|c| egraph.find(c))).collect();
            nodes.sort();
            nodes.dedup();
            let entry = |node: ENode<O>| {
                let own = cost.own(class, &node)?;
                let children = node.children.iter().map(|&c| row(c)).collect();
                Some(Entry { node, own, children })
            };
            nodes.into_iter().filter_map(entry).collect()
        };
        let rows = classes.iter().map(entries).collect();
        Self { classes, rows }
    }

    fn row(&self, class: Id) -> usize {
        self.classes.binary_search(&class).unwrap_or(usize::MAX)
    }

    fn bottom_up(&self) -> Picks {
        let mut best: Vec<Option<Best>> = vec![None; self.rows.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for row in 0..self.rows.len() {
                for entry in 0..self.rows[row].len() {
                    let fewest = best[row].as_ref().map_or(u32::MAX, |b| b.levels);
                    // Levels are told faster than sets of classes.
                    if self.levels(row, entry, &best).is_none_or(|levels| levels > fewest) {
                        continue;
                    }
                    let Some(found) = self.term(row, entry, &best) else {
                        continue;
                    };
                    let better = best[row].as_ref().is_none_or(|b| (found.levels, found.work) < (b.levels, b.work));
                    if better {
                        best[row] = Some(found);
                        changed = true;
                    }
                }
            }
        }
        best.into_iter().map(|b| b.map(|b| b.entry)).collect()
    }

    /// Levels of `entry` over the best terms of its children.
    fn levels(&self, row: usize, entry: usize, best: &[Option<Best>]) -> Option<u32> {
        let Entry { own, children, .. } = &self.rows[row][entry];
        let mut below = children.iter().map(|&c| best.get(c)?.as_ref().map(|b| b.levels));
        below.try_fold(0, |most, levels| Some(most.max(levels?))).map(|most: u32| most + own.levels)
    }

    /// The term of `entry` over the best terms of its children; none if a child has none or needs `row` itself.
    fn term(&self, row: usize, entry: usize, best: &[Option<Best>]) -> Option<Best> {
        let Entry { own, children, .. } = &self.rows[row][entry];
        let mut needs = vec![0u64; self.rows.len().div_ceil(64)];
        let mut levels = 0;
        for &child in children {
            let below = best.get(child)?.as_ref()?;
            levels = levels.max(below.levels);
            needs.iter_mut().zip(&below.needs).for_each(|(a, b)| *a |= b);
        }
        if needs[row / 64] >> (row % 64) & 1 == 1 {
            return None;
        }
        let mut work = own.work;
        for (word, &bits) in needs.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let needed = word * 64 + bits.trailing_zeros() as usize;
                let below = best[needed].as_ref()?;
                work = work.saturating_add(self.rows[needed][below.entry].own.work);
                bits &= bits - 1;
            }
        }
        needs[row / 64] |= 1 << (row % 64);
        Some(Best { entry, levels: levels + own.levels, work, needs })
    }

    /// Cost and rows of the term that `picks` makes of `roots`; none when it has a cycle or a gap.
    fn total(&self, roots: &[usize], picks: &Picks) -> Option<Total> {
        const UNSEEN: u32 = u32::MAX;
        const OPEN: u32 = u32::MAX - 1;
        let mut levels = vec![UNSEEN; self.rows.len()];
        let mut total = Total { levels: 0, work: 0, order: Vec::new() };
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for &root in roots {
            if *levels.get(root)? == UNSEEN {
                levels[root] = OPEN;
                stack.push((root, 0));
            }
            while let Some((row, child)) = stack.pop() {
                let entry = &self.rows[row][picks[row]?];
                if let Some(&next) = entry.children.get(child) {
                    stack.push((row, child + 1));
                    match *levels.get(next)? {
                        OPEN => return None,
                        UNSEEN => {
                            levels[next] = OPEN;
                            stack.push((next, 0));
                        }
                        _ => {}
                    }
                } else {
                    let below = entry.children.iter().map(|&c| levels[c]).max().unwrap_or(0);
                    levels[row] = below + entry.own.levels;
                    total.work = total.work.saturating_add(entry.own.work);
                    total.order.push(row);
                }
            }
            total.levels = total.levels.max(levels[root]);
        }
        Some(total)
    }
}
