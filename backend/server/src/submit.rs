//! A request becomes a job: it is received, checked, and on the disk before it is acknowledged.

use std::sync::Arc;

use axum::body::Body;
use tokio::io::AsyncWriteExt;

use crate::app::{App, lock};
use crate::disk::Taken;
use crate::engine::Progress;
use crate::http::body::receive;
use crate::id::JobId;
use crate::job::{INPUT, Job, RECORD, Record, State, now};
use crate::keys::Keys;
use crate::queue::{NoPlace, Place};
use crate::refusal::Refusal;
use crate::store::{Incoming, write_json};
use crate::tokens::Tenant;

/// A request that has arrived and is on the disk.
struct Arrived {
    incoming: Incoming,
    hash: blake3::Hash,
    place: Place,
    disk: Taken,
    bytes: u64,
}

/// Receives a request; the job, and whether it is new.
pub async fn submit(
    app: &App,
    tenant: &Tenant,
    keys: Arc<Keys>,
    length: Option<u64>,
    body: &mut Body,
) -> Result<(Arc<Job>, bool), Refusal> {
    const WHAT: &str = "the request";
    if !keys.is_whole() {
        return Err(Refusal::Conflict("the upload of these keys is not complete"));
    }
    let place = app.queue.reserve(tenant).map_err(|no| match no {
        NoPlace::Tenant => {
            Refusal::TenantFull { what: "waiting jobs", limit: app.limits.queue_per_tenant, retry: app.retry_after() }
        }
        NoPlace::Queue => Refusal::Full { what: "waiting jobs", retry: app.retry_after() },
        NoPlace::Closed => Refusal::Stopping,
    })?;
    let limit = app.engine.facts().request_bytes_per_run.saturating_mul(app.limits.runs as u64);
    if length.is_some_and(|length| length > limit) {
        return Err(Refusal::TooLarge { what: WHAT, limit });
    }
    let bytes = length.unwrap_or(limit);
    let (disk, incoming) = app
        .blocking(move |app| {
            let disk = app.take_disk(bytes)?;
            Ok((disk, app.store.incoming().map_err(Refusal::io("receiving a request"))?))
        })
        .await?;
    let failed = || Refusal::io("receiving a request");
    let mut file = tokio::fs::File::create_new(incoming.path().join(INPUT)).await.map_err(failed())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(keys.id.as_str().as_bytes());
    let bytes = receive(app, body, &mut file, bytes, WHAT, Some(&mut hasher)).await?;
    file.flush().await.map_err(failed())?;
    file.sync_all().await.map_err(failed())?;
    let arrived = Arrived { incoming, hash: hasher.finalize(), place, disk, bytes };
    let tenant = tenant.clone();
    app.blocking(move |app| accept(app, &tenant, &keys, arrived)).await
}

/// Checks what has arrived, and takes it on.
fn accept(app: &App, tenant: &Tenant, keys: &Keys, arrived: Arrived) -> Result<(Arc<Job>, bool), Refusal> {
    let Arrived { incoming, hash, place, mut disk, bytes } = arrived;
    let unfit = |reason: String, help: &str| {
        tracing::warn!(tenant = &**tenant, reason, "a request is refused");
        Refusal::Unfit { reason, help: help.into() }
    };
    let facts = app.engine.check_request(&incoming.path().join(INPUT)).map_err(|e| unfit(e.reason, &e.help))?;
    if facts.runs > app.limits.runs || facts.runs == 0 {
        let reason = format!("the request is of {} runs, from 1 to {} are taken", facts.runs, app.limits.runs);
        return Err(unfit(reason, "send the images in several requests"));
    }
    if keys.secret().as_ref() != Some(&facts.secret) {
        let reason = "the request was encrypted under another secret key than that of the evaluation keys".into();
        return Err(unfit(reason, "give the evaluation keys of the secret key that encrypted it"));
    }
    let results = app.take_disk(facts.runs as u64 * app.engine.facts().result_bytes_per_run)?;
    disk.shrink(bytes);
    disk.join(results);
    let id = JobId::of(&hash);
    let folder = app.store.job_folder(tenant, &id);
    let record = Record {
        key: keys.id.clone(),
        images: facts.images,
        runs: facts.runs,
        request: facts.request,
        created: now(),
        state: State::Queued,
        attempts: 0,
        finished: None,
        seconds: None,
        result_bytes: None,
        error: None,
        progress: Progress::default(),
    };
    let failed = || Refusal::io("accepting a request");
    write_json(&incoming.path().join(RECORD), &record).map_err(failed())?;
    let known = lock(&app.keys);
    let name = (tenant.clone(), id.clone());
    if !known.contains_key(&(tenant.clone(), keys.id.clone())) {
        return Err(Refusal::NotFound("set of keys"));
    }
    let mut jobs = lock(&app.jobs);
    if let Some(job) = jobs.get(&name) {
        if matches!(job.state(), State::Queued | State::Running | State::Done) {
            return Ok((job.clone(), false));
        }
        // What failed or was called off is tried anew.
        app.store.remove(&folder).map_err(failed())?;
        jobs.remove(&name);
    }
    if !app.store.publish(&incoming, &folder).map_err(failed())? {
        return Err(Refusal::Conflict("the same request is being removed"));
    }
    let job = Arc::new(Job::new(tenant.clone(), id, folder, record, disk));
    jobs.insert(name, job.clone());
    app.metrics.accepted.inc();
    tracing::info!(tenant = &**tenant, job = job.id.as_str(), images = facts.images, bytes, "a job is accepted");
    place.fill(job.clone());
    Ok((job, true))
}
