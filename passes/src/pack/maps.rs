//! The matrices of the linear `nn` ops.

use fhec_ir::Shape;

use super::sparse::{RowBuilder, Sparse};

/// The attributes of sliding windows, as `nn` states them.
pub(super) struct Windows<'a> {
    pub(super) kernel: &'a [usize],
    pub(super) strides: &'a [i64],
    pub(super) pads: &'a [i64],
    pub(super) dilations: &'a [i64],
}

/// Steps `index` to the next position in `dims`, last dimension fastest; false after the last.
fn advance(index: &mut [usize], dims: &[usize]) -> bool {
    for d in (0..index.len()).rev() {
        index[d] += 1;
        if index[d] < dims[d] {
            return true;
        }
        index[d] = 0;
    }
    false
}

/// All positions of `dims` in row-major order.
pub(super) fn positions(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut out = Vec::new();
    if dims.contains(&0) {
        return out;
    }
    let mut index = vec![0; dims.len()];
    loop {
        out.push(index.clone());
        if !advance(&mut index, dims) {
            return out;
        }
    }
}

impl Windows<'_> {
    /// The input position (in spatial row-major order) that tap `tap` of the window at `at` reads, if it is not padding.
    fn read(&self, at: &[usize], tap: &[usize], extent: &[usize]) -> Option<usize> {
        let mut flat = 0;
        for d in 0..extent.len() {
            let p = at[d] as i64 * self.strides[d] + tap[d] as i64 * self.dilations[d] - self.pads[d];
            if p < 0 || p >= extent[d] as i64 {
                return None;
            }
            flat = flat * extent[d] + p as usize;
        }
        Some(flat)
    }
    /// For every output position the taps (by number) that are not padding and what they read.
    fn reads(&self, out: &[usize], extent: &[usize]) -> Vec<Vec<(usize, usize)>> {
        let taps = positions(self.kernel);
        positions(out)
            .iter()
            .map(|at| taps.iter().enumerate().filter_map(|(k, tap)| Some((k, self.read(at, tap, extent)?))).collect())
            .collect()
    }
    /// For every output position the number of taps inside the input or its declared padding.
    fn padded_counts(&self, out: &[usize], extent: &[usize]) -> Vec<usize> {
        let rank = extent.len();
        let taps = positions(self.kernel);
        let inside = |at: &[usize], tap: &[usize]| {
            (0..rank).all(|d| {
                let p = at[d] as i64 * self.strides[d] + tap[d] as i64 * self.dilations[d];
                p < extent[d] as i64 + self.pads[d] + self.pads[rank + d]
            })
        };
        positions(out).iter().map(|at| taps.iter().filter(|tap| inside(at, tap)).count()).collect()
    }
}

/// Convolution of `x` (batch, channels, spatial) with weights `w` of shape `[filters, channels / groups, kernel]`.
pub(super) fn conv(x: &Shape, out: &Shape, w: &[f64], groups: usize, windows: &Windows<'_>) -> Sparse {
    let (channels, filters) = (x.0[1], out.0[1]);
    let per_group = channels / groups;
    let filters_per_group = filters / groups;
    let extent = &x.0[2..];
    let area: usize = extent.iter().product();
    let taps: usize = windows.kernel.iter().product();
    let reads = windows.reads(&out.0[2..], extent);
    let taps_read: usize = reads.iter().map(Vec::len).sum();
    let mut b = RowBuilder::new(out.len(), x.len()).with_room(out.0[0] * filters * per_group * taps_read);
    for batch in 0..out.0[0] {
        for f in 0..filters {
            let first = f / filters_per_group * per_group;
            for taps_read in &reads {
                for c in 0..per_group {
                    let plane = (batch * channels + first + c) * area;
                    let weights = &w[(f * per_group + c) * taps..][..taps];
                    for &(tap, at) in taps_read {
                        b.push(plane + at, weights[tap]);
                    }
                }
                b.end_row();
            }
        }
    }
    b.finish()
}

/// Average over windows.
pub(super) fn avg_pool(x: &Shape, out: &Shape, windows: &Windows<'_>, count_include_pad: bool) -> Sparse {
    let extent = &x.0[2..];
    let area: usize = extent.iter().product();
    let reads = windows.reads(&out.0[2..], extent);
    let counts = windows.padded_counts(&out.0[2..], extent);
    let mut b = RowBuilder::new(out.len(), x.len());
    for plane in 0..out.0[0] * out.0[1] {
        for (taps, &padded) in reads.iter().zip(&counts) {
            let count = if count_include_pad { padded } else { taps.len() };
            for &(_, at) in taps {
                b.push(plane * area + at, 1.0 / count as f64);
            }
            b.end_row();
        }
    }
    b.finish()
}

/// Sum over `axes`, times `factor`.
pub(super) fn reduce(x: &Shape, axes: &[usize], factor: f64) -> Sparse {
    let kept: Vec<usize> = (0..x.rank()).filter(|d| !axes.contains(d)).collect();
    let strides = x.strides();
    let dims = |list: &[usize]| list.iter().map(|&d| x.0[d]).collect::<Vec<_>>();
    let flat = |list: &[usize], at: &[usize]| list.iter().zip(at).map(|(&d, &i)| i * strides[d]).sum::<usize>();
    let inner: Vec<usize> = positions(&dims(axes)).iter().map(|at| flat(axes, at)).collect();
    let outer: Vec<usize> = positions(&dims(&kept)).iter().map(|at| flat(&kept, at)).collect();
    let mut b = RowBuilder::new(outer.len(), x.len());
    for base in outer {
        for offset in &inner {
            b.push(base + offset, factor);
        }
        b.end_row();
    }
    b.finish()
}

