//! Plan files come back as they were, and damaged ones are refused without a panic.

use fhec_container::{Codec, Reader, Writer};
use fhec_tfhe::{ClientPlan, Plan};

use crate::programs::small;

#[test]
fn plans_come_back() {
    let plan = Plan::new("small", small(), 4).unwrap().with_provenance(serde_json::json!({ "by": "a test" }));
    let read = Plan::from_bytes("p", &plan.to_bytes().unwrap()).unwrap();
    assert_eq!(read, plan);
    let client = plan.client().unwrap();
    assert_eq!(ClientPlan::from_bytes("c", &client.to_bytes().unwrap()).unwrap(), client);
    assert_eq!(client.plan_digest(), read.digest().unwrap());
}

/// Every version of a container in which one section has one byte changed, or one is missing or short, with hashes that fit, and
/// every one whose manifest has one character changed and is JSON still.
pub fn forgeries(bytes: &[u8]) -> Vec<Vec<u8>> {
    let reader = Reader::from_bytes("whole", bytes).unwrap();
    let manifest: serde_json::Value = reader.manifest().unwrap();
    let forge = |manifest: &serde_json::Value, change: &dyn Fn(usize, Vec<u8>) -> Option<Vec<u8>>| {
        let mut writer = Writer::in_memory(reader.kind(), reader.version()).unwrap();
        for (at, info) in reader.sections().iter().enumerate() {
            let Some(mut content) = change(at, reader.section(&info.name).unwrap().to_vec()) else { continue };
            content.truncate(content.len() / info.dtype.size() * info.dtype.size());
            writer.section(&info.name, info.dtype, &content, Codec::Raw).unwrap();
        }
        writer.into_bytes(manifest).unwrap()
    };
    let mut out = Vec::new();
    for at in 0..reader.sections().len() {
        let len = reader.sections()[at].len as usize;
        for place in (0..len).step_by((len / 16).max(1)) {
            for flip in [1u8, 0x80, 0xff] {
                out.push(forge(&manifest, &|section, mut content| {
                    if section == at {
                        content[place] ^= flip;
                    }
                    Some(content)
                }));
            }
        }
        out.push(forge(&manifest, &|section, content| (section != at).then_some(content)));
        out.push(forge(&manifest, &|section, mut content| {
            if section == at {
                content.truncate(content.len() / 2);
            }
            Some(content)
        }));
    }
    let text = manifest.to_string();
    for place in 0..text.len() {
        for replacement in ["9", "0", "-", "e", "\""] {
            let mut changed = text.clone();
            changed.replace_range(place..=place, replacement);
            if let Ok(manifest) = serde_json::from_str(&changed) {
                out.push(forge(&manifest, &|_, content| Some(content)));
            }
        }
    }
    out
}

#[test]
fn forged_plans_are_read_or_refused() {
    let plan = Plan::new("small", small(), 4).unwrap();
    let (mut read, mut refused) = (0, 0);
    for forged in forgeries(&plan.to_bytes().unwrap()) {
        match Plan::from_bytes("forged", &forged) {
            Ok(plan) => {
                // What is read can be executed.
                plan.program().verify().unwrap();
                plan.client().unwrap();
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read > 0 && refused > 100, "{read} read, {refused} refused");
    for forged in forgeries(&plan.client().unwrap().to_bytes().unwrap()) {
        let _ = ClientPlan::from_bytes("forged", &forged);
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let bytes = Plan::new("small", small(), 4).unwrap().to_bytes().unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        // Padding between sections is all that may change unseen.
        if let Ok(plan) = Plan::from_bytes("damaged", &damaged) {
            assert_eq!(plan.program(), &small());
        }
        assert!(Plan::from_bytes("short", &bytes[..at]).is_err());
    }
}
