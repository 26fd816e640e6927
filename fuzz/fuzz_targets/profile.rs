//! Profiles of hosts and tables of latencies: what is read prices a plan; a profile reads back alike.
#![no_main]

use fhec_fuzz::{files, write_seeds};
use fhec_ir::cost::LatencyTable;
use fhec_runtime::{HostProfile, predict_time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: { write_seeds([1, 2].map(|threads| HostProfile::builtin(threads).to_json().into_bytes())); },
    |data: &[u8]| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Ok(table) = LatencyTable::from_json(text) {
            let _ = predict_time(&files::plan(), Some(&table), 1);
        }
        let Ok(profile) = HostProfile::from_json(text) else { return };
        assert_eq!(HostProfile::from_json(&profile.to_json()).as_ref(), Ok(&profile));
        let plan = files::plan();
        let table = profile.table(&fhec_runtime::params(&plan), plan.slots());
        // Costs are finite, but their sums need not be.
        assert!(table.micros.values().flatten().all(|micros| *micros >= 0.0));
    }
);