/// The flat index that the element at `index` of a tensor broadcast from `from` reads (numpy rules).
fn broadcast_index(from: &Shape, index: &[usize]) -> usize {
    let skip = index.len() - from.rank();
    from.0.iter().zip(&index[skip..]).fold(0, |flat, (&d, &i)| flat * d + if d == 1 { 0 } else { i })
}

/// The operand repeated to `to`.
pub(super) fn expand(from: &Shape, to: &Shape) -> Sparse {
    let at = positions(&to.0);
    Sparse::selection(to.len(), from.len(), |r| Some(broadcast_index(from, &at[r])))
}

/// The matrix product as a map of one operand: the other is the constant `weights`. `out` is the shape of the product.
pub(super) fn matmul(a: &Shape, b: &Shape, out: &Shape, weights: &[f64], encrypted_left: bool) -> Sparse {
    // Vectors count as a row on the left and as a column on the right.
    let left = if a.rank() == 1 { Shape(vec![1, a.0[0]]) } else { a.clone() };
    let right = if b.rank() == 1 { Shape(vec![b.0[0], 1]) } else { b.clone() };
    let (m, k, n) = (left.0[left.rank() - 2], left.0[left.rank() - 1], right.0[right.rank() - 1]);
    let batch_of = |s: &Shape| Shape(s.0[..s.rank() - 2].to_vec());
    let (batch_left, batch_right) = (batch_of(&left), batch_of(&right));
    let batch = batch_left.broadcast(&batch_right).unwrap_or_default();
    let cols = if encrypted_left { a.len() } else { b.len() };
    let mut builder = RowBuilder::new(out.len(), cols);
    for at in positions(&batch.0) {
        let from_left = broadcast_index(&batch_left, &at) * m * k;
        let from_right = broadcast_index(&batch_right, &at) * k * n;
        for i in 0..m {
            for j in 0..n {
                for l in 0..k {
                    let (x, w) = (from_left + i * k + l, from_right + l * n + j);
                    if encrypted_left {
                        builder.push(x, weights[w]);
                    } else {
                        builder.push(w, weights[x]);
                    }
                }
                builder.end_row();
            }
        }
    }
    builder.finish()
}

/// Dimensions permuted.
pub(super) fn transpose(x: &Shape, perm: &[usize]) -> Sparse {
    let strides = x.strides();
    let dims: Vec<usize> = perm.iter().map(|&p| x.0[p]).collect();
    let at = positions(&dims);
    Sparse::selection(x.len(), x.len(), |r| Some(at[r].iter().zip(perm).map(|(&i, &p)| i * strides[p]).sum()))
}

/// The elements `starts + i · steps` of every dimension.
pub(super) fn slice(x: &Shape, out: &Shape, starts: &[i64], steps: &[i64]) -> Sparse {
    let strides = x.strides();
    let at = positions(&out.0);
    Sparse::selection(out.len(), x.len(), |r| {
        Some((0..x.rank()).map(|d| (starts[d] + at[r][d] as i64 * steps[d]) as usize * strides[d]).sum())
    })
}

/// Padding by `begin` in front of every dimension; `source` maps a position relative to the operand to the one it copies, per
/// dimension of the given extent.
pub(super) fn pad(x: &Shape, out: &Shape, begin: &[i64], source: impl Fn(i64, i64) -> Option<i64>) -> Sparse {
    let strides = x.strides();
    let at = positions(&out.0);
    Sparse::selection(out.len(), x.len(), |r| {
        (0..x.rank())
            .map(|d| source(at[r][d] as i64 - begin[d], x.0[d] as i64).map(|i| i as usize * strides[d]))
            .sum::<Option<usize>>()
    })
}

/// Where operand number `which` of a concatenation ends up.
pub(super) fn concat(shapes: &[Shape], which: usize, axis: usize, out: &Shape) -> Sparse {
    let x = &shapes[which];
    let before: usize = shapes[..which].iter().map(|s| s.0[axis]).sum();
    let strides = x.strides();
    let at = positions(&out.0);
    Sparse::selection(out.len(), x.len(), |r| {
        let inside = (before..before + x.0[axis]).contains(&at[r][axis]);
        inside.then(|| {
            at[r].iter().enumerate().map(|(d, &i)| (if d == axis { i - before } else { i }) * strides[d]).sum()
        })
    })
}

/// The elements `indices` along `axis`.
pub(super) fn gather(x: &Shape, axis: usize, indices: &[i64]) -> Sparse {
    let inner: usize = x.0[axis + 1..].iter().product();
    let outer: usize = x.0[..axis].iter().product();
    let rows = outer * indices.len() * inner;
    Sparse::selection(rows, x.len(), |r| {
        let (o, rest) = (r / (indices.len() * inner), r % (indices.len() * inner));
        Some((o * x.0[axis] + indices[rest / inner] as usize) * inner + rest % inner)
    })
}
