//! Tells when a key is used next, because a program uses the same keys in the same order for every input.

use super::set::Place;
use std::collections::BTreeMap;

/// The uses of keys, step after step and then from the first again. The keys of one step are in use together.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    /// Steps that use each key, in order.
    uses: BTreeMap<Place, Vec<usize>>,
    /// Number of steps.
    len: usize,
    /// The step being done; before the first use, the last.
    at: usize,
}

impl Schedule {
    pub fn new(steps: &[Vec<Place>]) -> Self {
        let mut uses: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (step, &place) in steps.iter().enumerate().flat_map(|(i, s)| s.iter().map(move |p| (i, p))) {
            let at = uses.entry(place).or_default();
            if at.last() != Some(&step) {
                at.push(step);
            }
        }
        Self { uses, len: steps.len(), at: steps.len().saturating_sub(1) }
    }

    /// A key is used now: the step being done is this one, or else the next that uses the key.
    pub fn advance(&mut self, place: Place) {
        if let Some(distance) = self.distance(place) {
            self.at = (self.at + distance) % self.len;
        }
    }

    /// Steps until a key is used next, 0 for one of the step being done; nothing for a key that no step uses.
    pub fn distance(&self, place: Place) -> Option<usize> {
        let uses = self.uses.get(&place)?;
        let next = uses[uses.partition_point(|&step| step < self.at)..].first();
        Some(next.map_or_else(|| uses[0] + self.len - self.at, |next| next - self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::KeyName;

    #[test]
    fn distances_count_the_steps_to_the_next_use_around_the_end() {
        let place = |r| (KeyName::Rotation(r), 3);
        let steps = [vec![place(1), place(2)], vec![place(3)], vec![place(1)], vec![place(4), place(4)]];
        let mut schedule = Schedule::new(&steps);
        let distances = |s: &Schedule| [1, 2, 3, 4, 5].map(|r| s.distance(place(r)));
        assert_eq!(distances(&schedule), [Some(1), Some(1), Some(2), Some(0), None]);
        schedule.advance(place(2));
        assert_eq!(distances(&schedule), [Some(0), Some(0), Some(1), Some(3), None]);
        schedule.advance(place(1));
        assert_eq!(
            distances(&schedule),
            [Some(0), Some(0), Some(1), Some(3), None],
            "a step uses its keys in any order"
        );
        schedule.advance(place(3));
        assert_eq!(distances(&schedule), [Some(1), Some(3), Some(0), Some(2), None]);
        // A key that is not expected changes nothing, nor does one of an empty schedule.
        schedule.advance(place(5));
        assert_eq!(schedule.distance(place(3)), Some(0));
        let mut empty = Schedule::default();
        empty.advance(place(1));
        assert_eq!(empty.distance(place(1)), None);
    }
}
