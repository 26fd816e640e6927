//! What a service is told: where it listens, where it keeps its state, and what tenants may use.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a [`Service`](crate::Service) is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The folder of keys, jobs and results, of this service alone.
    pub folder: PathBuf,
    /// The file of the tokens' hashes. Without one everybody who reaches the address is the tenant `local`.
    pub tokens: Option<PathBuf>,
    /// Allows an address that other machines reach without tokens.
    pub without_tokens: bool,
    /// What tenants may use.
    pub limits: Limits,
}

impl Config {
    /// A service on a free port of this machine alone, without tokens.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            folder: folder.into(),
            tokens: None,
            without_tokens: false,
            limits: Limits::default(),
        }
    }
}

/// What tenants may use, each and together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that are computed at one time.
    pub workers: usize,
    /// Jobs that wait, of all tenants.
    pub queue: usize,
    /// Jobs that wait, of one tenant.
    pub queue_per_tenant: usize,
    /// Sets of evaluation keys of one tenant.
    pub keys_per_tenant: usize,
    /// Streams of events that one tenant has open at one time.
    pub streams_per_tenant: usize,
    /// Runs of the plan in one request.
    pub runs: usize,
    /// Bytes of keys, requests and results on the disk, of all tenants.
    pub disk: u64,
    /// How long a finished job and its result are kept, and an upload of keys that nobody continues.
    pub keep: Duration,
    /// How long a connection may be without progress in a request or a response.
    pub idle: Duration,
    /// How long a running job may go on once the service is told to stop.
    pub grace: Duration,
    /// Connections at one time.
    pub connections: usize,
    /// How often the same job may end the process before it counts as failed.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 1,
            queue: 64,
            queue_per_tenant: 32,
            keys_per_tenant: 4,
            streams_per_tenant: 32,
            runs: 64,
            disk: 64 << 30,
            keep: Duration::from_secs(24 * 3600),
            idle: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            connections: 256,
            attempts: 3,
        }
    }
}
