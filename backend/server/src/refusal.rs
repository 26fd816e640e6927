//! Why a request is refused: a status, a word for programs, a sentence and a help for people (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use thiserror::Error;

/// Why a request is refused.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("a valid token is needed")]
    Unauthorized,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is no {0} of this name")]
    NotFound(&'static str),
    #[error("this route has no such method")]
    Method,
    #[error("{0}")]
    Malformed(String),
    #[error("{what} is larger than the {limit} bytes that the plan admits")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("the upload continues at byte {expected}")]
    Offset { expected: u64 },
    #[error("{0}")]
    Conflict(&'static str),
    #[error("the upload broke off, or was slower than is allowed")]
    TooSlow,
    #[error("{reason}")]
    Unfit { reason: String, help: String },
    #[error("this tenant has as many {what} as it may have ({limit})")]
    TenantFull { what: &'static str, limit: usize, retry: u64 },
    #[error("the service has as many {what} as it can take")]
    Full { what: &'static str, retry: u64 },
    #[error("the disk has no room for {bytes} bytes more")]
    Disk { bytes: u64 },
    #[error("the service is stopping")]
    Stopping,
    #[error("the service could not do this: {0}")]
    Internal(String),
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Offset { .. } | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unfit { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TenantFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Full { .. } | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Disk { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word that stays the same between versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::Method => "method",
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Offset { .. } => "offset",
            Self::Conflict(_) => "conflict",
            Self::TooSlow => "too_slow",
            Self::Unfit { .. } => "unfit",
            Self::TenantFull { .. } => "tenant_full",
            Self::Full { .. } => "full",
            Self::Disk { .. } => "disk",
            Self::Stopping => "stopping",
            Self::Internal(_) => "internal",
        }
    }

    fn help(&self) -> &str {
        match self {
            Self::Unauthorized => "send `Authorization: Bearer TOKEN`; `fhec token` makes tokens",
            Self::Forbidden(_) => {
                "a service without tokens is for programs of its own machine; give it tokens to reach it otherwise"
            }
            Self::NotFound(_) => "look at the list; finished jobs are kept for a bounded time",
            Self::Method | Self::Malformed(_) => "/openapi.json describes every request",
            Self::TooLarge { .. } => "send what was made for this plan; split a large request",
            Self::Offset { .. } => "send the bytes from there on, and the offset in `Upload-Offset`",
            Self::Conflict(_) => "wait for what is under way, or cancel it",
            Self::TooSlow => "send again; uploads of keys continue where they broke off",
            Self::Unfit { help, .. } => help,
            Self::TenantFull { .. } | Self::Full { .. } => {
                "wait as long as `Retry-After` says, or delete what is not needed"
            }
            Self::Disk { .. } => "delete results and keys that are not needed, or wait",
            Self::Stopping => "send again to the service that takes its place",
            Self::Internal(_) => "the log of the service says more",
        }
    }

    /// Seconds to wait before the request is sent again.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TenantFull { retry, .. } | Self::Full { retry, .. } => Some(*retry),
            Self::Stopping => Some(5),
            Self::Disk { .. } => Some(60),
            _ => None,
        }
    }

    /// A file system that fails.
    pub fn io(what: &str) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let what = what.to_string();
        move |e| {
            tracing::error!(what, error = %e, "the file system fails");
            Self::Internal(what)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("refused");
        let mut problem = serde_json::json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "code": self.code(),
            "detail": self.to_string(), "help": self.help(),
        });
        if let Self::Offset { expected } = self {
            problem["offset"] = expected.into();
        }
        let mut response = (status, problem.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if matches!(self, Self::Unauthorized) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
