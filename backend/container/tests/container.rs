//! What a reader does with whole, damaged, foreign and hostile files.

use fhec_container::{Codec, ContainerError, Destination, Dtype, Problem, Reader, Writer};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Manifest {
    name: String,
    limbs: u32,
}

fn manifest() -> Manifest {
    Manifest { name: "x".into(), limbs: 3 }
}

/// Everything a file holds, so that two files can be compared.
#[derive(PartialEq, Debug)]
struct Content(Manifest, Vec<(String, Vec<u8>)>);

fn read_all(bytes: &[u8]) -> Result<Content, ContainerError> {
    let reader = Reader::from_bytes("test", bytes)?.expect("test kind", 7)?;
    let sections = reader.sections().iter().map(|s| Ok((s.name.clone(), reader.section(&s.name)?.to_vec())));
    Ok(Content(reader.manifest()?, sections.collect::<Result<_, ContainerError>>()?))
}

fn sample(raw: &[u64], text: &str) -> Vec<u8> {
    let mut writer = Writer::in_memory("test kind", 7).unwrap();
    writer.section("raw", Dtype::U64, raw, Codec::Raw).unwrap();
    writer.section("text", Dtype::Text, text.as_bytes(), Codec::Zstd).unwrap();
    writer.section("empty", Dtype::U8, &[0u8; 0], Codec::Raw).unwrap();
    writer.into_bytes(&manifest()).unwrap()
}

fn problem(result: Result<impl Sized, ContainerError>) -> Problem {
    match result {
        Ok(_) => panic!("the file was accepted"),
        Err(e) => {
            assert!(!e.repair().is_empty());
            e.problem
        }
    }
}

#[test]
fn sections_come_back_aligned_and_equal() {
    let raw: Vec<u64> = (0..1000).collect();
    let text = "abc ".repeat(10_000);
    let bytes = sample(&raw, &text);
    assert!(bytes.len() < 12_000, "the text is compressed: {} bytes", bytes.len());
    let reader = Reader::from_bytes("test", &bytes).unwrap();
    let section = reader.section("raw").unwrap();
    assert_eq!(section.as_slice::<u64>().unwrap(), raw);
    assert_eq!(section.as_ptr() as usize % 64, 0);
    assert_eq!(reader.section("text").unwrap().as_str().unwrap(), text);
    assert!(reader.section("empty").unwrap().is_empty());
    assert_eq!(reader.manifest::<Manifest>().unwrap(), manifest());
    assert_eq!(sample(&raw, &text), bytes, "equal content gives equal bytes");
    assert_ne!(Reader::from_bytes("test", &sample(&raw[1..], &text)).unwrap().digest(), reader.digest());
}

#[test]
fn a_mapped_file_reads_as_its_bytes_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.key");
    std::fs::write(&path, "old content").unwrap();
    let mut writer = Writer::create(&path, "test kind", 7).unwrap();
    writer.section("raw", Dtype::U64, &[1u64, 2], Codec::Raw).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old content", "the file appears when complete");
    let digest = writer.finish(&manifest()).unwrap();
    let reader = Reader::open(&path).unwrap().expect("test kind", 7).unwrap();
    assert_eq!(reader.section("raw").unwrap().as_slice::<u64>().unwrap(), [1, 2]);
    assert_eq!(reader.digest(), digest);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");

    drop(Writer::create(&path, "test kind", 7).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "an abandoned writer leaves nothing");
    assert!(Reader::open(&path).is_ok());
}

