//! Routes of evaluation keys.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::body::drain;
use super::guard::From;
use crate::app::{App, lock};
use crate::id::KeyId;
use crate::keys::{self, KeysView};
use crate::refusal::Refusal;

/// The offset of an upload, as in the drafts of resumable uploads for HTTP.
const OFFSET: &str = "upload-offset";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The hash of the file, which is the name of the keys.
    blake3: String,
    /// Bytes of the file.
    bytes: u64,
}

pub async fn list(State(app): State<App>, From(tenant): From) -> Json<Vec<KeysView>> {
    let all = lock(&app.keys);
    Json(all.values().filter(|keys| keys.tenant == tenant).map(|keys| keys.view()).collect())
}

pub async fn announce(
    State(app): State<App>,
    From(tenant): From,
    announcement: Result<Json<Announcement>, JsonRejection>,
) -> Result<(StatusCode, Json<KeysView>), Refusal> {
    let Json(Announcement { blake3, bytes }) = announcement.map_err(|e| Refusal::Malformed(e.body_text()))?;
    let id = KeyId::parse(&blake3)
        .ok_or_else(|| Refusal::Malformed("`blake3` is not of 64 hexadecimal digits in small letters".into()))?;
    let (keys, new) = app.blocking(move |app| keys::announce(app, &tenant, id, bytes)).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(keys.view())))
}

pub async fn show(State(app): State<App>, From(tenant): From, Path(key): Path<String>) -> Result<Response, Refusal> {
    let view = app.keys(&tenant, &key)?.view();
    Ok(Json(view).into_response())
}

pub async fn append(
    State(app): State<App>,
    From(tenant): From,
    Path(key): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, mut body) = request.into_parts();
    let added = async {
        let keys = app.keys(&tenant, &key)?;
        let offset = parts.headers.get(OFFSET).and_then(|value| value.to_str().ok()?.parse().ok());
        let offset = offset.ok_or_else(|| Refusal::Malformed("`Upload-Offset` is not a number of bytes".into()))?;
        keys::append(&app, &keys, offset, &mut body).await.map(|()| keys)
    };
    let added = added.await;
    settle(&app, &parts.headers, &added, &mut body).await;
    added.map(|keys| Json(keys.view()).into_response())
}

pub async fn remove(
    State(app): State<App>,
    From(tenant): From,
    Path(key): Path<String>,
) -> Result<StatusCode, Refusal> {
    app.blocking(move |app| app.remove_keys(&*app.keys(&tenant, &key)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts a refused upload, and reads on so that its sender sees why: unless it waits for leave to send.
pub async fn settle<T>(app: &App, headers: &HeaderMap, done: &Result<T, Refusal>, body: &mut Body) {
    let Err(refusal) = done else { return };
    app.metrics.refused(refusal.code());
    if !headers.contains_key(header::EXPECT) && !matches!(refusal, Refusal::TooSlow | Refusal::Stopping) {
        drain(app, body).await;
    }
}
