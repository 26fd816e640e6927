//! The folder of a service. Everything that was acknowledged is in it, written to the disk before.
//!
//! ```text
//! service.json                          the plan that the folder is for
//! client.fhe                            the client plan
//! lock                                  held by the service that uses the folder
//! incoming/…                            uploads that are not accepted, and what is being removed; emptied at every start
//! tenants/NAME/keys/ID/key.json         what was announced
//! tenants/NAME/keys/ID/upload           the bytes so far
//! tenants/NAME/keys/ID/evaluation.key   the whole file, checked
//! tenants/NAME/jobs/ID/job.json         the record
//! tenants/NAME/jobs/ID/input.ct         the request, until the job is final
//! tenants/NAME/jobs/ID/output.ct        the result
//! ```
//!
//! A job or a set of keys appears and disappears by the renaming of its folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fhec_files::Destination;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::Facts;
use crate::error::ServeError;
use crate::id::{JobId, KeyId};
use crate::job::{RECORD, Record};

/// The folder of a service.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Numbers of folders in `incoming`.
    next: AtomicU64,
    /// Held as long as the service runs.
    _lock: File,
}

/// What the folder says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    fhec_service: u32,
    plan: String,
}

/// What was announced of a set of keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    /// Bytes of the file.
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub created: u64,
    /// The secret key that they belong to, once the file is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Of keys, what was announced.
pub const KEY_RECORD: &str = "key.json";
/// Of keys, the bytes so far.
pub const UPLOAD: &str = "upload";
/// Of keys, the whole file.
pub const KEY_FILE: &str = "evaluation.key";

const MARKER: &str = "service.json";
const LOCK: &str = "lock";
const CLIENT_PLAN: &str = "client.fhe";
const INCOMING: &str = "incoming";
const TENANTS: &str = "tenants";

/// A folder in `incoming`, which is removed when it is dropped.
#[derive(Debug)]
pub struct Incoming(PathBuf);

impl Incoming {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Store {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// A folder of something else, of another plan, or that another service uses.
    pub fn open(root: &Path, facts: &Facts) -> Result<Self, ServeError> {
        create_private(root).map_err(ServeError::file(root))?;
        let marker_at = root.join(MARKER);
        let empty = || fs::read_dir(root).map(|entries| entries.flatten().all(|e| e.file_name() == LOCK));
        if !marker_at.exists() && !empty().map_err(ServeError::file(root))? {
            return Err(ServeError::NotOurs { path: root.into() });
        }
        let lock_at = root.join(LOCK);
        let lock = File::options().write(true).create(true).truncate(false).open(&lock_at);
        let lock = lock.map_err(ServeError::file(&lock_at))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ServeError::InUse { path: root.into() }),
            Err(TryLockError::Error(source)) => return Err(ServeError::File { path: lock_at, source }),
        }
        if marker_at.exists() {
            let marker: Marker = read_json(&marker_at)?;
            if marker.plan != facts.plan {
                let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_string();
                let (found, expected) = (short(&marker.plan), short(&facts.plan));
                return Err(ServeError::OtherPlan { path: root.into(), found, expected });
            }
        }
        let store = Self { root: root.into(), next: AtomicU64::new(0), _lock: lock };
        let incoming = root.join(INCOMING);
        match fs::remove_dir_all(&incoming) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(ServeError::File { path: incoming, source: e });
            }
            _ => {}
        }
        for folder in [&incoming, &root.join(TENANTS)] {
            create_private(folder).map_err(ServeError::file(folder))?;
        }
        Destination::new(store.client_plan()).write(&facts.client_plan)?;
        if !marker_at.exists() {
            write_json(&marker_at, &Marker { fhec_service: 1, plan: facts.plan.clone() })
                .map_err(ServeError::file(&marker_at))?;
        }
        Ok(store)
    }

    /// The file of the client plan.
    pub fn client_plan(&self) -> PathBuf {
        self.root.join(CLIENT_PLAN)
    }

    /// A new folder for what is being uploaded.
    pub fn incoming(&self) -> io::Result<Incoming> {
        let path = self.root.join(INCOMING).join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        create_private(&path)?;
        Ok(Incoming(path))
    }

    fn keys_of(&self, tenant: &str) -> PathBuf {
        self.root.join(TENANTS).join(tenant).join("keys")
    }
    fn jobs_of(&self, tenant: &str) -> PathBuf {
        self.root.join(TENANTS).join(tenant).join("jobs")
    }
    /// The folder of a set of keys.
    pub fn key_folder(&self, tenant: &str, id: &KeyId) -> PathBuf {
        self.keys_of(tenant).join(id.as_str())
    }
    /// The folder of a job.
    pub fn job_folder(&self, tenant: &str, id: &JobId) -> PathBuf {
        self.jobs_of(tenant).join(id.as_str())
    }

    /// Gives a folder of `incoming`, whose files are on the disk, its name. Whether it was given, and is on the disk: where
    /// the name is taken, it is not.
    pub fn publish(&self, incoming: &Incoming, folder: &Path) -> io::Result<bool> {
        let parent = folder.parent().unwrap_or(&self.root);
        if !parent.is_dir() {
            // Every new name on the way is on the disk before what lies behind it counts.
            create_private(parent)?;
            for above in parent.ancestors().take_while(|above| above.starts_with(&self.root)) {
                sync_folder(above)?;
            }
        }
        sync_folder(incoming.path())?;
        if folder.exists() {
            return Ok(false);
        }
        fs::rename(incoming.path(), folder)?;
        sync_folder(parent)?;
        Ok(true)
    }

    /// Removes a folder: it has lost its name when this returns.
    pub fn remove(&self, folder: &Path) -> io::Result<()> {
        let bin = self.incoming()?;
        match fs::rename(folder, bin.path().join("removed")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        folder.parent().map_or(Ok(()), sync_folder)
    }

    /// The tenants that have folders.
    pub fn tenants(&self) -> Result<Vec<String>, ServeError> {
        names(&self.root.join(TENANTS))
    }

    /// The keys of a tenant.
    pub fn keys(&self, tenant: &str) -> Result<Vec<(KeyId, Announced)>, ServeError> {
        let folder = self.keys_of(tenant);
        let ids = names(&folder)?.into_iter().filter_map(|name| KeyId::parse(&name));
        ids.map(|id| Ok((id.clone(), read_json(&folder.join(id.as_str()).join(KEY_RECORD))?))).collect()
    }

    /// The jobs of a tenant.
    pub fn jobs(&self, tenant: &str) -> Result<Vec<(JobId, Record)>, ServeError> {
        let folder = self.jobs_of(tenant);
        let ids = names(&folder)?.into_iter().filter_map(|name| JobId::parse(&name));
        ids.map(|id| Ok((id.clone(), read_json(&folder.join(id.as_str()).join(RECORD))?))).collect()
    }
}

/// The names in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, ServeError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(ServeError::file(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(ServeError::file(folder))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Makes a folder, and those above it, that only their owner may read.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Makes names in a folder outlive a loss of power.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ServeError> {
    let bytes = fs::read(path).map_err(ServeError::file(path))?;
    serde_json::from_slice(&bytes).map_err(|e| ServeError::State { path: path.into(), reason: e.to_string() })
}

/// Writes a file at once and to the disk, in place of what has its name.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    Destination::new(path).private().write(&bytes).map_err(io::Error::other)
}
