//! Tokens say which tenant a request is from. The service knows their hashes alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use blake3::Hash;

use crate::error::ServeError;

/// The name of a tenant, which is also that of its folder.
pub type Tenant = Arc<str>;

/// The tenant of a service without tokens.
pub const LOCAL: &str = "local";

/// What every token begins with, so that scanners for leaked secrets find it.
const MARK: &str = "fhec_";

/// The hashes of all tokens, with the tenants they stand for. A tenant may have several, so that one can be replaced without a
/// pause.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<(Tenant, Hash)>);

/// A new token.
pub struct NewToken {
    /// The token, which is nowhere else.
    pub token: String,
    /// The line for the file of tokens.
    pub line: String,
}

/// Whether a tenant can have this name.
fn is_name(name: &str) -> bool {
    let within = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(within) && !name.starts_with(['-', '_'])
}

impl Tokens {
    /// Reads a file: on every line the name of a tenant, a colon, and the BLAKE3 hash of a token in hexadecimal. Empty lines and
    /// those that begin with `#` are passed over.
    ///
    /// # Errors
    /// A file that cannot be read or has another line, with its number.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let text = std::fs::read_to_string(path).map_err(ServeError::file(path))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ServeError> {
        let mut tokens = Vec::new();
        for (i, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |reason: &str| ServeError::Tokens { path: path.into(), line: i + 1, reason: reason.into() };
            let (name, hash) = line.split_once(':').ok_or_else(|| wrong("there is no colon behind a name"))?;
            if !is_name(name) {
                return Err(wrong("the name is not 1 to 64 small letters, digits, `-` and `_`"));
            }
            let hash = Hash::from_hex(hash.trim()).map_err(|_| wrong("the hash has not 64 hexadecimal digits"))?;
            tokens.push((name.into(), hash));
        }
        Ok(Self(tokens))
    }

    /// The tenant of a token. Every hash is compared, each in time that does not depend on where it differs.
    pub fn tenant(&self, token: &str) -> Option<Tenant> {
        let found = blake3::hash(token.as_bytes());
        // The comparison of two `blake3::Hash` takes the same time whatever they are.
        self.0.iter().fold(None, |tenant, (name, hash)| if *hash == found { Some(name.clone()) } else { tenant })
    }

    /// The tenants, each once.
    pub fn tenants(&self) -> BTreeSet<Tenant> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Makes a token of 256 random bits for a tenant.
    ///
    /// # Errors
    /// A name that no tenant can have, or when the system gives no randomness.
    pub fn generate(tenant: &str) -> Result<NewToken, ServeError> {
        if !is_name(tenant) {
            return Err(ServeError::Name { name: tenant.into() });
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| ServeError::Randomness(e.to_string()))?;
        let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let token = format!("{MARK}{digits}");
        let line = format!("{tenant}:{}", blake3::hash(token.as_bytes()).to_hex());
        Ok(NewToken { token, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_and_a_wrong_line_by_its_number() {
        let (alice, bob) = (Tokens::generate("alice").unwrap(), Tokens::generate("bob").unwrap());
        let text = format!("# tenants\n\n{}\n{}\n", alice.line, bob.line);
        let tokens = Tokens::parse("t".as_ref(), &text).unwrap();
        assert_eq!(tokens.tenant(&alice.token).as_deref(), Some("alice"));
        assert_eq!(tokens.tenant(&bob.token).as_deref(), Some("bob"));
        assert_eq!(tokens.tenant(&alice.token[1..]), None);
        assert!(!text.contains(&alice.token[5..]), "the token itself is not in the file");
        for wrong in ["alice", "Alice:00", "../x:00", "alice:00"] {
            let error = Tokens::parse("t".as_ref(), &format!("\n{wrong}")).unwrap_err();
            assert!(error.to_string().starts_with("t:2: "), "{error}");
        }
        assert!(Tokens::generate("..").is_err() && Tokens::generate("").is_err());
    }
}
