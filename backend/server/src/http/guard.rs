//! Finds out whose request it is.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::app::App;
use crate::refusal::Refusal;
use crate::tokens::{LOCAL, Tenant, Tokens};

/// The tenant that a request is from.
pub struct From(pub Tenant);

impl FromRequestParts<App> for From {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let found = {
            let tokens = app.tokens.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            tenant(tokens.as_ref(), &parts.headers)
        };
        found.map(From).inspect_err(|refusal| {
            app.metrics.refused(refusal.code());
        })
    }
}

fn tenant(tokens: Option<&Tokens>, headers: &HeaderMap) -> Result<Tenant, Refusal> {
    let Some(tokens) = tokens else { return local(headers).map(|()| LOCAL.into()) };
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = token.and_then(|value| value.split_once(' ')).ok_or(Refusal::Unauthorized)?;
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    tokens.tenant(token.trim()).filter(|_| bearer).ok_or(Refusal::Unauthorized)
}

/// Where there are no tokens, pages in a browser of the same machine must not speak for its user: neither by a request to this
/// address (they have an `Origin`), nor by a name of their own that leads here (then `Host` is that name).
fn local(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal::Forbidden("requests of web pages are not taken without tokens"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if name.eq_ignore_ascii_case("localhost") || address.is_ok() {
        return Ok(());
    }
    Err(Refusal::Forbidden("without tokens the host must be an address, or localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tokens_no_web_page_is_let_in() {
        let with = |headers: &[(header::HeaderName, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value")));
            local(&headers.collect()).is_ok()
        };
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "192.168.0.7:80"] {
            assert!(with(&[(header::HOST, host)]), "{host}");
        }
        for host in ["evil.example:8080", "evil.example", "", "localhost.evil.example:80"] {
            assert!(!with(&[(header::HOST, host)]), "{host}");
        }
        assert!(!with(&[(header::HOST, "127.0.0.1"), (header::ORIGIN, "https://evil.example")]));
    }
}
