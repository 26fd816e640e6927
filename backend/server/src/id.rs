//! Names that come from outside and stand in paths: hexadecimal digits and nothing else.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Number of hexadecimal digits.
            pub const DIGITS: usize = $digits;

            /// The name that a text is, if it is one.
            pub fn parse(text: &str) -> Option<Self> {
                let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
                (text.len() == $digits && text.bytes().all(digit)).then(|| Self(text.into()))
            }

            /// The name of what has this hash.
            pub(crate) fn of(hash: &blake3::Hash) -> Self {
                Self(hash.to_hex()[..$digits].into())
            }

            /// The digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text).ok_or_else(|| format!("`{text}` has not {} hexadecimal digits", $digits))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id! {
    /// The name of a set of evaluation keys: BLAKE3 of its file.
    KeyId, 64
}

id! {
    /// The name of a job: the beginning of BLAKE3 of its request and of the name of its keys. The same request sent twice is
    /// one job.
    JobId, 32
}
