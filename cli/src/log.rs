//! The log shows spans and events of `tracing` on standard error, as the variable `RUST_LOG` asks for them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::output;

/// What is logged where `RUST_LOG` is not set.
#[derive(Clone, Copy, Default)]
pub struct Log {
    /// A filter, where something is.
    pub filter: Option<&'static str>,
    /// Whether every line is a JSON object.
    #[cfg(feature = "serve")]
    pub json: bool,
}

/// Starts the log as `RUST_LOG` says, or else as `log` does: stages and keys at `debug`, every operation of a run at `trace`.
pub fn start(log: Log) {
    let wanted = std::env::var_os(EnvFilter::DEFAULT_ENV).filter(|wanted| !wanted.is_empty());
    let Some(wanted) = wanted.or(log.filter.map(Into::into)) else { return };
    let filter = wanted.to_str().and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let Some(filter) = filter else {
        let wanted = wanted.display();
        return output::warning(format_args!(
            "RUST_LOG={wanted} is no filter; write RUST_LOG=fhec=debug or RUST_LOG=trace"
        ));
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_span_events(FmtSpan::CLOSE);
    #[cfg(feature = "serve")]
    if log.json {
        return lines.json().flatten_event(true).init();
    }
    lines.init();
}
