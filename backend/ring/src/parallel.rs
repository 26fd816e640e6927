//! Loops over limbs run on the caller's pool; they are plain loops when that pool has one thread.

use rayon::prelude::*;

/// Runs `f(i, item)` for every item.
pub(crate) fn for_each<T: Send>(items: impl IntoIterator<Item = T>, f: impl Fn(usize, T) + Sync + Send) {
    if rayon::current_num_threads() <= 1 {
        items.into_iter().enumerate().for_each(|(i, item)| f(i, item));
    } else {
        let items: Vec<T> = items.into_iter().collect();
        items.into_par_iter().enumerate().for_each(|(i, item)| f(i, item));
    }
}
