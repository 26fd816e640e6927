//! Scalar base conversion.

use super::{BLOCK, BaseConverter, Lift};

/// Converts the coefficients from `start` on to the targets from `first` on, as many as `out` has of either.
pub(super) fn convert(
    table: &BaseConverter,
    sources: &[&[u64]],
    start: usize,
    lift: Lift,
    first: usize,
    out: &mut [&mut [u64]],
) {
    let len = out.first().map_or(0, |o| o.len());
    let mut quotient = [0u64; BLOCK];
    for block in (0..len).step_by(BLOCK) {
        let width = BLOCK.min(len - block);
        let from = start + block..start + block + width;
        if lift == Lift::Centred {
            overflow(table, sources, from.clone(), &mut quotient[..width]);
        }
        for (j, limb) in out.iter_mut().enumerate() {
            let row = table.row(first + j);
            for (c, o) in limb[block..block + width].iter_mut().enumerate() {
                let mut acc = match lift {
                    Lift::Approximate => 0,
                    Lift::Centred => u128::from(quotient[c]) * u128::from(row[sources.len()]),
                };
                for (source, &w) in sources.iter().zip(row) {
                    acc += u128::from(source[from.start + c]) * u128::from(w);
                }
                *o = table.targets[first + j].reduce_u128(acc);
            }
        }
    }
}

/// `v = round(sum_i y_i / q_i)`, summed in the order of the sources.
pub(super) fn overflow(table: &BaseConverter, sources: &[&[u64]], range: std::ops::Range<usize>, out: &mut [u64]) {
    for (c, o) in range.zip(out) {
        let mut sum = 0.5f64;
        for (source, reciprocal) in sources.iter().zip(&table.reciprocals) {
            sum += source[c] as f64 * reciprocal;
        }
        *o = sum as u64;
    }
}
