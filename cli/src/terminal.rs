//! Hides on the terminal what is typed there and nobody may see.

use std::io;

/// What is typed after `prompt`, without its being seen.
///
/// # Errors
/// No terminal, or one that cannot be read.
pub fn ask(prompt: &str) -> io::Result<String> {
    #[cfg(unix)]
    saved::remember();
    let typed = rpassword::prompt_password(prompt);
    #[cfg(unix)]
    saved::forget();
    if typed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::Interrupted) {
        // Ctrl-C, which is now a signal on its way: it ends the program, and nothing else is said of it.
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    typed
}

#[cfg(unix)]
pub use saved::restore;

#[cfg(unix)]
mod saved {
    use std::fs::File;
    use std::sync::Mutex;

    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

    /// The terminal and how it was.
    static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

    pub fn remember() {
        let Ok(terminal) = File::open("/dev/tty") else { return };
        let Ok(before) = tcgetattr(&terminal) else { return };
        if let Ok(mut saved) = BEFORE.lock() {
            *saved = Some((terminal, before));
        }
    }

    pub fn forget() {
        if let Ok(mut saved) = BEFORE.lock() {
            *saved = None;
        }
    }

    /// Makes the terminal show again what is typed, for a program that ends meanwhile.
    pub fn restore() {
        let Ok(saved) = BEFORE.lock() else { return };
        if let Some((terminal, before)) = &*saved {
            // There is nobody left to tell of a failure.
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
        }
    }
}
