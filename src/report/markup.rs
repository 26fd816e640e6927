//! Text for HTML.

use std::fmt;

/// Text whose special characters are written so that HTML reads them as text, also between double quotes.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML has no way to write other control characters.
                c if c.is_control() && c != '\n' && c != '\t' => f.write_str("\u{FFFD}")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// Appends formatted text to a string, which cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::fmt::Write;
        let _ = write!($out, $($text)*);
    }};
}
pub(super) use put;

/// A magnitude that may be very small: `0.0123`, `3.1e-6`.
pub fn small(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if (0.001..1e4).contains(&a) => {
            let digits = (2 - a.log10().floor() as i32).clamp(0, 5) as usize;
            format!("{x:.digits$}")
        }
        _ => format!("{x:.1e}"),
    }
}

/// A relative difference: `+3.1 %`.
pub fn percent_more(measured: f64, predicted: f64) -> String {
    if predicted > 0.0 { format!("{:+.1} %", (measured / predicted - 1.0) * 100.0) } else { "–".into() }
}
