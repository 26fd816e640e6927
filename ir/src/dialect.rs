//! A level of the IR is a [`Dialect`]: a closed set of ops over one kind of type.
//!
//! # Adding an op
//!
//! 1. Add one line to the table of its level (`nn/ops.rs`, `slot/ops.rs` or `ckks/ops.rs`): documentation, variant,
//!    mnemonic, number of operands, attributes.
//!    ```text
//!    /// The larger of two values; operands broadcast.
//!    Max = "max" (2..=2) {},
//!    ```
//!    Text form, parser errors, e-graph view and patterns come from the table: the grammar does not change.
//! 2. Build. Every exhaustive `match` over the op enum stops compiling and says where the op is still missing: the typing
//!    rule (`infer.rs`, or `mod.rs` at `slot`), the interpreter (`eval`; `exec` at `ckks`), the cost of the op
//!    ([`cost`](crate::cost) at `ckks`, the fold's cost at `nn`), the lowering to the next level.
//! 3. At `nn`, let the importer make it, and reject it with a help text where packing cannot handle it.
//! 4. Test its meaning in the interpreter's tests, and add it to the generator of random graphs in `tests/it/generate.rs`.
//!
//! An attribute of a new type needs an [`AttrValue`](crate::attr::AttrValue); an enumeration gets one from
//! [`attr_enum!`](crate::attr_enum).

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::attr::Attr;
use crate::consts::ConstPool;
use crate::entity::ConstId;
use crate::text::TyText;

/// Why an op cannot stand where it stands.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TypeError(pub String);

