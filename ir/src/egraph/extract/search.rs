//! The local search: one class after another takes another node, as long as the whole gets cheaper.
//!
//! What a change costs is told from what it changes: how often each class is read says which classes a term gains and loses, and
//! the levels that the terms above leave to a class say whether its new term is too deep. A change that is taken makes the
//! books anew.

use super::{Entry, Picks, Table, Total};
use crate::dialect::OpInfo;

/// Not a class of the term.
const OUTSIDE: usize = usize::MAX;

/// A term with what changes of it are judged by, row by row.
struct Books {
    /// How many nodes and roots read a row.
    readers: Vec<u32>,
    levels: Vec<u32>,
    /// The levels that a row may have before a root has more than it has.
    allowed: Vec<u32>,
    /// Its place among the rows of the term, children first.
    place: Vec<usize>,
}

impl Books {
    /// The books of the term `total` that `picks` makes of `roots`.
    fn new<O: OpInfo>(table: &Table<O>, roots: &[usize], picks: &Picks, total: &Total) -> Self {
        let rows = table.rows.len();
        let mut books = Self {
            readers: vec![0; rows],
            levels: vec![0; rows],
            allowed: vec![total.levels; rows],
            place: vec![OUTSIDE; rows],
        };
        roots.iter().for_each(|&root| books.readers[root] += 1);
        for (place, &row) in total.order.iter().enumerate() {
            let Some(Entry { own, children, .. }) = chosen(table, picks, row) else { continue };
            books.place[row] = place;
            let below = children.iter().map(|&c| books.levels[c]).max().unwrap_or(0);
            books.levels[row] = below + own.levels;
            children.iter().for_each(|&c| books.readers[c] += 1);
        }
        for &row in total.order.iter().rev() {
            let Some(Entry { own, children, .. }) = chosen(table, picks, row) else { continue };
            let left = books.allowed[row].saturating_sub(own.levels);
            children.iter().for_each(|&c| books.allowed[c] = books.allowed[c].min(left));
        }
        books
    }
}

fn chosen<'t, O: OpInfo>(table: &'t Table<O>, picks: &Picks, row: usize) -> Option<&'t Entry<O>> {
    table.rows.get(row)?.get(picks[row]?)
}

/// Lets rows take other entries as long as the total falls; how many nodes were looked at for it.
///
/// The terms that are given have the fewest levels there are, so that only work can fall.
pub(super) fn improve<O: OpInfo>(table: &Table<O>, roots: &[usize], picks: &mut Picks, total: &mut Total) -> usize {
    let mut search = Search { table, books: Books::new(table, roots, picks, total), looked_at: total.order.len() };
    let mut improved = true;
    while improved {
        improved = false;
        for row in total.order.clone() {
            for entry in 0..table.rows[row].len() {
                if search.books.readers[row] == 0 || picks[row] == Some(entry) || !search.falls(picks, row, entry) {
                    continue;
                }
                let before = picks[row].replace(entry);
                match table.total(roots, picks).filter(|found| found.key() < total.key()) {
                    Some(found) => {
                        search.looked_at += found.order.len();
                        search.books = Books::new(table, roots, picks, &found);
                        (*total, improved) = (found, true);
                    }
                    None => picks[row] = before,
                }
            }
        }
    }
    search.looked_at
}

struct Search<'t, O> {
    table: &'t Table<O>,
    books: Books,
    looked_at: usize,
}

impl<O: OpInfo> Search<'_, O> {
    /// Whether the term gets cheaper and no deeper where `row` takes `entry`.
    fn falls(&mut self, picks: &Picks, row: usize, entry: usize) -> bool {
        let new = &self.table.rows[row][entry];
        let Some(old) = chosen(self.table, picks, row) else { return false };
        let Some(below) = self.levels_below(picks, row, &new.children) else { return false };
        if below + new.own.levels > self.books.allowed[row] {
            return false;
        }
        let mut changed = Vec::new();
        let gained = self.read(picks, &new.children, &mut changed);
        let lost = self.forget(picks, &old.children, &mut changed);
        // As it was: the change is only judged.
        changed.into_iter().rev().for_each(|(c, by): (usize, i32)| {
            self.books.readers[c] = self.books.readers[c].saturating_add_signed(-by);
        });
        gained.saturating_add(new.own.work) < lost.saturating_add(old.own.work)
    }

    /// Levels of the deepest of `children`; none where one of them has no term, or one that needs `row`.
    fn levels_below(&mut self, picks: &Picks, row: usize, children: &[usize]) -> Option<u32> {
        let mut known: std::collections::HashMap<usize, Option<u32>> = std::collections::HashMap::new();
        let mut stack: Vec<usize> = children.to_vec();
        while let Some(&next) = stack.last() {
            if next == row || self.table.rows.get(next).is_none() {
                return None;
            }
            // What stands before a row in the order of the term does not need it.
            if self.books.place[next] < self.books.place[row] {
                known.insert(next, Some(self.books.levels[next]));
            }
            if matches!(known.get(&next), Some(Some(_))) {
                stack.pop();
                continue;
            }
            self.looked_at += 1;
            let Entry { own, children, .. } = chosen(self.table, picks, next)?;
            let open: Vec<usize> =
                children.iter().copied().filter(|c| !matches!(known.get(c), Some(Some(_)))).collect();
            if open.is_empty() {
                let below = children.iter().filter_map(|c| known[c]).max().unwrap_or(0);
                known.insert(next, Some(below + own.levels));
                stack.pop();
            } else if known.insert(next, None).is_some() {
                // It waits for what waits for it.
                return None;
            } else {
                stack.extend(open);
            }
        }
        Some(children.iter().filter_map(|c| known[c]).max().unwrap_or(0))
    }

    /// Reads `children` once more; the work of those that nothing has read, and of what they need.
    fn read(&mut self, picks: &Picks, children: &[usize], changed: &mut Vec<(usize, i32)>) -> u64 {
        let (mut gained, mut stack) = (0u64, children.to_vec());
        while let Some(child) = stack.pop() {
            self.looked_at += 1;
            self.books.readers[child] += 1;
            changed.push((child, 1));
            if self.books.readers[child] == 1
                && let Some(entry) = chosen(self.table, picks, child)
            {
                gained = gained.saturating_add(entry.own.work);
                stack.extend_from_slice(&entry.children);
            }
        }
        gained
    }

    /// Reads `children` once less; the work of those that nothing reads any more, and of what only they need.
    fn forget(&mut self, picks: &Picks, children: &[usize], changed: &mut Vec<(usize, i32)>) -> u64 {
        let (mut lost, mut stack) = (0u64, children.to_vec());
        while let Some(child) = stack.pop() {
            self.looked_at += 1;
            self.books.readers[child] = self.books.readers[child].saturating_sub(1);
            changed.push((child, -1));
            if self.books.readers[child] == 0
                && let Some(entry) = chosen(self.table, picks, child)
            {
                lost = lost.saturating_add(entry.own.work);
                stack.extend_from_slice(&entry.children);
            }
        }
        lost
    }
}
