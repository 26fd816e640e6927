//! Attributes are the compile-time parameters of an op. This module defines their types and converts them to and from
//! the text form.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use fhec_functions::Expression;
use serde::{Deserialize, Serialize};

use crate::entity::ConstId;

/// An `f64` with total order and bitwise equality, so that op enums can be hashed and compared.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct F64(pub f64);

impl PartialEq for F64 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for F64 {}
impl Hash for F64 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}
impl PartialOrd for F64 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for F64 {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl fmt::Display for F64 {
    /// The shortest decimal that reads back as the same number, always with a point or an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
impl From<f64> for F64 {
    fn from(x: f64) -> Self {
        Self(x)
    }
}

/// One attribute value as it stands in text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attr {
    /// `3`
    Int(i64),
    /// `0.5`
    Float(F64),
    /// `true`
    Bool(bool),
    /// `relu`: a bare name, used for enumerations
    Name(String),
    /// `"text"`
    Str(String),
    /// `@w0`
    Const(ConstId),
    /// `[1, 2]`
    Ints(Vec<i64>),
    /// `[0.5, 1.0]`
    Floats(Vec<F64>),
}

impl Attr {
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Name(_) => "a name",
            Self::Str(_) => "a string",
            Self::Const(_) => "a constant",
            Self::Ints(_) => "a list of integers",
            Self::Floats(_) => "a list of numbers",
        }
    }
}

/// A Rust type that an op attribute can have.
pub trait AttrValue: Sized {
    /// What the text must hold, for messages.
    const EXPECTED: &'static str;
    /// The text value; `None` leaves the attribute out (see [`AttrValue::absent`]).
    fn to_attr(&self) -> Option<Attr>;
    /// Reads the text value; `None` when it is not of this type.
    fn from_attr(attr: &Attr) -> Option<Self>;
    /// The value an absent attribute stands for; `None` when the attribute is required.
    fn absent() -> Option<Self> {
        None
    }
}

macro_rules! attr_value {
    ($ty:ty, $variant:ident, $expected:literal) => {
        impl AttrValue for $ty {
            const EXPECTED: &'static str = $expected;
            fn to_attr(&self) -> Option<Attr> {
                Some(Attr::$variant(self.clone()))
            }
            fn from_attr(attr: &Attr) -> Option<Self> {
                match attr {
                    Attr::$variant(x) => Some(x.clone()),
                    _ => None,
                }
            }
        }
    };
}
attr_value!(i64, Int, "an integer");
attr_value!(bool, Bool, "true or false");
attr_value!(ConstId, Const, "a constant");

impl AttrValue for F64 {
    const EXPECTED: &'static str = "a number";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Float(*self))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Float(x) => Some(*x),
            Attr::Int(x) => Some(Self(*x as f64)),
            _ => None,
        }
    }
}

impl AttrValue for Expression {
    const EXPECTED: &'static str = "the text of an expression of x of at most 128 steps, such as \"x/(1 + abs(x))\"";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Str(self.text().to_string()))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Str(text) => Self::parse(text).ok(),
            _ => None,
        }
    }
}

impl AttrValue for Vec<i64> {
    const EXPECTED: &'static str = "a list of integers";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Ints(self.clone()))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Ints(x) => Some(x.clone()),
            _ => None,
        }
    }
}

impl AttrValue for Vec<F64> {
    const EXPECTED: &'static str = "a list of numbers";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Floats(self.clone()))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Floats(x) => Some(x.clone()),
            Attr::Ints(x) => Some(x.iter().map(|&i| F64(i as f64)).collect()),
            _ => None,
        }
    }
}

impl AttrValue for u32 {
    const EXPECTED: &'static str = "a non-negative integer";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Int(i64::from(*self)))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Int(x) => Self::try_from(*x).ok(),
            _ => None,
        }
    }
}

impl<T: AttrValue> AttrValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn to_attr(&self) -> Option<Attr> {
        self.as_ref().and_then(AttrValue::to_attr)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        T::from_attr(attr).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Declares an attribute enumeration written as bare names in text.
#[macro_export]
macro_rules! attr_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The name in text.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
            /// The value with this name in text.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::attr::AttrValue for $name {
            const EXPECTED: &'static str = concat!("one of:" $(, " ", $text)*);
            fn to_attr(&self) -> Option<$crate::attr::Attr> {
                Some($crate::attr::Attr::Name(self.name().to_string()))
            }
            fn from_attr(attr: &$crate::attr::Attr) -> Option<Self> {
                match attr {
                    $crate::attr::Attr::Name(name) => Self::from_name(name),
                    _ => None,
                }
            }
        }
    };
}
