//! Routes of jobs.

use std::convert::Infallible;
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::guard::From;
use super::keys::settle;
use crate::app::{App, lock};
use crate::job::{Job, Record, State as JobState};
use crate::refusal::Refusal;
use crate::submit;
use crate::tokens::Tenant;

/// How often a stream without news says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Bytes of a result that are read at once.
const CHUNK: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The keys that the request is computed with.
    key: String,
}

fn view(job: &Job) -> serde_json::Value {
    described(job, &job.record())
}

fn described(job: &Job, record: &Record) -> serde_json::Value {
    serde_json::json!(job.view(record))
}

pub async fn list(State(app): State<App>, From(tenant): From) -> Json<Vec<serde_json::Value>> {
    let mut jobs: Vec<Arc<Job>> = lock(&app.jobs).values().filter(|job| job.tenant == tenant).cloned().collect();
    jobs.sort_by_key(|job| job.record().created);
    Json(jobs.iter().map(|job| view(job)).collect())
}

pub async fn submit(
    State(app): State<App>,
    From(tenant): From,
    query: Result<Query<Submission>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, mut body) = request.into_parts();
    let accepted = async {
        let Query(Submission { key }) = query.map_err(|e| Refusal::Malformed(e.body_text()))?;
        let keys = app.keys(&tenant, &key)?;
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        submit::submit(&app, &tenant, keys, length, &mut body).await
    };
    let accepted = accepted.await;
    settle(&app, &parts.headers, &accepted, &mut body).await;
    let (job, new) = accepted?;
    let status = if new { StatusCode::ACCEPTED } else { StatusCode::OK };
    let at = format!("/v1/jobs/{}", job.id);
    Ok((status, [(header::LOCATION, at)], Json(view(&job))).into_response())
}

pub async fn show(State(app): State<App>, From(tenant): From, Path(job): Path<String>) -> Result<Response, Refusal> {
    let job = app.job(&tenant, &job)?;
    Ok(Json(view(&job)).into_response())
}

/// Calls off a job that waits or runs; forgets one that is final.
pub async fn remove(State(app): State<App>, From(tenant): From, Path(job): Path<String>) -> Result<Response, Refusal> {
    let job = app.job(&tenant, &job)?;
    if job.state().is_final() {
        app.blocking(move |app| app.forget(&job)).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    job.cancel();
    if app.queue.remove(&job) {
        let job = job.clone();
        app.blocking(move |app| {
            app.finish(&job, JobState::Cancelled, None);
            Ok(())
        })
        .await?;
    }
    Ok((StatusCode::ACCEPTED, Json(view(&job))).into_response())
}

/// One stream of events of a tenant, counted as long as it is open.
struct Open(App, Tenant);

impl Open {
    fn new(app: &App, tenant: &Tenant) -> Result<Self, Refusal> {
        let mut streams = lock(&app.streams);
        let (count, limit) = (streams.entry(tenant.clone()).or_default(), app.limits.streams_per_tenant);
        if *count >= limit {
            return Err(Refusal::TenantFull { what: "streams of events", limit, retry: 5 });
        }
        *count += 1;
        Ok(Self(app.clone(), tenant.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut streams = lock(&self.0.streams);
        if let Some(count) = streams.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.1);
            }
        }
    }
}

/// The job as it is, and again whenever it changes, until it is final or the service stops.
pub async fn events(State(app): State<App>, From(tenant): From, Path(job): Path<String>) -> Result<Response, Refusal> {
    let job = app.job(&tenant, &job)?;
    let open = Open::new(&app, &tenant)?;
    let (mut updates, stopping) = (job.watch(), app.stopping.subscribe());
    updates.mark_changed();
    let state = (job, updates, stopping, open, false);
    let stream = unfold(state, async |(job, mut updates, mut stopping, open, ended)| {
        if ended {
            return None;
        }
        // A job that waits will not be computed by a service that stops.
        let stopped = async { stopping.wait_for(|stop| *stop).await.is_ok() && job.state() != JobState::Running };
        tokio::select! {
            biased;
            changed = updates.changed() => changed.ok()?,
            true = stopped => return None,
        }
        let record = updates.borrow_and_update().clone();
        let event = Event::default().event(record.state.word()).data(described(&job, &record).to_string());
        Some((Ok::<_, Infallible>(event), (job, updates, stopping, open, record.state.is_final())))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

/// The result, or the rest of it from the first byte of a range on.
pub async fn result(
    State(app): State<App>,
    From(tenant): From,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let job = app.job(&tenant, &job)?;
    let record = job.record();
    match (record.state, record.error) {
        (JobState::Done, _) => {}
        (JobState::Failed, Some(error)) => return Err(Refusal::Unfit { reason: error.detail, help: error.help }),
        (JobState::Cancelled, _) => return Err(Refusal::Conflict("the job was called off")),
        _ => return Err(Refusal::Conflict("the job has no result yet")),
    }
    let failed = || Refusal::io("reading a result");
    let mut file = tokio::fs::File::open(job.output()).await.map_err(failed())?;
    let len = file.metadata().await.map_err(failed())?.len();
    let from = headers.get(header::RANGE).and_then(|range| rest_of(range.to_str().ok()?)).filter(|&from| from < len);
    file.seek(SeekFrom::Start(from.unwrap_or(0))).await.map_err(failed())?;
    let sent = len - from.unwrap_or(0);
    let chunks = ReaderStream::with_capacity(file.take(sent), CHUNK);
    let stream = unfold((chunks, job, 0), move |(mut chunks, job, done)| async move {
        let chunk = futures_util::StreamExt::next(&mut chunks).await?;
        let done = done + chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if done == sent {
            job.note_fetched();
        }
        Some((chunk, (chunks, job, done)))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, sent.into());
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    if let Some(from) = from {
        let range = format!("bytes {from}-{}/{len}", len - 1);
        headers.extend(range.parse().ok().map(|range| (header::CONTENT_RANGE, range)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The first byte of `bytes=N-`; other ranges are answered in full, as any may be.
fn rest_of(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
