//! A request has a name, which its result must repeat.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Names one encrypted request: random bytes, and a tag over them, the plan and the number of images that only the secret key of
/// the request can make.
///
/// The server copies it from the request to the result. A client thereby knows, without keeping anything but its key, that a
/// result claims to answer a request of its own for this plan and this many images, and with the request at hand that it claims
/// to answer this one: results that were mixed up, cut short or made for others are refused. It proves nothing about the
/// computation: a server that wants to deceive can put the name on any ciphertext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    pub(crate) nonce: [u8; 16],
    pub(crate) tag: [u8; 32],
}

impl fmt::Display for RequestId {
    /// The random bytes in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nonce.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text: String = self.nonce.iter().chain(&self.tag).map(|b| format!("{b:02x}")).collect();
        s.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digit = |c: u8| (c as char).to_digit(16);
        let byte = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
        let bytes: Option<Vec<u8>> = text.as_bytes().as_chunks::<2>().0.iter().map(|pair| byte(pair)).collect();
        let parts = bytes.as_deref().filter(|_| text.len() == 96).and_then(|bytes| bytes.split_at_checked(16));
        match parts.map(|(nonce, tag)| (nonce.try_into(), tag.try_into())) {
            Some((Ok(nonce), Ok(tag))) => Ok(Self { nonce, tag }),
            _ => Err(de::Error::custom("the name of a request is 96 hex digits")),
        }
    }
}
