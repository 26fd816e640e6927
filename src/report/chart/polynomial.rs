//! A polynomial and its function over the histogram of their argument.

use fhec_runtime::ArgumentHistogram;

use super::super::findings::Activation;
use super::super::markup::put;
use super::super::polynomial::{Data, Point, Polynomial};
use super::{HEIGHT, Mark, Plot, WIDTH, round, ticks};

const REACH: f64 = ArgumentHistogram::REACH;

/// The share of the width at which an argument is that is `t` half widths from the centre of the interval.
fn across(t: f64) -> f64 {
    (t + REACH) / (2.0 * REACH)
}

/// The polynomial; none where there is nothing to draw.
pub fn polynomial(polynomial: &Polynomial, activation: &Activation) -> Option<String> {
    let Polynomial { curve, data, .. } = polynomial;
    if curve.is_empty() && data.is_none() {
        return None;
    }
    let (low, high) = extent(curve);
    let share = |y: f64| (y - low) / (high - low);
    let drawn = |y: f64| HEIGHT * (1.0 - share(y).clamp(-1.0, 2.0));
    let mut drawing = data.as_ref().map(histogram).unwrap_or_default();
    for edge in [-1.0, 1.0] {
        put!(drawing, "<path class=\"edge\" d=\"M{:.1} 0V{HEIGHT}\"/>", across(edge) * WIDTH);
    }
    let line = |of: fn(&Point) -> f64| {
        let step = WIDTH / (curve.len().max(2) - 1) as f64;
        let points: Vec<String> =
            curve.iter().enumerate().map(|(i, p)| format!("{:.1} {:.1}", i as f64 * step, drawn(of(p)))).collect();
        points.join("L")
    };
    if !curve.is_empty() {
        put!(drawing, "<path class=\"function\" d=\"M{}\"/>", line(|p| p.function));
        put!(drawing, "<path class=\"line\" d=\"M{}\"/>", line(|p| p.polynomial));
    }
    let plot = Plot {
        class: "polynomial",
        label: label(polynomial, activation),
        y: if curve.is_empty() {
            Vec::new()
        } else {
            let marks = ticks(high, 3.0).into_iter().filter(|&y| (0.0..=1.0).contains(&share(y)));
            marks.map(|y| Mark { at: share(y), label: round(y) }).collect()
        },
        x: arguments(curve, activation),
        titles: ["", ""],
    };
    Some(plot.with(&drawing, ""))
}

/// What is drawn, for those who do not see it.
fn label(polynomial: &Polynomial, activation: &Activation) -> String {
    let over = if polynomial.data.is_some() { " over the histogram of its argument" } else { "" };
    format!("The polynomial of degree {} for {}{over}", activation.degree, activation.function)
}

/// The values of the function between the lowest and the highest argument, with some room.
fn extent(curve: &[Point]) -> (f64, f64) {
    let ends = |(low, high): (f64, f64), p: &Point| (p.function.min(low), p.function.max(high));
    let (low, high) = curve.iter().fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    if low >= high {
        return (0.0, 1.0);
    }
    let room = 0.12 * (high - low);
    (low - room, high + room)
}

/// The ends of the interval, and zero where it is well between them.
fn arguments(curve: &[Point], activation: &Activation) -> Vec<Mark> {
    let interval = activation.interval.filter(|_| !curve.is_empty());
    let (lo, hi) = interval.unwrap_or((-1.0, 1.0));
    let (centre, half) = (f64::midpoint(lo, hi), (hi - lo) / 2.0);
    let label = |x: f64| if interval.is_some() { format!("{x:.1}") } else { round(x) };
    let zero = -centre / half;
    let mut marks = vec![Mark { at: across(-1.0), label: label(lo) }, Mark { at: across(1.0), label: label(hi) }];
    if zero.abs() < 0.6 {
        marks.push(Mark { at: across(zero), label: "0".into() });
    }
    marks
}

/// The histogram as an area; its highest bin takes most of the height.
fn histogram(data: &Data) -> String {
    let most = data.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = WIDTH / data.counts.len().max(1) as f64;
    let mut path = format!("M0 {HEIGHT}");
    for (i, &count) in data.counts.iter().enumerate() {
        put!(path, "V{:.1}H{:.1}", HEIGHT * (1.0 - 0.9 * count as f64 / most), (i + 1) as f64 * width);
    }
    format!("<path class=\"data\" d=\"{path}V{HEIGHT}Z\"/>")
}
