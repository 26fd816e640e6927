//! Typed 32-bit ids. Everything in a function or a constant pool is named by an index into its table.

use std::fmt;

/// An id that indexes a table.
pub trait Entity: Copy + Eq {
    /// The id of table row `index`.
    fn new(index: usize) -> Self;
    /// The table row this id names.
    fn index(self) -> usize;
}

macro_rules! entity {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl Entity for $name {
            fn new(index: usize) -> Self {
                assert!(index < u32::MAX as usize, "entity table overflow");
                Self(index as u32)
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

entity!(
    /// The single result of a node; also the id of that node. Prints as `%3`.
    Value,
    "%"
);
entity!(
    /// A constant in a [`ConstPool`](crate::ConstPool). Prints as `@c3` in debug output.
    ConstId,
    "@c"
);
