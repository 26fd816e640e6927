//! Draws the charts. A drawing is SVG that is stretched to its box; its axes are text beside it, which keeps its size at any width.

mod front;
mod keys;
mod noise;
mod polynomial;
mod timeline;

pub use front::front;
pub use keys::{key_kinds, keys};
pub use noise::noise;
pub use polynomial::polynomial;
pub use timeline::timeline;

use super::markup::{Text, put, small};
use super::model::Phase;
use super::units::BINARY;

/// Width and height of every drawing, in its own units.
const WIDTH: f64 = 10_000.0;
const HEIGHT: f64 = 1_000.0;

/// The name of a phase in style sheets and for people.
pub fn phase_names(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Linear => ("linear", "Linear"),
        Phase::Polynomial => ("polynomial", "Polynomial"),
        Phase::Bootstrap => ("bootstrap", "Bootstrap"),
    }
}

/// A label on an axis, at a share of its length.
struct Mark {
    at: f64,
    label: String,
}

/// A drawing with axes. What it says is its label, for those who do not see it.
struct Plot<'a> {
    /// Classes of the box.
    class: &'a str,
    label: String,
    /// Marks on the left, from the bottom.
    y: Vec<Mark>,
    /// Marks below, from the left.
    x: Vec<Mark>,
    /// What the axes are: left, and below.
    titles: [&'a str; 2],
}

impl Plot<'_> {
    /// The box with `drawing`, in units of [`WIDTH`] and [`HEIGHT`], and `above` it elements at shares of the box.
    fn with(&self, drawing: &str, above: &str) -> String {
        let mut out = format!("<div class=\"plot {}\">", self.class);
        let [left, below] = self.titles;
        put!(out, "<p class=\"title\" aria-hidden=\"true\">{left}</p><div class=\"ys\" aria-hidden=\"true\">");
        for Mark { at, label } in &self.y {
            put!(out, "<span style=\"bottom:{:.2}%\">{}</span>", at * 100.0, Text(label));
        }
        put!(out, "</div><div class=\"box\">");
        put!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" ");
        put!(out, "aria-label=\"{}\">", Text(&self.label));
        for Mark { at, .. } in &self.y {
            let y = HEIGHT * (1.0 - at);
            put!(out, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        put!(out, "{drawing}</svg>{above}</div><div class=\"xs\" aria-hidden=\"true\">");
        for Mark { at, label } in &self.x {
            put!(out, "<span style=\"left:{:.2}%\">{}</span>", at * 100.0, Text(label));
        }
        put!(out, "</div>");
        if !below.is_empty() {
            put!(out, "<p class=\"title below\" aria-hidden=\"true\">{below}</p>");
        }
        out.push_str("</div>");
        out
    }
}

/// Round numbers from 0 to `end`, at most about `count` of them.
fn ticks(end: f64, count: f64) -> Vec<f64> {
    if end.is_nan() || end <= 0.0 {
        return vec![0.0];
    }
    let rough = end / count;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= rough).unwrap_or(10.0 * power);
    (0..=(end / step + 1e-9) as u64).map(|i| i as f64 * step).collect()
}

/// Powers of ten from `low` to `high`, at most about `count` of them.
fn decades(low: f64, high: f64, count: i32) -> Vec<f64> {
    let (first, last) = (low.log10().ceil() as i32, high.log10().floor() as i32);
    let step = ((last - first) / count.max(1) + 1).max(1);
    (first..=last).filter(|power| power.rem_euclid(step) == 0).map(|power| 10f64.powi(power)).collect()
}

/// A power of ten as people write it.
fn decade(x: f64) -> String {
    let digits = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"];
    match x.log10().round() as i32 {
        power @ -3..=3 => round(10f64.powi(power)),
        power => {
            let sign = if power < 0 { "⁻" } else { "" };
            let digit = |c: char| c.to_digit(10).map_or("", |d| digits[d as usize]);
            format!("10{sign}{}", power.abs().to_string().chars().map(digit).collect::<String>())
        }
    }
}

/// A round number on an axis.
fn round(x: f64) -> String {
    let text = small(x);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// A time on an axis that ends at `end`, both in seconds.
fn axis_time(t: f64, end: f64) -> String {
    let (value, unit) = if end >= 1.0 { (t, "s") } else { (t * 1e3, "ms") };
    // A multiple of a decimal step is seldom a decimal in binary.
    format!("{} {unit}", (value * 1e6).round() / 1e6)
}

/// Marks of bytes on an axis from 0 to `end`.
fn byte_marks(end: f64, count: f64) -> Vec<Mark> {
    let power = (0..BINARY.len() - 1).rev().find(|&i| end >= 1024f64.powi(i as i32)).unwrap_or(0);
    let unit = 1024f64.powi(power as i32);
    let mark =
        |value: f64| Mark { at: value * unit / end.max(1.0), label: format!("{} {}", round(value), BINARY[power]) };
    ticks(end / unit, count).into_iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(2.3e6, 8.0), [0.0, 5e5, 1e6, 1.5e6, 2e6]);
        assert_eq!(ticks(0.0, 5.0), [0.0]);
        assert_eq!(ticks(f64::NAN, 5.0), [0.0]);
        assert_eq!([0.005, 0.2, 20.0, 100.0, 2e-6].map(round), ["0.005", "0.2", "20", "100", "2.0e-6"]);
    }

    #[test]
    fn decades_are_powers_of_ten_within() {
        assert_eq!(decades(0.5, 200.0, 5), [1.0, 10.0, 100.0]);
        assert_eq!(decades(1e-9, 1.0, 4).len(), 4);
        assert_eq!([1e-5, 0.01, 1.0, 1e12].map(decade), ["10⁻⁵", "0.01", "1", "10¹²"]);
    }

    #[test]
    fn bytes_are_marked_in_their_own_unit() {
        let labels = |end: f64| byte_marks(end, 3.0).into_iter().map(|m| m.label).collect::<Vec<_>>();
        assert_eq!(labels(3.2 * f64::from(1 << 20)), ["0 MiB", "2 MiB"]);
        assert_eq!(labels(0.0), ["0 B"]);
    }
}
