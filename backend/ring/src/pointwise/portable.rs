//! Scalar kernels.

use crate::modulus::Modulus;

#[inline]
pub(crate) fn add_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.add(*a, b);
    }
}

#[inline]
pub(crate) fn add(m: &Modulus, a: &[u64], b: &[u64], out: &mut [u64]) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = m.add(a, b);
    }
}

#[inline]
pub(crate) fn sub_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.sub(*a, b);
    }
}

#[inline]
pub(crate) fn sub(m: &Modulus, a: &[u64], b: &[u64], out: &mut [u64]) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = m.sub(a, b);
    }
}

#[inline]
pub(crate) fn neg_assign(m: &Modulus, a: &mut [u64]) {
    for a in a {
        *a = m.neg(*a);
    }
}

#[inline]
pub(crate) fn mul_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.mul(*a, b);
    }
}

#[inline]
pub(crate) fn mul(m: &Modulus, a: &[u64], b: &[u64], out: &mut [u64]) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = m.mul(a, b);
    }
}

#[inline]
pub(crate) fn mul_add(m: &Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    for ((o, &a), &b) in acc.iter_mut().zip(a).zip(b) {
        *o = m.reduce_u128(u128::from(a) * u128::from(b) + u128::from(*o));
    }
}

#[inline]
pub(crate) fn tensor(m: &Modulus, [a0, a1]: [&[u64]; 2], [b0, b1]: [&[u64]; 2], out: [&mut [u64]; 3]) {
    let [o0, o1, o2] = out;
    mul(m, a0, b0, o0);
    mul(m, a0, b1, o1);
    mul_add(m, o1, a1, b0);
    mul(m, a1, b1, o2);
}

#[inline]
pub(crate) fn mul_scalar_assign(m: &Modulus, a: &mut [u64], w: u64) {
    let shoup = m.shoup(w);
    for a in a {
        *a = m.mul_shoup(*a, w, shoup);
    }
}

#[inline]
pub(crate) fn mul_scalar_add(m: &Modulus, acc: &mut [u64], a: &[u64], w: u64) {
    let shoup = m.shoup(w);
    for (acc, &a) in acc.iter_mut().zip(a) {
        *acc = m.add(*acc, m.mul_shoup(a, w, shoup));
    }
}

#[inline]
pub(crate) fn add_scalar_assign(m: &Modulus, a: &mut [u64], w: u64) {
    for a in a {
        *a = m.add(*a, w);
    }
}

#[inline]
pub(crate) fn sub_mul_assign(m: &Modulus, a: &mut [u64], b: &[u64], w: u64) {
    let shoup = m.shoup(w);
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.mul_shoup(m.sub(*a, b), w, shoup);
    }
}

#[inline]
pub(crate) fn split_conjugates(m: &Modulus, re: &mut [u64], im: &mut [u64], half: u64, half_i: u64) {
    let (shoup, shoup_i) = (m.shoup(half), m.shoup(half_i));
    let middle = re.len() / 2;
    let ((r0, r1), (i0, i1)) = (re.split_at_mut(middle), im.split_at_mut(middle));
    for ((r0, r1), (i0, i1)) in r0.iter_mut().zip(r1.iter_mut().rev()).zip(i0.iter_mut().zip(i1.iter_mut().rev())) {
        let (sum, difference) = (m.add(*r0, *r1), m.sub(*r1, *r0));
        let (a, b) = (m.mul_shoup(sum, half, shoup), m.mul_shoup(difference, half_i, shoup_i));
        (*r0, *r1, *i0, *i1) = (a, a, b, b);
    }
}

#[expect(clippy::too_many_arguments)]
#[inline]
pub(crate) fn inner_product(
    m: &Modulus,
    d: &[&[u64]],
    x0: &[&[u64]],
    x1: &[&[u64]],
    source: Option<&[u32]>,
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    match source {
        Some(source) => inner(m, d, |p| source[p] as usize, x0, x1, accumulate, out0, out1),
        None => inner(m, d, |p| p, x0, x1, accumulate, out0, out1),
    }
}

#[expect(clippy::too_many_arguments)]
#[inline]
pub(crate) fn inner_product_of_runs(
    m: &Modulus,
    d: &[&[u64]],
    run: usize,
    x0: &[&[u64]],
    x1: &[&[u64]],
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    let shift = run.trailing_zeros();
    inner(m, d, |p| p >> shift, x0, x1, accumulate, out0, out1);
}

/// The inner products of `d`, read where `from` says.
#[expect(clippy::too_many_arguments)]
#[inline]
fn inner(
    m: &Modulus,
    d: &[&[u64]],
    from: impl Fn(usize) -> usize,
    x0: &[&[u64]],
    x1: &[&[u64]],
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    for (p, (o0, o1)) in out0.iter_mut().zip(out1).enumerate() {
        let from = from(p);
        let (mut acc0, mut acc1) = (0u128, 0u128);
        if accumulate {
            (acc0, acc1) = (u128::from(*o0), u128::from(*o1));
        }
        for ((d, x0), x1) in d.iter().zip(x0).zip(x1) {
            let d = u128::from(d[from]);
            acc0 += d * u128::from(x0[p]);
            acc1 += d * u128::from(x1[p]);
        }
        (*o0, *o1) = (m.reduce_u128(acc0), m.reduce_u128(acc1));
    }
}

#[inline]
pub(crate) fn reduce_signed(m: &Modulus, values: &[i64], out: &mut [u64]) {
    for (o, &v) in out.iter_mut().zip(values) {
        *o = m.reduce_i64(v);
    }
}
