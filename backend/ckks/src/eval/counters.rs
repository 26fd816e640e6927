//! Counters record what an evaluator did.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Running counts, shared by threads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// A reading of the counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
        pub struct EngineCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> EngineCounts {
                EngineCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl std::ops::Add for EngineCounts {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name,)* }
            }
        }

        impl std::ops::Sub for EngineCounts {
            type Output = Self;
            fn sub(self, earlier: Self) -> Self {
                Self { $($name: self.$name - earlier.$name,)* }
            }
        }
    };
}

counters! {
    /// Rotations and conjugations, hoisted ones included.
    rotations,
    /// Inner products with a switching key.
    key_switches,
    /// Products of ciphertexts.
    products,
    /// Products with plaintexts and constants.
    plain_products,
    /// Divisions by the last prime.
    rescales,
    /// Transforms of one limb, in either direction, at the full ring degree.
    transforms,
    /// Bootstraps.
    bootstraps,
}

/// Adds to a count.
pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
