//! Containers: raw bytes, and containers forged byte by byte whose hashes are right, so that the index and compressed
//! streams are anything.
#![no_main]

use fhec_container::Reader;
use fhec_fuzz::files::FILES;
use fhec_fuzz::write_seeds;
use libfuzzer_sys::fuzz_target;

const HEADER: usize = 128;

fn read(bytes: &[u8]) {
    let Ok(reader) = Reader::from_bytes("x", bytes) else { return };
    let reader = reader.with_limit(1 << 20);
    let _ = reader.manifest::<serde_json::Value>();
    let _ = reader.verify();
    for info in reader.sections() {
        if let Ok(section) = reader.section(&info.name) {
            let _ = (section.as_str().is_ok(), section.as_slice::<u64>().is_ok(), section.as_slice::<f32>().is_ok());
        }
    }
}

/// A container of this body, manifest and index, with the header and hash that belong to them.
fn sealed(body: &[u8], manifest: &[u8], index: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out.extend(body);
    out.resize(out.len().next_multiple_of(64), 0);
    let at = out.len();
    out.extend(manifest);
    out.extend(index);
    out[..8].copy_from_slice(b"FHEC\r\n\x1a\n");
    out[8..12].copy_from_slice(&1u32.to_le_bytes());
    out[16..17].copy_from_slice(b"x");
    for (i, n) in [out.len(), at, manifest.len(), index.len()].into_iter().enumerate() {
        out[40 + 8 * i..48 + 8 * i].copy_from_slice(&(n as u64).to_le_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&out[..96]).update(&out[at..]);
    out[96..128].copy_from_slice(hasher.finalize().as_bytes());
    out
}

fuzz_target!(
    init: {
        let zstd = b"\x00\x04\x28\xb5\x2f\xfd\x04\x00\x21\x00\x00\x61\x62\x63\x64\x32\x5f\x91\xb7".to_vec();
        let index = [b"\x01\x02", &b"{}[{\"name\":\"s\",\"dtype\":\"u8\",\"codec\":\"raw\",\"offset\":128,\"stored\":0,\"len\":0,\"hash\":\"\"}]"[..]].concat();
        write_seeds([FILES.secret.clone(), zstd, index])
    },
    |data: &[u8]| {
        read(data);
        let [mode, n, rest @ ..] = data else { return };
        if mode % 2 == 1 {
            // Any manifest, any index.
            let (manifest, index) = rest.split_at(usize::from(*n).min(rest.len()));
            read(&sealed(&[], manifest, index));
        } else {
            // A compressed section of any bytes under their right hash.
            let hash = blake3::hash(rest).to_hex();
            let index = format!(
                r#"[{{"name":"s","dtype":"u8","codec":"zstd","offset":128,"stored":{},"len":{n},"hash":"{hash}"}}]"#,
                rest.len()
            );
            let bytes = sealed(rest, b"{}", index.as_bytes());
            assert!(Reader::from_bytes("x", &bytes).is_ok());
            read(&bytes);
        }
    }
);
