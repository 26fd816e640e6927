//! Escapes text for HTML and writes small numbers.

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

/// A relative difference: `+3.1 %`, or how many times as much: `× 5.2`.
pub fn percent_more(measured: f64, predicted: f64) -> String {
    match measured / predicted {
        ratio if !ratio.is_finite() => "–".into(),
        ratio if ratio >= 3.0 => format!("× {ratio:.1}"),
        ratio => format!("{:+.1} %", (ratio - 1.0) * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.0, 1.5e-6, 0.0123, 0.5, 12.345, -1234.0, 2e5].map(small),
            ["0", "1.5e-6", "0.0123", "0.500", "12.3", "-1234", "2.0e5"]
        );
        let pairs = [(1.03, 1.0), (0.5, 1.0), (5.0, 1.0), (1.0, 0.0)];
        assert_eq!(pairs.map(|(m, p)| percent_more(m, p)), ["+3.0 %", "-50.0 %", "× 5.0", "–"]);
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(Text("a<b> & \"c\" 'd'\u{1}").to_string(), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\u{FFFD}");
    }
}
