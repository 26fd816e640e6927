//! Ranges of values, and the tables that requantise to them.

use std::collections::HashMap;

use fhec_integer::{Quantiser, Sums, Table, Tables};
use fhec_ir::{ConstPool, F64, Shape};

use super::network::Function;
use crate::pass::PassError;

/// Shares of a range, from its end, that may be clipped.
const KEPT: [f64; 13] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3];

/// The quantiser to `top` of least square error on `values`. What lies beyond its range is clipped.
pub(super) fn quantiser(values: &[f64], top: u32) -> Quantiser {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let of = |low: f64, high: f64| {
        let width = if high > low { high - low } else { 1.0 };
        Quantiser { zero: F64(low), step: F64(width / f64::from(top)), top }
    };
    if !(low.is_finite() && high > low) {
        let only = if low.is_finite() { low } else { 0.0 };
        return of(only, only);
    }
    let error = |q: &Quantiser| values.iter().map(|&x| (q.value(q.quantise(x)) - x).powi(2)).sum::<f64>();
    // Zero is where most activations are: what lies on one side of it alone is clipped on the other.
    let lows: &[f64] = if low < 0.0 { &KEPT } else { &KEPT[..1] };
    let highs: &[f64] = if high > 0.0 { &KEPT } else { &KEPT[..1] };
    let candidates = lows.iter().flat_map(|l| highs.iter().map(move |h| (low * l, high * h)));
    let quantisers = candidates.filter(|(l, h)| h > l).map(|(l, h)| of(l, h));
    quantisers.min_by(|a, b| error(a).total_cmp(&error(b))).unwrap_or_else(|| of(low, high))
}

/// The channel of each element of a tensor: dimension 1 where each has several elements, else every element is one.
pub(super) fn channels(shape: &Shape) -> Vec<usize> {
    match shape.0.as_slice() {
        [_, channels, rest @ ..] if !rest.is_empty() => {
            let plane: usize = rest.iter().product();
            (0..shape.len()).map(|e| e / plane.max(1) % channels.max(&1)).collect()
        }
        _ => (0..shape.len()).collect(),
    }
}

/// What becomes of a row's sum: `scale · sum + shift` is what the network computes there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) scale: f64,
    pub(super) shift: f64,
}

/// The tables of `function` behind sums, to the quantiser of each element.
pub(super) fn tables(
    function: &Function,
    consts: &ConstPool,
    sums: &Sums,
    tops: &[u32],
    readings: &[Reading],
    quantisers: &[Quantiser],
) -> Result<Tables, PassError> {
    let bounds: Vec<(i64, i64)> = (0..sums.rows()).map(|r| sums.bounds(r, |c| tops[c]).unwrap_or_default()).collect();
    let widest = bounds.iter().map(|(low, high)| high - low).max().unwrap_or(0);
    let mut entries: Vec<Vec<u32>> = vec![Vec::new(); sums.rows()];
    for offset in 0..=widest {
        // Rows that are narrower repeat their last argument, which is then left out.
        let argument =
            |(&(low, high), of): (&(i64, i64), &Reading)| of.scale * (low + offset).min(high) as f64 + of.shift;
        let arguments: Vec<f64> = bounds.iter().zip(readings).map(argument).collect();
        let values = function.values(&arguments, consts)?;
        for (row, value) in values.into_iter().enumerate() {
            if bounds[row].0 + offset <= bounds[row].1 {
                entries[row].push(quantisers[row].quantise(value));
            }
        }
    }
    let (mut known, mut out) = (HashMap::new(), Tables::default());
    for (row, entries) in entries.into_iter().enumerate() {
        let table = Table { least: bounds[row].0, entries };
        let number = *known.entry(table.clone()).or_insert_with(|| {
            out.tables.push(table);
            out.tables.len() as u32 - 1
        });
        out.of.push(number);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_keeps_what_matters_and_zero() {
        // Many small values and one far out: clipping that one costs least.
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 100) / 100.0).chain([3.0]).collect();
        let q = quantiser(&values, 3);
        assert_eq!(q.zero.0, 0.0);
        assert!(q.value(3) < 1.3, "{q:?}");
        let constant = quantiser(&[2.0; 8], 7);
        assert_eq!(constant.value(constant.quantise(2.0)), 2.0);
        assert_eq!(quantiser(&[], 1).quantise(5.0), 1);
    }
}
