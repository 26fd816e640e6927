//! Convolution and matrix product.
//!
//! Both come down to one kernel: rows of A in panels of [`ROWS`], columns of B in panels of [`COLS`], so that a tile of
//! the result stays in vector registers while the inner dimension runs. Convolution writes its input patches (im2col)
//! straight into the panels of B.

use super::elementwise::for_each_broadcast;
use super::window::{Tap, Window};
use crate::tensor::{Shape, Tensor};

const ROWS: usize = 4;
const COLS: usize = 8;

/// A matrix of `columns` columns in panels: panel p holds columns `p·W..`, inner index by inner index, zero-padded.
struct Panels<const W: usize> {
    data: Vec<f32>,
    inner: usize,
}

impl<const W: usize> Panels<W> {
    fn new(inner: usize, columns: usize) -> Self {
        Self { data: vec![0.0; inner * columns.div_ceil(W) * W], inner }
    }
    /// Sets row `k` (one element per column).
    fn set_row(&mut self, k: usize, row: &[f32]) {
        for (panel, chunk) in row.chunks(W).enumerate() {
            let at = (panel * self.inner + k) * W;
            self.data[at..at + chunk.len()].copy_from_slice(chunk);
        }
    }
    /// Sets column `j` (one element per inner index).
    fn set_column(&mut self, j: usize, column: &[f32]) {
        let panel = &mut self.data[j / W * self.inner * W..];
        for (k, &x) in column.iter().enumerate() {
            panel[k * W + j % W] = x;
        }
    }
    fn panel(&self, p: usize) -> &[f32] {
        &self.data[p * self.inner * W..(p + 1) * self.inner * W]
    }
}

/// `out[i, j] += Σ_k a[k, i] · b[k, j]`, out row-major of `rows` × `cols`.
fn multiply(a: &Panels<ROWS>, b: &Panels<COLS>, rows: usize, cols: usize, out: &mut [f32]) {
    for bp in 0..cols.div_ceil(COLS) {
        let b_panel = b.panel(bp);
        for ap in 0..rows.div_ceil(ROWS) {
            let mut tile = [[0.0f32; COLS]; ROWS];
            // Arrays of known length keep the tile in registers.
            for (x, y) in a.panel(ap).as_chunks::<ROWS>().0.iter().zip(b_panel.as_chunks::<COLS>().0) {
                for i in 0..ROWS {
                    for j in 0..COLS {
                        tile[i][j] += x[i] * y[j];
                    }
                }
            }
            for (i, row) in tile.iter().enumerate().take(rows - ap * ROWS) {
                let at = (ap * ROWS + i) * cols + bp * COLS;
                let width = COLS.min(cols - bp * COLS);
                for (o, t) in out[at..at + width].iter_mut().zip(row) {
                    *o += t;
                }
            }
        }
    }
}

/// The product of row-major `a` [m, k] and `b` [k, n], added to `out` [m, n].
fn multiply_slices(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), out: &mut [f32]) {
    if m < ROWS {
        // Packing B would cost as much as the product.
        for i in 0..m {
            let row = &mut out[i * n..(i + 1) * n];
            for (&x, b) in a[i * k..(i + 1) * k].iter().zip(b.chunks_exact(n.max(1))) {
                row.iter_mut().zip(b).for_each(|(o, &y)| *o += x * y);
            }
        }
        return;
    }
    let mut left = Panels::<ROWS>::new(k, m);
    let mut right = Panels::<COLS>::new(k, n);
    (0..m).for_each(|i| left.set_column(i, &a[i * k..(i + 1) * k]));
    (0..k).for_each(|i| right.set_row(i, &b[i * n..(i + 1) * n]));
    multiply(&left, &right, m, n, out);
}

/// Matrix product with numpy semantics.
pub(super) fn matmul(a: &Tensor, b: &Tensor, out: Shape) -> Tensor {
    let (da, db) = (&a.shape().0, &b.shape().0);
    let (batch_a, m, k) = match da.as_slice() {
        [k] => (&[][..], 1, *k),
        [batch @ .., m, k] => (batch, *m, *k),
        [] => (&[][..], 1, 1),
    };
    let (batch_b, n) = match db.as_slice() {
        [_] | [] => (&[][..], 1),
        [batch @ .., _, n] => (batch, *n),
    };
    let (batch_a, batch_b) = (Shape(batch_a.to_vec()), Shape(batch_b.to_vec()));
    let mut data = vec![0.0; out.len()];
    if !data.is_empty()
        && k > 0
        && let Some(batch) = batch_a.broadcast(&batch_b)
    {
        let mut results = data.chunks_exact_mut(m * n);
        for_each_broadcast(&batch, [&batch_a, &batch_b], |[i, j]| {
            if let Some(result) = results.next() {
                multiply_slices(
                    &a.data()[i * m * k..(i + 1) * m * k],
                    &b.data()[j * k * n..(j + 1) * k * n],
                    (m, k, n),
                    result,
                );
            }
        });
    }
    Tensor::new(out, data)
}

/// Convolution of x [N, C, d..] with w [M, C/groups, k..].
pub(super) fn conv(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: usize,
    out: Shape,
) -> Tensor {
    let (batch, channels, filters) = (x.shape().0[0], x.shape().0[1], w.shape().0[0]);
    let (group_channels, group_filters) = (channels / groups, filters / groups);
    let inner = group_channels * window.taps();
    let (pixels_in, pixels) = (window.input_len(), window.output_len());
    let mut data = vec![0.0f32; out.len()];
    if data.is_empty() {
        return Tensor::new(out, data);
    }
    if let Some(bias) = bias {
        for (plane, &b) in data.chunks_exact_mut(pixels).zip(bias.data().iter().cycle()) {
            plane.fill(b);
        }
    }
    if inner == 0 || pixels_in == 0 {
        return Tensor::new(out, data);
    }
    let weights: Vec<Panels<ROWS>> = w
        .data()
        .chunks_exact(group_filters * inner)
        .map(|group| {
            let mut panels = Panels::new(inner, group_filters);
            group.chunks_exact(inner).enumerate().for_each(|(i, row)| panels.set_column(i, row));
            panels
        })
        .collect();
    let taps: Vec<Tap> = (0..window.taps()).map(|t| window.tap(t)).collect();
    let mut patches = Panels::<COLS>::new(inner, pixels);
    let mut row = vec![0.0; pixels];
    for n in 0..batch {
        for (g, weights) in weights.iter().enumerate() {
            for c in 0..group_channels {
                let at = (n * channels + g * group_channels + c) * pixels_in;
                let plane = &x.data()[at..at + pixels_in];
                for (t, tap) in taps.iter().enumerate() {
                    tap.gather(plane, &mut row);
                    patches.set_row(c * taps.len() + t, &row);
                }
            }
            let at = (n * filters + g * group_filters) * pixels;
            multiply(weights, &patches, group_filters, pixels, &mut data[at..at + group_filters * pixels]);
        }
    }
    Tensor::new(out, data)
}
