//! What becomes of the things that have the name of an output.

use std::fs;
use std::io::Write;
use std::path::Path;

use fhec_files::{Destination, OutputProblem, SystemError, is_same_file};

fn problem(result: Result<impl Sized, fhec_files::OutputError>) -> OutputProblem {
    match result {
        Ok(_) => panic!("it was written"),
        Err(e) => {
            assert!(!e.problem.repair().is_empty());
            e.problem
        }
    }
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_file_appears_when_it_is_complete_and_never_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let mut output = Destination::new(&path).create().unwrap();
    output.write_all(b"all").unwrap();
    assert!(!path.exists());
    output.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"all");
    let mut output = Destination::new(&path).create().unwrap();
    output.write_all(b"other").unwrap();
    drop(output);
    assert_eq!(fs::read(&path).unwrap(), b"all");
    Destination::new(&path).check().unwrap();
    assert_eq!(count(dir.path()), 1);
}

#[test]
fn what_must_be_kept_is_kept_also_when_it_appears_late() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let keeping = Destination::new(&path).keeping();
    let mut output = keeping.create().unwrap();
    output.write_all(b"late").unwrap();
    fs::write(&path, "first").unwrap();
    assert!(matches!(problem(output.commit()), OutputProblem::Exists));
    assert!(matches!(problem(keeping.check()), OutputProblem::Exists));
    let secret = Destination::new(&path).secret();
    assert!(matches!(problem(secret.write(b"key")), OutputProblem::ExistsWhereSecretGoes));
    assert!(matches!(problem(secret.keeping().check()), OutputProblem::ExistsWhereSecretGoes));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(count(dir.path()), 1);
    // Nothing is lost with an empty file.
    fs::write(&path, "").unwrap();
    keeping.write(b"filled").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"filled");
}

#[test]
fn folders_and_missing_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(problem(Destination::new(dir.path()).check()), OutputProblem::Folder));
    let missing = dir.path().join("no/x");
    assert!(
        matches!(problem(Destination::new(missing).check()), OutputProblem::NoFolder(folder) if folder.ends_with("no"))
    );
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn links_are_followed_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        symlink("sub/b", path("a")).unwrap();
        symlink("../target", path("sub/b")).unwrap();
        for content in ["new", "replaced"] {
            Destination::new(path("a")).write(content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(path("target")).unwrap(), content);
            assert!(path("a").is_symlink() && path("sub/b").is_symlink() && !path("target").is_symlink());
        }
        symlink("round", path("round")).unwrap();
        assert!(matches!(problem(Destination::new(path("round")).check()), OutputProblem::Links));
    }

    #[test]
    fn devices_are_written_to_and_stay() {
        let before = fs::symlink_metadata("/dev/null").unwrap().file_type();
        Destination::new("/dev/null").keeping().write(b"gone").unwrap();
        assert_eq!(fs::symlink_metadata("/dev/null").unwrap().file_type(), before);
        #[cfg(target_os = "linux")]
        {
            let OutputProblem::System(SystemError { source, .. }) = problem(Destination::new("/dev/full").write(b"x"))
            else {
                panic!()
            };
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn private_outputs_are_the_owners_and_others_keep_their_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        Destination::new(&path).private().write(b"1").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        Destination::new(&path).write(b"2").unwrap();
        assert_eq!(mode(&path), 0o640);
        Destination::new(&path).private().write(b"3").unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn one_file_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "x").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        symlink("a", path("soft")).unwrap();
        symlink("future", path("promise")).unwrap();
        fs::create_dir(path("sub")).unwrap();
        for (one, other) in [("a", "hard"), ("a", "soft"), ("a", "sub/../a"), ("future", "promise")] {
            assert!(is_same_file(&path(one), &path(other)), "{one} {other}");
        }
        fs::write(path("b"), "x").unwrap();
        for (one, other) in [("a", "b"), ("a", "future"), ("future", "past")] {
            assert!(!is_same_file(&path(one), &path(other)), "{one} {other}");
        }
        assert!(!is_same_file("/dev/null".as_ref(), "/dev/null".as_ref()), "it may be read and written at once");
    }
}
