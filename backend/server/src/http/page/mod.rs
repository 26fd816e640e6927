//! The page of a service: the plan's report, and the jobs of the tenant whose token is given to it.
//!
//! The page itself says nothing that is not public. Its script asks for the report and the jobs with the token, which it keeps in
//! memory alone: in no address, no cookie, no storage. Nothing is loaded from elsewhere, and no script but the two below runs.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fhec::report::{SCRIPT, STYLE};

use super::guard::From;
use crate::app::App;

const PAGE: &str = include_str!("page.html");
const JOBS_STYLE: &str = include_str!("page.css");
const JOBS_SCRIPT: &str = include_str!("page.js");

/// Styles in attributes are the lengths of bars and places on axes.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn asset(kind: &'static str, content: String) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, content).into_response()
}

pub async fn page() -> Response {
    asset("text/html; charset=utf-8", PAGE.into())
}

pub async fn style() -> Response {
    asset("text/css; charset=utf-8", format!("{STYLE}{JOBS_STYLE}"))
}

pub async fn script() -> Response {
    asset("text/javascript; charset=utf-8", JOBS_SCRIPT.into())
}

pub async fn report_script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT.into())
}

/// The report of the plan, as the content of a page.
pub async fn report(State(app): State<App>, _: From) -> Response {
    asset("text/html; charset=utf-8", app.engine.facts().report.clone())
}