#[cfg(unix)]
#[test]
fn secrets_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.key");
    Writer::create(Destination::new(&path).secret(), "test kind", 7).unwrap().finish(&manifest()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[cfg(target_os = "linux")]
#[test]
fn a_container_comes_through_a_pipe_and_goes_into_one() {
    use std::io::Write;
    let bytes = sample(&[1, 2, 3], "text");
    let open = |bytes: &[u8]| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let bytes = bytes.to_vec();
        let sent = std::thread::spawn(move || writer.write_all(&bytes));
        let opened = Reader::open(path);
        drop(reader);
        let _ = sent.join();
        opened
    };
    assert_eq!(open(&bytes).unwrap().section("raw").unwrap().as_slice::<u64>().unwrap(), [1, 2, 3]);
    assert!(matches!(problem(open(&bytes[..200])), Problem::Truncated { have: 200, .. }));
    assert!(matches!(problem(open(&[&bytes[..], &[0; 9]].concat())), Problem::TrailingBytes(1)));
    assert!(matches!(problem(open(b"no container")), Problem::NotAContainer));

    let (mut reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let mut through = Writer::create(path, "test kind", 7).unwrap();
    through.section("raw", Dtype::U64, &[1u64, 2, 3], Codec::Raw).unwrap();
    through.finish(&manifest()).unwrap();
    drop(writer);
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut received).unwrap();
    assert_eq!(Reader::from_bytes("pipe", &received).unwrap().manifest::<Manifest>().unwrap(), manifest());
}

#[test]
fn a_scratch_file_is_read_by_its_writer_alone() {
    let mut writer = Writer::scratch("test kind", 7).unwrap();
    writer.section("raw", Dtype::U64, &[4u64, 5], Codec::Raw).unwrap();
    let reader = writer.into_reader(&manifest()).unwrap();
    assert_eq!(reader.section("raw").unwrap().as_slice::<u64>().unwrap(), [4, 5]);
}

#[test]
fn foreign_and_misplaced_files_are_named() {
    let bytes = sample(&[1], "x");
    let open = |bytes: &[u8]| Reader::from_bytes("y.ct", bytes);
    assert!(matches!(problem(open(b"PK\x03\x04 something else entirely")), Problem::NotAContainer));
    assert!(matches!(problem(open(b"")), Problem::Truncated { have: 0, .. }));
    assert!(matches!(problem(open(&bytes[..60])), Problem::Truncated { have: 60, need: 128 }));
    assert!(matches!(problem(open(&bytes[..200])), Problem::Truncated { have: 200, .. }));
    assert!(matches!(problem(open(&[&bytes[..], &[0]].concat())), Problem::TrailingBytes(1)));
    assert!(matches!(problem(open(&bytes).unwrap().expect("plan", 7)), Problem::WrongKind { .. }));
    let newer = open(&bytes).unwrap().expect("test kind", 6);
    let Err(error) = newer else { panic!("a newer version was accepted") };
    assert_eq!(error.to_string(), "y.ct: the test kind is of format version 7, this program reads version 6");
    assert_eq!(error.repair(), "update fhec to a version that reads this file");
    let mut other = bytes.clone();
    other[8] = 9;
    assert!(matches!(problem(open(&other)), Problem::ContainerVersion { found: 9, supported: 1 }));
    assert!(matches!(problem(open(&bytes).unwrap().section("nothing")), Problem::MissingSection(_)));
    assert!(matches!(problem(open(&bytes).unwrap().with_limit(0).section("text")), Problem::TooLarge { .. }));
}

#[test]
fn one_budget_covers_all_that_a_file_takes() {
    let mut writer = Writer::in_memory("k", 1).unwrap();
    for name in ["a", "b"] {
        writer.section(name, Dtype::U8, &[0u8; 1000], Codec::Zstd).unwrap();
    }
    writer.section("raw", Dtype::U8, &[0u8; 1000], Codec::Raw).unwrap();
    let bytes = writer.into_bytes(&manifest()).unwrap();
    let reader = Reader::from_bytes("x", &bytes).unwrap().with_limit(1999);
    assert!(reader.section("raw").is_ok(), "what lies in the file takes nothing");
    assert!(reader.section("a").is_ok());
    let refused = problem(reader.section("b"));
    assert!(matches!(refused, Problem::TooLarge { need: 2000, limit: 1999, .. }), "{refused}");
    reader.spend("polynomials", 999).unwrap();
    assert!(matches!(problem(reader.spend("one more", 1)), Problem::TooLarge { .. }));
    assert_eq!(reader.left(), 0);
}

