//! Unfinished bytes have no name where the system can do that. Elsewhere they have a random one that is locked while
//! its program runs.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, TempPath};

use crate::target::folder;

/// How names of unfinished outputs begin and end.
const PREFIX: &str = ".fhec-";
const SUFFIX: &str = ".part";
/// Random characters between.
const RANDOM: usize = 12;

/// Names of unfinished outputs of this process.
static NAMES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Folders that were looked through for what dead programs left.
static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the unfinished outputs of this process that have a name: for a program that is told to end. Most have none, and
/// vanish by themselves.
pub fn discard_unfinished() {
    for name in std::mem::take(&mut *locked(&NAMES)) {
        // What cannot be removed now is removed by the next program that writes into the folder.
        let _ = fs::remove_file(name);
    }
}

/// The bytes of a future file, without its name.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: File,
    /// Absent while the file is anonymous.
    name: Option<Name>,
}

/// A random name in the folder of the output, removed when dropped.
#[derive(Debug)]
struct Name(Option<TempPath>);

impl Name {
    /// A name that `make` gives to a file.
    fn new<T>(folder: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let made = Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder, |path| {
            // Known before it is there, so that no signal falls between.
            locked(&NAMES).insert(path.to_path_buf());
            make(path).inspect_err(|_| {
                locked(&NAMES).remove(path);
            })
        })?;
        let (file, path) = made.into_parts();
        Ok((Self(Some(path)), file))
    }

    /// Renames, in place of what has the name if `replace`; gives itself back when something has it.
    fn rename(mut self, to: &Path, replace: bool) -> io::Result<Option<Self>> {
        let Some(name) = self.0.take() else { return Ok(None) };
        let old = name.to_path_buf();
        let renamed = if replace { name.persist(to) } else { name.persist_noclobber(to) };
        match renamed {
            Ok(()) => {
                locked(&NAMES).remove(&old);
                Ok(None)
            }
            Err(e) => {
                self.0 = Some(e.path);
                if e.error.kind() == io::ErrorKind::AlreadyExists { Ok(Some(self)) } else { Err(e.error) }
            }
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(name) = self.0.take() {
            let path = name.to_path_buf();
            drop(name);
            locked(&NAMES).remove(&path);
        }
    }
}

impl Unfinished {
    /// Bytes that shall become a file of this mode in `folder`.
    pub fn in_folder(folder: &Path, mode: u32) -> io::Result<Self> {
        sweep_once(folder);
        Self::anonymous(folder, mode).or_else(|_| Self::named(folder, mode))
    }

    #[cfg(target_os = "linux")]
    fn anonymous(folder: &Path, mode: u32) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(folder, flags, Mode::from_bits_truncate(mode))?);
        // The way to its name, see `link`.
        fs::metadata(descriptor(&file))?;
        // From when it has a name until it has its final one, programs that sweep see by the lock that it is in use.
        file.try_lock()?;
        Ok(Self { file, name: None })
    }

    #[cfg(not(target_os = "linux"))]
    fn anonymous(_: &Path, _: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn named(folder: &Path, mode: u32) -> io::Result<Self> {
        loop {
            let (name, file) = Name::new(folder, |path| {
                let mut options = File::options();
                options.read(true).write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
                #[cfg(not(unix))]
                let _ = mode;
                options.open(path)
            })?;
            // A program that sweeps may have been faster than the lock, and then the name is gone.
            let locked = file.try_lock().is_ok();
            if !locked || is_named(&file)? {
                return Ok(Self { file, name: Some(name) });
            }
        }
    }

    /// The same, on the disk.
    pub fn synced(self) -> io::Result<Self> {
        self.file.sync_all()?;
        Ok(self)
    }

    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.file.set_permissions(permissions)
    }

    /// Gives the bytes a name that nothing has; gives them back when something has it.
    pub fn name_new(self, path: &Path) -> io::Result<Option<Self>> {
        let Self { file, name } = self;
        let name = match name {
            Some(name) => name.rename(path, false)?,
            None => match link(&file, path) {
                Ok(()) => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(Some(Self { file, name: None })),
                Err(e) => return Err(e),
            },
        };
        Ok(name.map(|name| Self { file, name: Some(name) }))
    }

    /// Gives the bytes a name in place of what has it.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        let Self { file, name } = self;
        let name = match name {
            Some(name) => name,
            // A link cannot replace a name; a rename can.
            None => Name::new(folder(path), |new| link(&file, new))?.0,
        };
        name.rename(path, true).map(drop)
    }
}

#[cfg(target_os = "linux")]
fn descriptor(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives an anonymous file a name.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    Ok(rustix::fs::linkat(CWD, descriptor(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn is_named(file: &File) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0)
}

#[cfg(not(unix))]
fn is_named(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Looks through a folder the first time that this process writes into it.
fn sweep_once(folder: &Path) {
    if locked(&SWEPT).insert(folder.to_path_buf()) {
        sweep(folder);
    }
}

/// Removes unfinished outputs of programs that have died. Whoever made one holds its lock as long as they live.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let own = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if own && is_dead(&entry.path()) {
            // What cannot be removed stays for another program.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether nobody holds an unfinished output of this user.
fn is_dead(path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    #[cfg(unix)]
    let mine = std::os::unix::fs::MetadataExt::uid(&meta) == rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let mine = true;
    meta.is_file() && mine && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Unfinished {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes an unfinished file of either kind, where the system has both.
    fn makers() -> [fn(&Path) -> Unfinished; 2] {
        let named = |folder: &Path| Unfinished::named(folder, 0o666).unwrap();
        [|folder| Unfinished::in_folder(folder, 0o666).unwrap(), named]
    }

    #[test]
    fn a_new_name_is_given_once_and_replaced_only_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for make in makers() {
            let mut first = make(dir.path());
            first.write_all(b"first").unwrap();
            assert!(first.name_new(&path).unwrap().is_none());
            for make in makers() {
                let mut second = make(dir.path());
                second.write_all(b"second").unwrap();
                let second = second.name_new(&path).unwrap().expect("the name is taken");
                assert_eq!(fs::read(&path).unwrap(), b"first");
                drop(second);
            }
            for make in makers() {
                let mut third = make(dir.path());
                third.write_all(b"third").unwrap();
                third.replace(&path).unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"third");
            }
            assert_eq!(names(dir.path()), ["x"]);
            fs::remove_file(&path).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_anonymous_file_is_in_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = Unfinished::anonymous(dir.path(), 0o600).unwrap();
        assert!(names(dir.path()).is_empty());
        drop(file);
    }

    #[test]
    fn what_dead_programs_left_is_swept_and_what_living_ones_hold_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let held = Unfinished::named(dir.path(), 0o600).unwrap();
        let [living] = &names(dir.path())[..] else { panic!("one name") };
        // A program that is killed leaves a file that nobody has locked.
        fs::write(dir.path().join(".fhec-0123456789ab.part"), "half").unwrap();
        fs::write(dir.path().join("x.part"), "another program's").unwrap();
        sweep(dir.path());
        assert_eq!(names(dir.path()), [living.as_str(), "x.part"]);
        drop(held);
        assert_eq!(names(dir.path()), ["x.part"]);
    }
}
