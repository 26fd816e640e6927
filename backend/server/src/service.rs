//! A service: its threads, its start and its end.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task;

use crate::app::App;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::ServeError;
use crate::http;
use crate::queue::Queue;
use crate::tokens::Tokens;
use crate::worker;

/// Threads that serve connections. They wait nearly always: work is done elsewhere.
const CONNECTION_THREADS: usize = 2;
/// How often what is kept no longer is looked for, and changes of the tokens.
const SWEEP: Duration = Duration::from_secs(1);

/// A running service. It stops when it is dropped.
pub struct Service {
    address: SocketAddr,
    app: App,
    runtime: Option<Runtime>,
    workers: Vec<JoinHandle<()>>,
    connections: Option<task::JoinHandle<()>>,
}

/// Tells a service to stop. It holds nothing of it: the folder of a service that has ended is free.
#[derive(Clone)]
pub struct Stopper {
    stopping: watch::Sender<bool>,
    queue: Arc<Queue>,
}

impl Stopper {
    fn of(app: &App) -> Self {
        Self { stopping: app.stopping.clone(), queue: app.queue.clone() }
    }

    /// Takes no further requests and starts no further job. A running job may end within the time of grace.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        self.queue.close();
    }
}

impl Service {
    /// Starts a service. It listens when this returns.
    ///
    /// # Errors
    /// An address that cannot be listened on or must not be, a folder that cannot be used, or a file of tokens that cannot be
    /// read.
    pub fn start(engine: Arc<dyn Engine>, config: Config) -> Result<Self, ServeError> {
        let reachable = !config.listen.ip().is_loopback();
        if reachable && config.tokens.is_none() && !config.without_tokens {
            return Err(ServeError::Open { address: config.listen });
        }
        let tokens = config.tokens.as_deref().map(Tokens::read).transpose()?;
        let listen = |source| ServeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let app = App::open(engine, &config, tokens)?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(CONNECTION_THREADS).thread_name("fhec-http").enable_all().build();
        let runtime = runtime.map_err(listen)?;
        let connections = {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
            let router = http::router(app.clone());
            runtime.spawn(tend(app.clone(), config.tokens.clone()));
            runtime.spawn(http::serve(app.clone(), listener, router))
        };
        let mut service =
            Self { address, app, runtime: Some(runtime), workers: Vec::new(), connections: Some(connections) };
        for i in 0..config.limits.workers.max(1) {
            let app = service.app.clone();
            let thread = std::thread::Builder::new().name(format!("fhec-worker-{i}"));
            service.workers.push(thread.spawn(move || worker::work(&app)).map_err(listen)?);
        }
        let tokens = service.app.tokens.read().is_ok_and(|tokens| tokens.is_some());
        tracing::info!(%address, tokens, plan = service.app.engine.facts().plan, "the service listens");
        Ok(service)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What tells it to stop.
    pub fn stopper(&self) -> Stopper {
        Stopper::of(&self.app)
    }

    /// Waits until it was told to stop, and has. What was accepted and not computed is on the disk, for the next start.
    pub fn wait(mut self) {
        if let Some(runtime) = &self.runtime {
            let mut stopping = self.app.stopping.subscribe();
            // The sender lives as long as the service.
            let _ = runtime.block_on(stopping.wait_for(|stop| *stop));
        }
        self.end();
    }

    fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.stopper().stop();
        tracing::info!("the service stops");
        let (app, grace) = (self.app.clone(), self.app.limits.grace);
        runtime.spawn(async move {
            tokio::time::sleep(grace).await;
            app.halt();
        });
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        if let Some(connections) = self.connections.take() {
            // Its panic would have been told of by the runtime.
            let _ = runtime.block_on(connections);
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
        tracing::info!("the service has stopped");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes what is kept no longer, and reads the tokens again when their file changes.
async fn tend(app: App, tokens: Option<PathBuf>) {
    let changed = |path: &Path| -> Option<(SystemTime, u64)> {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    let mut seen = tokens.as_deref().and_then(changed);
    loop {
        tokio::time::sleep(SWEEP).await;
        if let Some(path) = &tokens {
            let now = changed(path);
            if now != seen {
                seen = now;
                reload(&app, path);
            }
        }
        let swept = app.blocking(|app| {
            app.sweep();
            Ok(())
        });
        if let Err(e) = swept.await {
            tracing::error!(error = %e, "what is kept no longer could not be removed");
        }
    }
}

/// A file that cannot be read leaves the tokens as they are: half of it would lock tenants out.
fn reload(app: &App, path: &Path) {
    match Tokens::read(path) {
        Ok(tokens) => {
            tracing::info!(tenants = tokens.tenants().len(), "the tokens were read again");
            *app.tokens.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(tokens);
        }
        Err(e) => tracing::error!(error = %e, "the tokens stay as they were"),
    }
}
