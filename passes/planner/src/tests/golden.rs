//! Published vectors and the table of exact minimum bootstraps of a ResNet-20 body.

use proptest::prelude::*;

use super::*;

const FIVE: [u32; 19] = [6, 7, 0, 5, 2, 2, 0, 2, 2, 5, 0, 0, 4, 2, 0, 2, 2, 2, 2];
const ELEVEN: [u32; 19] = [6, 8, 6, 8, 8, 2, 0, 6, 7, 5, 0, 5, 7, 8, 8, 6, 9, 9, 2];
/// AutoFHE encrypts after the stem, at L = 16.
const AUTOFHE: Body = Body { l: 16, conv: 2, stem: 0, skips: Skips::Blocks, blocks: 9 };

fn walk(network: &Network, n: usize) -> usize {
    baseline::greedy(network, &vec![0; n]).unwrap().bootstraps.len()
}

#[test]
fn the_greedy_walk_reproduces_the_published_counts() {
    assert_eq!(walk(&counting(AUTOFHE, &FIVE), 19), 5);
    assert_eq!(walk(&counting(AUTOFHE, &ELEVEN), 19), 11);
    assert_eq!(exact(&counting(AUTOFHE, &FIVE)).unwrap().latency_us, 5.0);
    assert_eq!(exact(&counting(AUTOFHE, &ELEVEN)).unwrap().latency_us, 11.0);
}

/// Bootstraps for uniform depths 1, 2, ...
fn row(l: u32, conv: u32, skips: Skips, depths: u32, greedy: bool) -> Vec<usize> {
    let body = Body { l, conv, stem: conv, skips, blocks: 9 };
    let count = |d| {
        let network = counting(body, &[d; 19]);
        if greedy { walk(&network, 19) } else { exact(&network).unwrap().bootstraps.len() }
    };
    (1..=depths).map(count).collect()
}

#[test]
fn exact_minimum_bootstraps_of_a_resnet20_body() {
    let table: [(u32, u32, [&[usize]; 4]); 3] = [
        (
            16,
            2,
            [
                &[5, 5, 8, 8, 9, 10, 14, 18],
                &[4, 5, 8, 8, 9, 10, 14, 18],
                &[4, 5, 7, 7, 9, 10, 13, 18],
                &[3, 4, 6, 7, 9, 9, 12, 18],
            ],
        ),
        (10, 1, [&[5, 8, 9, 10, 18], &[4, 6, 9, 10, 18], &[4, 6, 9, 10, 18], &[3, 6, 9, 9, 18]]),
        (12, 1, [&[4, 5, 9, 9, 10], &[3, 5, 8, 9, 10], &[4, 5, 7, 9, 10], &[3, 4, 6, 9, 9]]),
    ];
    for (l, conv, columns) in table {
        let kinds = [Skips::Blocks, Skips::Blocks, Skips::Shared, Skips::None];
        for (k, (expected, skips)) in columns.into_iter().zip(kinds).enumerate() {
            assert_eq!(row(l, conv, skips, expected.len() as u32, k == 0), expected, "L = {l}, column {k}");
        }
    }
}

#[test]
fn a_bootstrap_at_the_fork_serves_both_branches() {
    // Before the block 4 levels are left. The walk sees that the first convolution fits, bootstraps inside the block, and pays
    // again after the join, because the shortcut kept the low level.
    let body = Body { l: 10, conv: 1, stem: 1, skips: Skips::Blocks, blocks: 1 };
    let network = counting(body, &[5, 4, 2]);
    let exact = exact(&network).unwrap();
    assert_eq!(walk(&network, 3), 2);
    assert_eq!(exact.bootstraps.len(), 1);
    assert_eq!(exact.bootstraps[0].place, Place::Fork("block0".into()));
    assert_eq!(exact.joins[0].skip.bootstraps, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exact_placement_is_never_worse_than_the_walk(
        depths in prop::collection::vec(0u32..8, 13),
        l in 9u32..16,
        conv in 1u32..3,
    ) {
        let network = counting(Body { l, conv, stem: 0, skips: Skips::Blocks, blocks: 6 }, &depths);
        let exact = exact(&network).unwrap();
        prop_assert_eq!(exact.latency_us, exact.bootstraps.len() as f64);
        if let Ok(walk) = baseline::greedy(&network, &[0; 13]) {
            prop_assert!(exact.bootstraps.len() <= walk.bootstraps.len());
        }
    }
}