/// Why text attributes do not make an op.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpError {
    /// No op has this mnemonic.
    #[error("`{0}` is not an op of this level")]
    UnknownOp(String),
    /// An attribute is of another type.
    #[error("attribute `{name}` must be {expected}, not {found}")]
    WrongAttr {
        /// Attribute name.
        name: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A required attribute is absent.
    #[error("attribute `{name}` ({expected}) is missing")]
    MissingAttr {
        /// Attribute name.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The op has no such attribute.
    #[error("`{op}` has no attribute `{name}`")]
    UnknownAttr {
        /// Mnemonic.
        op: String,
        /// Attribute name.
        name: String,
    },
}

/// The operations of one level: an enum whose variants hold attributes; operands live in the node.
pub trait OpInfo: Clone + Debug + Eq + Ord + Hash + Sized {
    /// Mnemonics with their one-line summaries, in declaration order.
    const TABLE: &'static [(&'static str, &'static str)];
    /// Name in text, without the level prefix.
    fn mnemonic(&self) -> &'static str;
    /// How many operands it takes.
    fn arity(&self) -> RangeInclusive<usize>;
    /// Its attributes in declaration order, absent ones left out.
    fn attrs(&self) -> Vec<(&'static str, Attr)>;
    /// The op with this mnemonic and these attributes.
    fn from_parts(mnemonic: &str, attrs: &[(String, Attr)]) -> Result<Self, OpError>;
    /// The op that stands for function parameter `index`.
    fn input(index: u32) -> Self;
    /// The parameter index, for an input.
    fn as_input(&self) -> Option<u32>;

    /// The constants its attributes name.
    fn consts(&self) -> Vec<ConstId> {
        self.attrs()
            .into_iter()
            .filter_map(|(_, a)| match a {
                Attr::Const(id) => Some(id),
                _ => None,
            })
            .collect()
    }
}

/// A type that can be read from its text form, the inverse of its `Display`.
pub trait ParseTy: Sized {
    /// The type `text` stands for.
    ///
    /// # Errors
    /// A message saying what the text should be.
    fn parse(text: &TyText<'_>) -> Result<Self, String>;
}

/// A level of the IR.
pub trait Dialect: Clone + Copy + Debug + PartialEq + Eq + 'static {
    /// Prefix of its ops in text.
    const NAME: &'static str;
    /// Its operations.
    type Op: OpInfo;
    /// The type of its values.
    type Ty: Clone + Debug + Eq + Hash + Display + ParseTy;

    /// The type of `op` over operands of types `operands`.
    fn infer(op: &Self::Op, operands: &[&Self::Ty], consts: &ConstPool) -> Result<Self::Ty, TypeError>;
}

/// Declares the ops of a level from one table: documentation, mnemonic, arity and attributes.
///
/// ```text
/// define_ops! {
///     /// Ops on packed slots.
///     pub enum SlotOp {
///         /// Cyclic left rotation.
///         Rotate = "rotate" (1..=1) { by: i64 },
///     }
/// }
/// ```
/// Every op enum gets an `Input` variant for function parameters.
#[macro_export]
macro_rules! define_ops {
    ($(#[$meta:meta])* pub enum $name:ident {
        $( #[doc = $summary:literal] $(#[$vmeta:meta])* $variant:ident = $mnemonic:literal ($arity:expr) { $( $(#[$ameta:meta])* $attr:ident : $ty:ty ),* $(,)? } ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum $name {
            /// A function parameter.
            Input { index: u32 },
            $( #[doc = $summary] $(#[$vmeta])* $variant { $( $(#[$ameta])* $attr: $ty ),* } ),*
        }

        impl $crate::dialect::OpInfo for $name {
            const TABLE: &'static [(&'static str, &'static str)] = &[ $( ($mnemonic, $summary) ),* ];

            fn mnemonic(&self) -> &'static str {
                match self { Self::Input { .. } => "input", $( Self::$variant { .. } => $mnemonic ),* }
            }
            fn arity(&self) -> std::ops::RangeInclusive<usize> {
                match self { Self::Input { .. } => 0..=0, $( Self::$variant { .. } => $arity ),* }
            }
            #[allow(unused_mut)]
            fn attrs(&self) -> Vec<(&'static str, $crate::attr::Attr)> {
                let mut out: Vec<(&'static str, $crate::attr::Attr)> = Vec::new();
                match self {
                    Self::Input { index } => out.push(("index", $crate::attr::Attr::Int(i64::from(*index)))),
                    $( Self::$variant { $($attr),* } => {
                        $( if let Some(a) = $crate::attr::AttrValue::to_attr($attr) { out.push((stringify!($attr), a)); } )*
                    } ),*
                }
                out
            }
            fn from_parts(mnemonic: &str, attrs: &[(String, $crate::attr::Attr)]) -> Result<Self, $crate::dialect::OpError> {
                match mnemonic {
                    $( $mnemonic => {
                        if let Some((name, _)) = attrs.iter().find(|(n, _)| ![$(stringify!($attr)),*].contains(&n.as_str())) {
                            return Err($crate::dialect::OpError::UnknownAttr { op: mnemonic.to_string(), name: name.clone() });
                        }
                        Ok(Self::$variant { $( $attr: $crate::dialect::read_attr::<$ty>(stringify!($attr), attrs)? ),* })
                    } )*
                    _ => Err($crate::dialect::OpError::UnknownOp(mnemonic.to_string())),
                }
            }
            fn input(index: u32) -> Self {
                Self::Input { index }
            }
            fn as_input(&self) -> Option<u32> {
                match self { Self::Input { index } => Some(*index), _ => None }
            }
        }
    };
}

/// Reads attribute `name` as a `T`; used by [`define_ops!`].
pub fn read_attr<T: crate::attr::AttrValue>(name: &str, attrs: &[(String, Attr)]) -> Result<T, OpError> {
    match attrs.iter().find(|(n, _)| n == name) {
        Some((_, attr)) => T::from_attr(attr).ok_or_else(|| OpError::WrongAttr {
            name: name.to_string(),
            expected: T::EXPECTED,
            found: attr.kind(),
        }),
        None => T::absent().ok_or_else(|| OpError::MissingAttr { name: name.to_string(), expected: T::EXPECTED }),
    }
}
