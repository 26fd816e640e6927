//! The protocol: routes, who may use them, and connections.

pub mod body;
mod connections;
mod guard;
mod jobs;
mod keys;
mod page;
mod status;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, patch, post};

use crate::app::App;
use crate::metrics::RequestLabels;
use crate::refusal::Refusal;

pub use connections::serve;

/// The description of the protocol (OpenAPI 3.1) that a service gives as `/openapi.json`.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// Every route with its method: the one list that the router is made of, and the test of [`OPENAPI`].
fn table() -> Vec<(&'static str, &'static str, MethodRouter<App>)> {
    vec![
        ("get", "/", get(page::page)),
        ("get", "/page.css", get(page::style)),
        ("get", "/page.js", get(page::script)),
        ("get", "/report.js", get(page::report_script)),
        ("get", "/healthz", get(status::healthy)),
        ("get", "/readyz", get(status::ready)),
        ("get", "/metrics", get(status::metrics)),
        ("get", "/openapi.json", get(status::openapi)),
        ("get", "/v1/plan", get(status::plan)),
        ("get", "/v1/plan/client", get(status::client_plan)),
        ("get", "/v1/plan/report", get(page::report)),
        ("get", "/v1/keys", get(keys::list)),
        ("post", "/v1/keys", post(keys::announce)),
        ("get", "/v1/keys/{key}", get(keys::show)),
        ("patch", "/v1/keys/{key}", patch(keys::append)),
        ("delete", "/v1/keys/{key}", delete(keys::remove)),
        ("get", "/v1/jobs", get(jobs::list)),
        ("post", "/v1/jobs", post(jobs::submit)),
        ("get", "/v1/jobs/{job}", get(jobs::show)),
        ("delete", "/v1/jobs/{job}", delete(jobs::remove)),
        ("get", "/v1/jobs/{job}/events", get(jobs::events)),
        ("get", "/v1/jobs/{job}/result", get(jobs::result)),
    ]
}

/// The method and the path of every route, as [`OPENAPI`] has them.
pub fn routes() -> Vec<(&'static str, &'static str)> {
    table().into_iter().map(|(method, path, _)| (method, path)).collect()
}

/// The routes of a service.
pub fn router(app: App) -> Router {
    let add = |router: Router<App>, (_, path, method): (_, &str, MethodRouter<App>)| router.route(path, method);
    let router = table().into_iter().fold(Router::new(), add);
    let router = router.fallback(async || Refusal::NotFound("route"));
    let router = router.method_not_allowed_fallback(async || Refusal::Method);
    router.layer(from_fn_with_state(app.clone(), observe)).with_state(app)
}

/// Counts and logs a request, and says what no response may leave open.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_string();
    let started = std::time::Instant::now();
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    tracing::info!(target: "fhec_server::request", method, route, status, milliseconds);
    app.metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
