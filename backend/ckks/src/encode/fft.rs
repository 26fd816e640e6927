//! The transform between slots and coefficients.
//!
//! Slot `j` of a polynomial `m` in `Y = X^(N/2n)` is `m(zeta^(5^j))`, `zeta` a primitive `4n`-th complex root of unity,
//! so that `Y -> Y^5` rotates the slots by one (Cheon, Kim, Kim and Song, Homomorphic Encryption for Arithmetic of
//! Approximate Numbers, 2017). With `c_k + i c_(k+n)` as inputs the slots come out of `log2(n)` layers of butterflies
//! whose roots depend on the layer alone: one table serves every slot count.

/// Roots for transforms of up to a fixed number of slots, real and imaginary parts apart.
#[derive(Debug)]
pub(crate) struct Fft {
    /// For every block length `2h` from 2 up: `exp(2 pi i (5^j mod 8h) / 8h)`, `j` in `0..h`, from index `h - 1` on.
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Fft {
    /// Tables for up to `max_slots` (a power of two) slots.
    pub fn new(max_slots: usize) -> Self {
        let (mut re, mut im) = (Vec::with_capacity(max_slots), Vec::with_capacity(max_slots));
        let mut half = 1;
        while 2 * half <= max_slots {
            let order = 8 * half as u64;
            let mut exponent = 1u64;
            for _ in 0..half {
                let (sin, cos) = (std::f64::consts::TAU * exponent as f64 / order as f64).sin_cos();
                re.push(cos);
                im.push(sin);
                exponent = exponent * 5 % order;
            }
            half *= 2;
        }
        Self { re, im }
    }

    pub fn roots(&self, half: usize) -> (&[f64], &[f64]) {
        (&self.re[half - 1..2 * half - 1], &self.im[half - 1..2 * half - 1])
    }

    /// Slots to folded coefficients, unscaled (the result is `n` times too large), in bit-reversed order.
    pub fn slots_to_coefficients(&self, re: &mut [f64], im: &mut [f64]) {
        let n = re.len();
        let mut half = n / 2;
        while half >= 1 {
            let (wr, wi) = self.roots(half);
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                let ((r0, r1), (i0, i1)) = (re.split_at_mut(half), im.split_at_mut(half));
                for ((((r0, r1), i0), i1), (wr, wi)) in
                    r0.iter_mut().zip(r1).zip(i0.iter_mut()).zip(i1).zip(wr.iter().zip(wi))
                {
                    let (dr, di) = (*r0 - *r1, *i0 - *i1);
                    *r0 += *r1;
                    *i0 += *i1;
                    // Times the conjugate of the root.
                    *r1 = dr * wr + di * wi;
                    *i1 = di * wr - dr * wi;
                }
            }
            half /= 2;
        }
    }

    /// Folded coefficients in bit-reversed order to slots.
    pub fn coefficients_to_slots(&self, re: &mut [f64], im: &mut [f64]) {
        let n = re.len();
        let mut half = 1;
        while 2 * half <= n {
            let (wr, wi) = self.roots(half);
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                let ((r0, r1), (i0, i1)) = (re.split_at_mut(half), im.split_at_mut(half));
                for ((((r0, r1), i0), i1), (wr, wi)) in
                    r0.iter_mut().zip(r1).zip(i0.iter_mut()).zip(i1).zip(wr.iter().zip(wi))
                {
                    let (vr, vi) = (*r1 * wr - *i1 * wi, *r1 * wi + *i1 * wr);
                    *r1 = *r0 - vr;
                    *i1 = *i0 - vi;
                    *r0 += vr;
                    *i0 += vi;
                }
            }
            half *= 2;
        }
    }
}

/// `position` with its `bits` low bits reversed.
pub(crate) fn reverse(position: usize, bits: u32) -> usize {
    if bits == 0 { 0 } else { position.reverse_bits() >> (usize::BITS - bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evaluates the polynomial at the slot points directly.
    fn naive(coefficients: &[f64]) -> Vec<(f64, f64)> {
        let n = coefficients.len() / 2;
        let order = 4 * n as u64;
        let mut exponent = 1u64;
        (0..n)
            .map(|_| {
                let value = coefficients.iter().enumerate().fold((0.0, 0.0), |(re, im), (k, c)| {
                    let turn = (exponent * k as u64 % order) as f64 / order as f64;
                    let (s, co) = (std::f64::consts::TAU * turn).sin_cos();
                    (re + c * co, im + c * s)
                });
                exponent = exponent * 5 % order;
                value
            })
            .collect()
    }

    #[test]
    fn agrees_with_evaluation_and_inverts() {
        let fft = Fft::new(64);
        for log in 0..=6u32 {
            let n = 1usize << log;
            let coefficients: Vec<f64> = (0..2 * n).map(|k| ((k * k * 7 + 3 * k) % 23) as f64 - 11.0).collect();
            let (mut re, mut im) = (vec![0.0; n], vec![0.0; n]);
            for p in 0..n {
                (re[p], im[p]) = (coefficients[reverse(p, log)], coefficients[reverse(p, log) + n]);
            }
            fft.coefficients_to_slots(&mut re, &mut im);
            for (j, (r, i)) in naive(&coefficients).into_iter().enumerate() {
                assert!((r - re[j]).abs() < 1e-9 && (i - im[j]).abs() < 1e-9, "{n} slots, slot {j}");
            }
            fft.slots_to_coefficients(&mut re, &mut im);
            for p in 0..n {
                let (c0, c1) = (re[p] / n as f64, im[p] / n as f64);
                let k = reverse(p, log);
                assert!((c0 - coefficients[k]).abs() < 1e-9 && (c1 - coefficients[k + n]).abs() < 1e-9);
            }
        }
    }
}
