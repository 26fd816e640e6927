//! NSGA-II (Deb, Pratap, Agarwal and Meyarivan, 2002) over two objectives, time and agreement: ranks by domination, distances
//! between neighbours within a rank, tournaments, and children of two parents.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// The number of a form for every activation, in order of definition. Forms of smaller errors have larger numbers.
pub(super) type Genome = Vec<usize>;

/// How good a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Score {
    /// Predicted seconds.
    pub(super) seconds: f64,
    /// Agreement with the network as it was given.
    pub(super) agreement: f64,
    /// The same with enlarged errors. It decides between plans of one agreement, which many have where nearly all inputs agree.
    pub(super) cautious: f64,
}

impl Score {
    fn quality(&self) -> (f64, f64) {
        (self.agreement, self.cautious)
    }

    /// Whether it is no worse in time and agreement, and better in one. Plans of less than the `least` agreement are worse than
    /// others, and among them agreement alone counts.
    pub(super) fn dominates(&self, other: &Self, least: f64) -> bool {
        if self.agreement < least || other.agreement < least {
            return self.quality() > other.quality();
        }
        let (faster, better) = (self.seconds < other.seconds, self.quality() > other.quality());
        self.seconds <= other.seconds && self.quality() >= other.quality() && (faster || better)
    }
}

/// The place of every plan among all: its rank, 0 of those that none dominates, and the distance to its neighbours within the rank.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    rank: usize,
    distance: f64,
}

impl Standing {
    fn beats(&self, other: &Self) -> bool {
        self.rank < other.rank || (self.rank == other.rank && self.distance > other.distance)
    }
}

fn standings(scores: &[Score], least: f64) -> Vec<Standing> {
    let mut out = vec![Standing { rank: usize::MAX, distance: 0.0 }; scores.len()];
    let mut left: Vec<usize> = (0..scores.len()).collect();
    for rank in 0.. {
        let free = |&i: &usize| !left.iter().any(|&j| scores[j].dominates(&scores[i], least));
        let (front, rest): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(|i| free(i));
        if front.is_empty() {
            break;
        }
        for (&i, distance) in front.iter().zip(distances(scores, &front)) {
            out[i] = Standing { rank, distance };
        }
        left = rest;
    }
    out
}

/// For each plan of a front the distance between its neighbours, as a share of the whole front, summed over objectives; those at
/// the ends of one are infinitely far apart.
fn distances(scores: &[Score], front: &[usize]) -> Vec<f64> {
    let mut out = vec![0.0; front.len()];
    for objective in [|s: &Score| s.seconds, |s: &Score| s.agreement] {
        let value = |place: usize| objective(&scores[front[place]]);
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { continue };
        let whole = value(last) - value(first);
        (out[first], out[last]) = (f64::INFINITY, f64::INFINITY);
        for neighbours in order.windows(3).filter(|_| whole > 0.0) {
            out[neighbours[1]] += (value(neighbours[2]) - value(neighbours[0])) / whole;
        }
    }
    out
}

/// The best `count` of the plans, best first.
pub(super) fn survivors(scores: &[Score], count: usize, least: f64) -> Vec<usize> {
    let standings = standings(scores, least);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&standings[a], &standings[b]);
        a.rank.cmp(&b.rank).then(b.distance.total_cmp(&a.distance))
    });
    order.truncate(count);
    order
}

/// The plans that are better than every faster one, by rising time and agreement.
pub(super) fn front(scores: &[Score]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&scores[a], &scores[b]);
        let quality = b.agreement.total_cmp(&a.agreement).then(b.cautious.total_cmp(&a.cautious));
        a.seconds.total_cmp(&b.seconds).then(quality)
    });
    let mut best = f64::NEG_INFINITY;
    order.retain(|&i| {
        scores[i].agreement > best && {
            best = scores[i].agreement;
            true
        }
    });
    order
}

/// Makes children of a population, the same ones for the same seed and generation.
pub(super) struct Breeder<'a> {
    random: ChaCha8Rng,
    population: Vec<(&'a Genome, Standing)>,
    /// Forms of every activation.
    forms: &'a [usize],
}

