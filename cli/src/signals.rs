//! Handles signals that tell the program to end.

#[cfg(feature = "serve")]
use std::sync::{Mutex, PoisonError};

/// What the first signal does instead of ending the program.
#[cfg(feature = "serve")]
static FIRST: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// The first SIGINT or SIGTERM calls `f`, which ends what the program does in good order; the next one ends it at once.
#[cfg(feature = "serve")]
pub fn on_first(f: impl FnOnce() + Send + 'static) {
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(f));
}

/// On SIGINT and SIGTERM unfinished outputs are removed that the system does not remove by itself, and the terminal shows again
/// what is typed; then the program ends as the signal ends it (130 and 143 in a shell).
pub fn handle() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::iterator::Signals;
        // Where there is no handler the signal ends the program all the same, and the next start sweeps.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                #[cfg(feature = "serve")]
                {
                    let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(f) = first {
                        f();
                        continue;
                    }
                }
                fhec::discard_unfinished();
                #[cfg(feature = "client")]
                super::terminal::restore();
                if signal_hook::low_level::emulate_default_handler(signal).is_err() {
                    std::process::exit(128 + signal);
                }
            }
        });
    }
}
