//! Secret keys in files.

use std::path::Path;

use super::output;

/// Warns when others than its owner may read a secret key.
pub fn warn_if_open(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let Ok(meta) = std::fs::metadata(path) else { return };
        let mode = meta.permissions().mode() & 0o777;
        if meta.is_file() && mode & 0o077 != 0 {
            let path = path.display();
            output::warning(format!(
                "{path}: others may read this secret key (mode {mode:04o}); `chmod 600 {path}` ends that"
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}