impl<'a> Breeder<'a> {
    pub(super) fn new(
        (seed, generation): (u64, usize),
        population: &'a [(Genome, Score)],
        forms: &'a [usize],
        least: f64,
    ) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(generation as u64);
        let scores: Vec<Score> = population.iter().map(|(_, score)| *score).collect();
        let genomes = population.iter().map(|(genome, _)| genome);
        Self { random, population: genomes.zip(standings(&scores, least)).collect(), forms }
    }

    /// A child: of two winners of tournaments, each form from either, and at least one form moved.
    pub(super) fn child(&mut self) -> Genome {
        let (a, b) = (self.winner(), self.winner());
        let mut child: Genome = a.iter().zip(b).map(|(&a, &b)| if self.chance(0.5) { a } else { b }).collect();
        let (share, certain) = (1.0 / child.len() as f64, self.below(child.len()));
        for i in 0..child.len() {
            if i == certain || self.chance(share) {
                child[i] = self.moved(child[i], self.forms[i]);
            }
        }
        child
    }

    fn winner(&mut self) -> &'a Genome {
        let [a, b] = [0; 2].map(|_| self.below(self.population.len()));
        let ((first, one), (second, other)) = (self.population[a], self.population[b]);
        if other.beats(&one) { second } else { first }
    }

    /// Another form, the nearer the likelier, coarser as often as finer.
    fn moved(&mut self, form: usize, forms: usize) -> usize {
        let mut steps = 1;
        while self.chance(0.5) {
            steps += 1;
        }
        let last = forms - 1;
        let finer = if form == 0 {
            true
        } else if form == last {
            false
        } else {
            self.chance(0.5)
        };
        if finer { (form + steps).min(last) } else { form.saturating_sub(steps) }
    }

    fn chance(&mut self, probability: f64) -> bool {
        ((self.random.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.random.next_u64()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(seconds: f64, agreement: f64) -> Score {
        Score { seconds, agreement, cautious: 0.0 }
    }

    #[test]
    fn domination_is_strict_and_knows_a_least_agreement() {
        let (a, b, c) = (score(1.0, 0.95), score(2.0, 0.95), score(2.0, 0.99));
        assert!(a.dominates(&b, 0.0) && !b.dominates(&a, 0.0) && !a.dominates(&a, 0.0));
        assert!(!a.dominates(&c, 0.0) && !c.dominates(&a, 0.0));
        assert!(c.dominates(&a, 0.97), "what agrees too little is worse, however fast");
        let surer = Score { cautious: 0.5, ..b };
        assert!(surer.dominates(&b, 0.0) && !a.dominates(&surer, 0.0));
    }

    #[test]
    fn ranks_and_distances_are_those_of_the_paper() {
        let scores = [score(1.0, 0.5), score(2.0, 0.6), score(3.0, 1.0), score(2.5, 0.55), score(9.0, 0.5)];
        let standings = standings(&scores, 0.0);
        assert_eq!(standings.iter().map(|s| s.rank).collect::<Vec<_>>(), [0, 0, 0, 1, 2]);
        assert_eq!(standings[1].distance, 2.0, "its neighbours are the ends in both objectives");
        assert!(standings[0].distance.is_infinite() && standings[2].distance.is_infinite());
        assert_eq!(survivors(&scores, 3, 0.0), [0, 2, 1]);
        assert_eq!(survivors(&scores, 9, 0.0).len(), 5);
        assert!(survivors(&[], 3, 0.0).is_empty());
    }

    #[test]
    fn crowded_plans_go_first() {
        let scores = [0.0, 1.0, 1.1, 3.0, 5.0].map(|t| score(t, t / 10.0));
        let mut kept = survivors(&scores, 4, 0.0);
        kept.sort_unstable();
        assert_eq!(kept, [0, 2, 3, 4]);
    }

    #[test]
    fn a_front_rises_strictly_in_both() {
        let scores = [score(2.0, 0.9), score(1.0, 0.9), score(1.0, 0.8), score(4.0, 0.99), score(5.0, 0.99)];
        assert_eq!(front(&scores), [1, 3]);
        assert!(front(&[]).is_empty());
    }

    #[test]
    fn children_are_valid_differ_and_repeat_with_their_seed() {
        let population: Vec<(Genome, Score)> = (0..4).map(|i| (vec![i, 0, 3 - i], score(i as f64, i as f64))).collect();
        let children = |seed, generation| {
            let forms = [4, 1, 4];
            let mut breeder = Breeder::new((seed, generation), &population, &forms, 0.0);
            (0..50).map(|_| breeder.child()).collect::<Vec<_>>()
        };
        let first = children(1, 1);
        assert_eq!(first, children(1, 1));
        assert!(first != children(2, 1) && first != children(1, 2));
        assert!(first.iter().all(|child| child[0] < 4 && child[1] == 0 && child[2] < 4));
        let distinct: std::collections::BTreeSet<_> = first.iter().collect();
        assert!(distinct.len() > 8, "{distinct:?}");
    }
}
