//! Receives the bodies of requests: within a length, and within a time that goes by what arrives.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::app::App;
use crate::refusal::Refusal;

/// Bytes per second that an upload must have after the time that any connection may be idle: a byte now and then does not keep it.
const LEAST_RATE: u64 = 4 << 10;

/// What is read of a body that is refused, so that its sender gets to read why.
const DRAINED: u64 = 64 << 20;

/// The next bytes of a body; none at its end.
async fn next(body: &mut Body, started: Instant, received: u64, idle: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let paid = Duration::from_secs(received / LEAST_RATE);
        let left = (idle + paid).saturating_sub(started.elapsed()).min(idle);
        let frame = tokio::time::timeout(left, body.frame()).await.map_err(|_| Refusal::TooSlow)?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Refusal::TooSlow),
            // Trailers say nothing here.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(_) => continue,
            },
        }
    }
}

/// Writes a body of at most `limit` bytes to a file, and to `hasher`; its length. Bytes that came before an error are written.
pub async fn receive(
    app: &App,
    body: &mut Body,
    file: &mut File,
    limit: u64,
    what: &'static str,
    mut hasher: Option<&mut blake3::Hasher>,
) -> Result<u64, Refusal> {
    let (started, mut received) = (Instant::now(), 0);
    let mut stopping = app.stopping.subscribe();
    loop {
        let stopped = async {
            // Uploads that are under way have as long as running jobs.
            let _ = stopping.wait_for(|stop| *stop).await;
            tokio::time::sleep(app.limits.grace).await;
        };
        let bytes = tokio::select! {
            bytes = next(body, started, received, app.limits.idle) => bytes?,
            () = stopped => return Err(Refusal::Stopping),
        };
        let Some(bytes) = bytes else { return Ok(received) };
        if received + bytes.len() as u64 > limit {
            return Err(Refusal::TooLarge { what, limit });
        }
        file.write_all(&bytes).await.map_err(Refusal::io("writing an upload"))?;
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.update(&bytes);
        }
        received += bytes.len() as u64;
        app.metrics.received.inc_by(bytes.len() as u64);
    }
}

/// Reads on for a while, and forgets what comes: a client that is still sending would not see the answer.
pub async fn drain(app: &App, body: &mut Body) {
    let (started, mut received) = (Instant::now(), 0);
    let idle = app.limits.idle.min(Duration::from_secs(5));
    while received < DRAINED && started.elapsed() < idle {
        match next(body, started, received, idle).await {
            Ok(Some(bytes)) => received += bytes.len() as u64,
            _ => return,
        }
    }
}
