//! The text of programs: what verifies prints and reads back as the same text; a `ckks` module makes a plan that reads
//! back.
#![no_main]

use std::sync::LazyLock;

use fhec_fuzz::{files, write_seeds};
use fhec_ir::text::{AnyModule, Blobs, parse_any, parse_module, print_with_blobs};
use fhec_ir::{Module, Verify, verify};
use fhec_runtime::{Plan, Provenance};
use libfuzzer_sys::fuzz_target;

fn printed<D: Verify>(module: &Module<D>) {
    let (text, blobs) = print_with_blobs(module);
    let back: Module<D> = parse_module("again", &text, &blobs).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    assert_eq!(print_with_blobs(&back).0, text);
}

/// A `ckks` program and its constants.
static PROGRAM: LazyLock<(String, Blobs)> = LazyLock::new(|| print_with_blobs(files::plan().module()));

/// Programs of the other levels, from the tests: a file test, and a snapshot behind its head.
const SLOT: &str = include_str!("../../tests/filetests/lower/linear.fhir");
const NN: &str = include_str!("../../frontend/tests/it/snapshots/it__graphs__a_small_network_reads_as_text.snap");

fuzz_target!(
    init: {
        let nn = NN.rsplit_once("\n---\n").expect("a snapshot with its head").1.to_string();
        write_seeds([SLOT.to_string(), nn, PROGRAM.0.clone()].into_iter().map(|text| {
            parse_any("seed", &text, &PROGRAM.1).expect("a valid program");
            text.into_bytes()
        }));
    },
    |data: &[u8]| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        match parse_any("input", text, &PROGRAM.1) {
            Ok(AnyModule::Nn(m)) if verify(&m).is_ok() => printed(&m),
            Ok(AnyModule::Slot(m)) if verify(&m).is_ok() => printed(&m),
            Ok(AnyModule::Ckks(m)) if verify(&m).is_ok() => {
                printed(&m);
                if let Ok(plan) = Plan::new(m, Provenance::default()) {
                    let bytes = plan.to_bytes().expect("a plan can be written");
                    Plan::from_bytes("again", &bytes).expect("a plan that was written can be read");
                }
            }
            _ => (),
        }
    }
);
