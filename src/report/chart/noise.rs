//! The error after every layer.

use super::super::markup::{Text, put, small};
use super::super::model::{Layer, Noise};
use super::{HEIGHT, Mark, Plot, WIDTH, decade, decades};

/// The root mean square and the largest error after every layer, in program order; none where no layer has errors.
pub fn noise(layers: &[Layer]) -> Option<String> {
    let known: Vec<(usize, &Layer, Noise)> =
        layers.iter().enumerate().filter_map(|(i, l)| Some((i, l, l.noise?))).collect();
    let positive = known.iter().flat_map(|(_, _, n)| [n.rms_error, n.max_error]).filter(|&e| e > 0.0 && e.is_finite());
    let (low, high) = positive.fold((f64::INFINITY, 0.0), |(low, high), e| (e.min(low), e.max(high)));
    if high <= 0.0 {
        return None;
    }
    let (first, last) = ((low.log10() - 0.2).floor(), (high.log10() + 0.2).ceil());
    let share = |e: f64| ((e.max(f64::MIN_POSITIVE).log10() - first) / (last - first)).clamp(0.0, 1.0);
    let x = |i: usize| (i as f64 + 0.5) / layers.len() as f64;
    let every = layers.len().div_ceil(12).max(1);
    let plot = Plot {
        class: "noise",
        label: "Error after every layer; the table of layers has the numbers".into(),
        y: decades(10f64.powf(first), 10f64.powf(last), 5)
            .into_iter()
            .map(|e| Mark { at: share(e), label: decade(e) })
            .collect(),
        x: (0..layers.len()).step_by(every).map(|i| Mark { at: x(i), label: (i + 1).to_string() }).collect(),
        titles: ["error", "layer, in program order →"],
    };
    let (mut stems, mut dots) = (String::new(), String::new());
    for (i, layer, noise) in known {
        let (left, rms, max) = (x(i), share(noise.rms_error), share(noise.max_error));
        let (from, to) = (HEIGHT * (1.0 - rms), HEIGHT * (1.0 - max));
        put!(stems, "M{:.1} {from:.1}V{to:.1}", left * WIDTH);
        let tip = format!(
            "{}\nroot mean square {}\nlargest {}, of values up to {}",
            layer.node,
            small(noise.rms_error),
            small(noise.max_error),
            small(noise.magnitude)
        );
        for (class, at) in [("dot", rms), ("dot hollow", max)] {
            let (left, bottom, tip) = (left * 100.0, at * 100.0, Text(&tip));
            put!(dots, "<i class=\"{class}\" style=\"left:{left:.2}%;bottom:{bottom:.2}%\" data-tip=\"{tip}\"></i>");
        }
    }
    Some(plot.with(&format!("<path class=\"stem\" d=\"{stems}\"/>"), &dots))
}
