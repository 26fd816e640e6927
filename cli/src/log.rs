//! The log shows spans and events of `tracing` on standard error, as the variable `RUST_LOG` asks for them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::output;

/// Starts the log where `RUST_LOG` is set: stages and keys at `debug`, every operation of a run at `trace`.
pub fn start() {
    let Some(wanted) = std::env::var_os(EnvFilter::DEFAULT_ENV).filter(|wanted| !wanted.is_empty()) else { return };
    let filter = wanted.to_str().and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let Some(filter) = filter else {
        let wanted = wanted.display();
        return output::warning(format_args!(
            "RUST_LOG={wanted} is no filter; write RUST_LOG=fhec=debug or RUST_LOG=trace"
        ));
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_span_events(FmtSpan::CLOSE)
        .init();
}