#[test]
fn sizes_are_compared_by_the_index_alone() {
    let mut writer = Writer::in_memory("k", 1).unwrap();
    writer.section("packed", Dtype::U8, &[0u8; 1000], Codec::Zstd).unwrap();
    writer.section("raw", Dtype::U8, &[0u8; 1000], Codec::Raw).unwrap();
    let reader = Reader::from_bytes("x", &writer.into_bytes(&manifest()).unwrap()).unwrap().with_limit(0);
    assert!(reader.expect_raw("raw", 1000).is_ok());
    for (name, len) in [("raw", 999), ("packed", 1000)] {
        assert!(matches!(problem(reader.expect_raw(name, len)), Problem::Malformed(_)), "{name}");
    }
    assert!(matches!(problem(reader.expect_raw("nothing", 1)), Problem::MissingSection(_)));
    assert!(matches!(problem(reader.section_of("packed", 999)), Problem::Malformed(_)));
    assert!(matches!(problem(reader.section_of("packed", 1000)), Problem::TooLarge { .. }));
}

#[test]
fn long_manifests_are_refused_when_written_and_when_read() {
    let writer = Writer::in_memory("k", 1).unwrap();
    let refused = problem(writer.into_bytes(&"x".repeat(9 << 20)));
    assert!(matches!(refused, Problem::Malformed(_)), "{refused}");
    let mut bytes = Writer::in_memory("k", 1).unwrap().into_bytes(&"x").unwrap();
    // The file says that it has 30 MiB more of a manifest, and has them.
    bytes.resize(bytes.len() + (30 << 20), b' ');
    for at in [40, 56] {
        let old = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        bytes[at..at + 8].copy_from_slice(&(old + (30 << 20)).to_le_bytes());
    }
    let refused = problem(Reader::from_bytes("x", &bytes));
    assert!(matches!(&refused, Problem::Malformed(reason) if reason.contains("manifest")), "{refused}");
}

#[test]
fn a_damaged_section_is_named_and_the_others_still_read() {
    let mut bytes = sample(&[1, 2, 3], "some text");
    bytes[128] ^= 1;
    let reader = Reader::from_bytes("x", &bytes).unwrap();
    assert!(matches!(problem(reader.section("raw")), Problem::SectionHash(name) if name == "raw"));
    assert!(reader.section("text").is_ok());
    assert!(matches!(problem(reader.verify()), Problem::SectionHash(_)));
}

#[test]
fn names_are_unique_and_lengths_whole() {
    let mut writer = Writer::in_memory("k", 1).unwrap();
    writer.section("a", Dtype::U8, &[1u8], Codec::Raw).unwrap();
    assert!(matches!(problem(writer.section("a", Dtype::U8, &[1u8], Codec::Raw)), Problem::DuplicateSection(_)));
    assert!(writer.section("b", Dtype::U64, &[1u8, 2, 3], Codec::Raw).is_err());
    assert!(Writer::in_memory("", 1).is_err());
    assert!(Writer::in_memory("a kind with far too long a name", 1).is_err());
}

proptest! {
    #[test]
    fn any_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8u32, len in 0..40usize) {
        let raw: Vec<u64> = (0..len as u64).map(|x| x.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        let mut bytes = sample(&raw, "the quick brown fox the quick brown fox");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read_all(&bytes).is_err(), "bit {} of byte {} went unnoticed", bit, at);
    }

    #[test]
    fn any_truncation_is_noticed(at in any::<prop::sample::Index>()) {
        let bytes = sample(&[1, 2, 3], "the quick brown fox");
        prop_assert!(read_all(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read_all(&bytes).is_err());
        let mut marked = b"FHEC\r\n\x1a\n\x01\0\0\0".to_vec();
        marked.extend(bytes);
        prop_assert!(read_all(&marked).is_err());
    }

    #[test]
    fn whatever_is_written_is_read(
        sections in prop::collection::btree_map("[a-z0-9/]{1,12}", (prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..8)
    ) {
        let mut writer = Writer::in_memory("test kind", 7).unwrap();
        for (name, (data, zstd)) in &sections {
            writer.section(name, Dtype::U8, data, if *zstd { Codec::Zstd } else { Codec::Raw }).unwrap();
        }
        let bytes = writer.into_bytes(&manifest()).unwrap();
        let expected = sections.into_iter().map(|(name, (data, _))| (name, data)).collect();
        prop_assert_eq!(read_all(&bytes).unwrap(), Content(manifest(), expected));
    }
}
