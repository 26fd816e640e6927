//! Evaluation keys are uploaded once, in as many parts as it takes, and checked when they are whole.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use crate::app::{App, key_files, lock};
use crate::disk::Taken;
use crate::http::body::receive;
use crate::id::KeyId;
use crate::job::now;
use crate::refusal::Refusal;
use crate::store::{Announced, KEY_RECORD, UPLOAD, sync_folder, write_json};
use crate::tokens::Tenant;

/// A set of evaluation keys, whole or not.
#[derive(Debug)]
pub struct Keys {
    pub tenant: Tenant,
    pub id: KeyId,
    pub folder: PathBuf,
    announced: Mutex<Announced>,
    /// Held by the upload that is under way.
    pub upload: tokio::sync::Mutex<()>,
    /// When bytes came last, in milliseconds since 1970.
    touched: AtomicU64,
    _disk: Taken,
}

/// What its tenant is told of keys.
#[derive(Debug, Serialize)]
pub struct KeysView {
    id: KeyId,
    /// `uploading` or `ready`.
    state: &'static str,
    bytes: u64,
    /// Bytes that are there.
    offset: u64,
    created: u64,
}

impl Keys {
    /// Keys whose folder is there.
    pub fn found(tenant: Tenant, id: KeyId, folder: PathBuf, mut announced: Announced, disk: Taken) -> Self {
        // The record was written, and the file has not got its name: the check is done again.
        if !folder.join(crate::store::KEY_FILE).is_file() {
            announced.secret = None;
        }
        let (upload, touched) = (tokio::sync::Mutex::default(), AtomicU64::new(now()));
        Self { tenant, id, folder, announced: Mutex::new(announced), upload, touched, _disk: disk }
    }

    /// The secret key that they belong to, once they are whole.
    pub fn secret(&self) -> Option<String> {
        lock(&self.announced).secret.clone()
    }
    /// Whether they can be used.
    pub fn is_whole(&self) -> bool {
        self.secret().is_some()
    }
    /// When bytes came last.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    fn offset(&self) -> u64 {
        let (whole, upload) = key_files(self);
        fs::metadata(if self.is_whole() { whole } else { upload }).map_or(0, |meta| meta.len())
    }

    /// What its tenant is told.
    pub fn view(&self) -> KeysView {
        let Announced { bytes, created, secret } = lock(&self.announced).clone();
        let state = if secret.is_some() { "ready" } else { "uploading" };
        KeysView { id: self.id.clone(), state, bytes, offset: self.offset(), created }
    }
}

/// Announces keys; whether they are new.
pub fn announce(app: &App, tenant: &Tenant, id: KeyId, bytes: u64) -> Result<(Arc<Keys>, bool), Refusal> {
    let limit = app.engine.facts().key_bytes;
    if bytes > limit {
        return Err(Refusal::TooLarge { what: "the file of evaluation keys", limit });
    }
    if bytes == 0 {
        return Err(Refusal::Malformed("a file of evaluation keys is not empty".into()));
    }
    // Before the keys are locked: making room locks the jobs.
    let known = |keys: &Arc<Keys>| match lock(&keys.announced).bytes == bytes {
        true => Ok((keys.clone(), false)),
        false => Err(Refusal::Conflict("these keys were announced with another length")),
    };
    let name = (tenant.clone(), id.clone());
    if let Some(keys) = lock(&app.keys).get(&name) {
        return known(keys);
    }
    let disk = app.take_disk(bytes)?;
    let mut all = lock(&app.keys);
    if let Some(keys) = all.get(&name) {
        return known(keys);
    }
    let limit = app.limits.keys_per_tenant;
    if all.keys().filter(|(owner, _)| owner == tenant).count() >= limit {
        return Err(Refusal::TenantFull { what: "sets of evaluation keys", limit, retry: 60 });
    }
    let announced = Announced { bytes, created: now(), secret: None };
    let folder = app.store.key_folder(tenant, &id);
    let make = || {
        let incoming = app.store.incoming()?;
        write_json(&incoming.path().join(KEY_RECORD), &announced)?;
        File::create_new(incoming.path().join(UPLOAD))?.sync_all()?;
        app.store.publish(&incoming, &folder)
    };
    make().map_err(Refusal::io("making a folder for keys"))?;
    let keys = Arc::new(Keys::found(tenant.clone(), id, folder, announced, disk));
    all.insert(name, keys.clone());
    tracing::info!(tenant = &**tenant, key = keys.id.as_str(), bytes, "keys are announced");
    Ok((keys, true))
}

/// Adds bytes from `offset` on. What arrives is kept, also if the rest does not come. With the last byte the keys are checked.
pub async fn append(app: &App, keys: &Arc<Keys>, offset: u64, body: &mut Body) -> Result<(), Refusal> {
    let Ok(_uploading) = keys.upload.try_lock() else {
        return Err(Refusal::Full { what: "uploads of these keys", retry: 1 });
    };
    let bytes = lock(&keys.announced).bytes;
    let there = keys.offset();
    if keys.is_whole() || offset != there {
        return Err(Refusal::Offset { expected: there });
    }
    let failed = || Refusal::io("writing keys");
    let mut file = tokio::fs::File::options().append(true).open(keys.folder.join(UPLOAD)).await.map_err(failed())?;
    let received = receive(app, body, &mut file, bytes - there, "the file of evaluation keys", None).await;
    file.flush().await.map_err(failed())?;
    file.sync_all().await.map_err(failed())?;
    keys.touched.store(now(), Ordering::Relaxed);
    if there + received? == bytes {
        let keys = keys.clone();
        app.blocking(move |app| complete(app, &keys)).await?;
    }
    Ok(())
}

/// Checks whole keys: those that are not what was announced are dropped, and those that do not fit the plan forgotten.
fn complete(app: &App, keys: &Keys) -> Result<(), Refusal> {
    let (whole, upload) = key_files(keys);
    let failed = || Refusal::io("completing keys");
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(&upload).map_err(failed())?).map_err(failed())?;
    if KeyId::of(&hasher.finalize()) != keys.id {
        File::create(&upload).and_then(|file| file.sync_all()).map_err(failed())?;
        return Err(Refusal::Unfit {
            reason: "the bytes that arrived are not those that were announced: their BLAKE3 hash is another one".into(),
            help: "upload the file again, from its first byte".into(),
        });
    }
    let secret = match app.engine.check_keys(&upload) {
        Ok(secret) => secret,
        Err(unfit) => {
            tracing::warn!(tenant = &*keys.tenant, key = keys.id.as_str(), reason = unfit.reason, "keys are refused");
            app.store.remove(&keys.folder).map_err(failed())?;
            lock(&app.keys).remove(&(keys.tenant.clone(), keys.id.clone()));
            return Err(Refusal::Unfit { reason: unfit.reason, help: unfit.help });
        }
    };
    let announced = Announced { secret: Some(secret), ..lock(&keys.announced).clone() };
    write_json(&keys.folder.join(KEY_RECORD), &announced).map_err(failed())?;
    fs::rename(&upload, &whole).map_err(failed())?;
    sync_folder(&keys.folder).map_err(failed())?;
    *lock(&keys.announced) = announced;
    tracing::info!(tenant = &*keys.tenant, key = keys.id.as_str(), "keys are ready");
    Ok(())
}
