//! A clock for one thread on a shared machine.

use std::sync::OnceLock;
use std::time::Instant;

/// Seconds this thread has spent on a processor where Linux tells, wall time elsewhere or with `FHEC_WALL` set.
pub fn seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    let schedule = match std::env::var_os("FHEC_WALL") {
        Some(_) => None,
        None => std::fs::read_to_string("/proc/thread-self/schedstat").ok(),
    };
    let on_cpu = schedule.and_then(|s| s.split_whitespace().next()?.parse::<f64>().ok());
    on_cpu.map_or_else(|| start.elapsed().as_secs_f64(), |ns| ns * 1e-9)
}
