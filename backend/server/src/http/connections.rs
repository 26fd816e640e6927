//! Connections: no more than a bound, none that waits for a slow sender or reader for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::app::App;

/// Bytes of a request that are buffered while its head is read.
const HEAD_BUFFER: usize = 32 << 10;
/// Header fields of a request.
const MOST_HEADERS: usize = 64;
/// Wait after the system gives no connection, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections get that are too many.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves connections until the service stops; then those that are open end with the request they are at.
pub async fn serve(app: App, listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(app.limits.connections));
    let graceful = GracefulShutdown::new();
    let mut stopping = app.stopping.subscribe();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(app.limits.idle)
        .max_buf_size(HEAD_BUFFER)
        .max_headers(MOST_HEADERS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!(error = %e, "no connection was accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            app.metrics.turned_away.inc();
            tokio::spawn(turn_away(stream));
            continue;
        };
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        // Reading is bounded where bodies are received: a client that waits for events sends nothing.
        stream.set_write_timeout(Some(app.limits.idle));
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        let open = app.metrics.connections.clone();
        open.inc();
        tokio::spawn(async move {
            // That a client goes away is no fault of the service.
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "a connection ended");
            }
            open.dec();
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(app.limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that are still open are closed");
    }
}

async fn turn_away(mut stream: TcpStream) {
    let told = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await
    };
    // Whoever does not even read this gets nothing.
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}
