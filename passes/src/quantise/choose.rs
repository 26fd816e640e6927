//! How many values each tensor has.

use super::network::Network;
use super::trial::{Observed, Trial};
use super::{Capacity, QuantiseError};

/// Numbers of steps that a tensor may have. They need not be powers of two: what counts is how wide the sums become.
const TOPS: [u32; 8] = [1, 2, 3, 5, 7, 11, 15, 31];
/// Where the search begins.
const FIRST: u32 = 3;
/// Rounds over the tensors.
const ROUNDS: usize = 2;

/// The best trial found: tensor by tensor, the number of values with which the results agree most with the network's.
pub(super) fn chosen(network: &Network, observed: &Observed, capacity: &Capacity) -> Result<Trial, QuantiseError> {
    let most = 2u32.pow(capacity.lookups.bits) - 1;
    let mut tops = vec![FIRST.min(most); network.lens().len()];
    let mut best = Trial::of(network, observed, capacity, &tops)?;
    for _ in 0..ROUNDS {
        let before = tops.clone();
        for (tensor, &now) in before.iter().enumerate() {
            for top in TOPS.into_iter().filter(|&top| top <= most && top != now) {
                let mut tried = tops.clone();
                tried[tensor] = top;
                let trial = Trial::of(network, observed, capacity, &tried)?;
                if trial.is_better_than(&best) {
                    tracing::debug!(?tried, agreement = trial.agreement, error = trial.error, "better");
                    (tops, best) = (tried, trial);
                }
            }
        }
        if tops == before {
            break;
        }
    }
    Ok(best)
}
