//! What a service says of itself.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::OPENAPI;
use super::guard::From;
use crate::app::App;
use crate::engine::Facts;
use crate::refusal::Refusal;

pub async fn healthy() -> &'static str {
    "ok\n"
}

pub async fn ready(State(app): State<App>) -> Result<&'static str, Refusal> {
    if app.is_stopping() { Err(Refusal::Stopping) } else { Ok("ready\n") }
}

pub async fn metrics(State(app): State<App>) -> Result<Response, Refusal> {
    let text = app.metrics.text(&app.sample()).map_err(|e| Refusal::Internal(e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

#[derive(Serialize)]
struct PlanView<'a> {
    #[serde(flatten)]
    facts: &'a Facts,
    /// Runs of one request at most.
    runs_per_request: usize,
    /// Seconds that finished jobs are kept.
    keep_seconds: u64,
    waiting: usize,
}

pub async fn plan(State(app): State<App>, _: From) -> Response {
    let (runs_per_request, keep_seconds) = (app.limits.runs, app.limits.keep.as_secs());
    Json(PlanView { facts: app.engine.facts(), runs_per_request, keep_seconds, waiting: app.queue.len() })
        .into_response()
}

pub async fn client_plan(State(app): State<App>, _: From) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], app.engine.facts().client_plan.clone()).into_response()
}
