//! Reads and writes secret keys in files, with their passphrases.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use fhec::runtime::ClientPlan;
use fhec::{Client, ClientOptions, Destination, Error, Passphrase};
use zeroize::Zeroizing;

use super::files::{self, Files};
use super::{output, terminal};

/// The longest passphrase that a file may hold, in bytes.
const LONGEST: usize = 4096;

/// What a secret key's file is encrypted with.
#[derive(Args)]
pub struct Secrecy {
    /// Ask on the terminal for the passphrase that the secret key's file is encrypted with
    #[arg(long)]
    passphrase: bool,
    /// File whose first line is the passphrase that the secret key's file is encrypted with
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase", value_parser = files::input())]
    passphrase_file: Option<PathBuf>,
}

/// A secret key that is there.
#[derive(Args)]
pub struct SecretKey {
    /// The secret key; it stays here
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    secret: PathBuf,
    #[command(flatten)]
    secrecy: Secrecy,
}

impl SecretKey {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.secret
    }

    /// Whether there is a passphrase.
    #[cfg(feature = "tfhe")]
    pub fn has_passphrase(&self) -> bool {
        self.secrecy.is_given()
    }

    /// Adds the files to those that a command reads.
    ///
    /// # Errors
    /// As [`Files::reads`].
    pub fn among(&self, files: Files) -> Result<Files, Error> {
        files.reads("the secret key", [&self.secret])?.reads("the passphrase", self.secrecy.file())
    }

    /// A client with the key.
    ///
    /// # Errors
    /// As [`Secrecy::load`].
    pub fn load(&self, options: ClientOptions, plan: &ClientPlan) -> Result<Client, Error> {
        self.secrecy.load(options, plan, &self.secret)
    }
}

impl Secrecy {
    /// The file to read, where there is one.
    pub fn file(&self) -> &Option<PathBuf> {
        &self.passphrase_file
    }

    /// Whether there is a passphrase.
    pub fn is_given(&self) -> bool {
        self.passphrase || self.passphrase_file.is_some()
    }

    /// The passphrase for the new key file `path`, if it is to have one.
    ///
    /// # Errors
    /// A file that cannot be read, an empty passphrase, two that differ, or no terminal.
    pub fn choose(&self, path: &Path) -> Result<Option<Passphrase>, Error> {
        let Some(first) = self.given(path)? else { return Ok(None) };
        if self.passphrase && ask(&format!("The same passphrase once more for {}: ", path.display()))? != first {
            return Err(Error::Usage {
                reason: "the two passphrases differ".into(),
                repair: "start again and type the same one twice".into(),
            });
        }
        Ok(Some(first))
    }

    /// A client with the key in `path`.
    ///
    /// # Errors
    /// A key that is refused, or a passphrase that is missing, wrong or for nothing.
    pub fn load(&self, options: ClientOptions, plan: &ClientPlan, path: &Path) -> Result<Client, Error> {
        warn_if_open("secret key", path);
        match self.given(path)? {
            Some(passphrase) => options.load_with_passphrase(plan, path, &passphrase),
            None => options.load(plan, path),
        }
    }

    fn given(&self, key: &Path) -> Result<Option<Passphrase>, Error> {
        match &self.passphrase_file {
            Some(file) => passphrase(&file.display().to_string(), first_line("passphrase", file)?).map(Some),
            None if self.passphrase => ask(&format!("Passphrase for {}: ", key.display())).map(Some),
            None => Ok(None),
        }
    }
}

/// Writes a new key, encrypted where there is a passphrase.
///
/// # Errors
/// A file that cannot be written.
pub fn save(client: &Client, to: &Destination, passphrase: Option<&Passphrase>) -> Result<(), Error> {
    match passphrase {
        Some(passphrase) => client.save_with_passphrase(to, passphrase),
        None => client.save(to),
    }
}

/// What is typed on the terminal, without its being seen there.
fn ask(prompt: &str) -> Result<Passphrase, Error> {
    let typed = terminal::ask(prompt).map_err(|e| Error::Usage {
        reason: format!("--passphrase asks on the terminal, and that cannot be done here: {e}"),
        repair: "give a file whose first line is the passphrase, or `-` for standard input: `--passphrase-file FILE`"
            .into(),
    })?;
    passphrase("the terminal", typed.into_bytes().into())
}

/// The secret in the first line of a file, without the line's end: `what` it is, as "passphrase". No copy of it is left in
/// memory, and a file that others may read is a warning.
///
/// # Errors
/// A file that cannot be read, or a line that is too long for a secret.
pub fn first_line(what: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    warn_if_open(what, path);
    let name = path.display().to_string();
    let failed = |source| Error::File { file: name.clone(), source };
    let mut file = File::open(path).map_err(failed)?;
    // Of one size, so that no copy is left behind; read from the file itself, which has no buffer that nobody wipes.
    let mut bytes = Zeroizing::new([0; LONGEST + 2]);
    let mut len = 0;
    let end = loop {
        let read = file.read(&mut bytes[len..]).map_err(failed)?;
        let end = bytes[len..len + read].iter().position(|&byte| byte == b'\n');
        len += read;
        if let Some(end) = end {
            break len - read + end;
        }
        if read == 0 {
            break len;
        }
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if line.len() > LONGEST {
        return Err(Error::Usage {
            reason: format!("{name}: its first line is longer than {LONGEST} bytes"),
            repair: "give a file whose first line is the secret alone".into(),
        });
    }
    Ok(line.to_vec().into())
}

fn passphrase(what: &str, bytes: Zeroizing<Vec<u8>>) -> Result<Passphrase, Error> {
    Passphrase::new(bytes).ok_or_else(|| Error::Usage {
        reason: format!("{what}: the passphrase is empty"),
        repair: "give a passphrase of some words that nobody guesses".into(),
    })
}

/// Warns when others than its owner may read a secret: `what` it is, as "secret key".
pub fn warn_if_open(what: &str, path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let Ok(meta) = std::fs::metadata(path) else { return };
        let mode = meta.permissions().mode() & 0o777;
        if meta.is_file() && mode & 0o077 != 0 {
            let path = path.display();
            output::warning(format!(
                "{path}: others may read this {what} (mode {mode:04o}); `chmod 600 {path}` ends that"
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (what, path);
}
