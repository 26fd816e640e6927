//! Writes numbers with units as people read them.

/// Units of bytes, each 1024 times the one before.
pub(super) const BINARY: [&str; 4] = ["B", "KiB", "MiB", "GiB"];

/// `1.50 GiB`
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in &BINARY[..3] {
        if value < 1024.0 {
            return if *unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.2} GiB")
}

/// `12.3 ms`
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.2} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}
