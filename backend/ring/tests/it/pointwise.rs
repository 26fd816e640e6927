//! Elementwise kernels are compared with arithmetic on single residues, at every length and at the ends of their range.

use crate::support::{Words, assorted_primes, rings};
use fhec_ring::{Limb, Modulus};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn elementwise_kernels_are_what_they_say(len in 0usize..70, seed: u64) {
        let primes = assorted_primes(6);
        for ring in rings(6, &primes) {
            for i in 0..primes.len() {
                let (limb, m) = (ring.limb(i), ring.modulus(i));
                let mut words = Words(seed ^ i as u64);
                let (a, b, c) = (words.residues(&m, len), words.residues(&m, len), words.residues(&m, len));
                let w = words.residues(&m, 1)[0];
                let in_place = |f: &dyn Fn(&Limb, &mut [u64])| { let mut x = a.clone(); f(&limb, &mut x); x };
                let by = |f: &dyn Fn(u64, u64) -> u64| -> Vec<u64> { a.iter().zip(&b).map(|(&x, &y)| f(x, y)).collect() };
                let mut out = vec![0; len];
                limb.add(&a, &b, &mut out);
                prop_assert_eq!(&out, &by(&|x, y| m.add(x, y)));
                prop_assert_eq!(&in_place(&|l, x| l.add_assign(x, &b)), &out);
                limb.sub(&a, &b, &mut out);
                prop_assert_eq!(&out, &by(&|x, y| m.sub(x, y)));
                prop_assert_eq!(&in_place(&|l, x| l.sub_assign(x, &b)), &out);
                limb.mul(&a, &b, &mut out);
                prop_assert_eq!(&out, &by(&|x, y| m.mul(x, y)));
                prop_assert_eq!(&in_place(&|l, x| l.mul_assign(x, &b)), &out);
                prop_assert_eq!(&in_place(&|l, x| l.neg_assign(x)), &by(&|x, _| m.neg(x)));
                prop_assert_eq!(&in_place(&|l, x| l.mul_scalar_assign(x, w)), &by(&|x, _| m.mul(x, w)));
                prop_assert_eq!(&in_place(&|l, x| l.add_scalar_assign(x, w)), &by(&|x, _| m.add(x, w)));
                prop_assert_eq!(&in_place(&|l, x| l.mul_scalar_add(x, &b, w)), &by(&|x, y| m.add(x, m.mul(y, w))));
                prop_assert_eq!(&in_place(&|l, x| l.sub_mul_assign(x, &b, w)), &by(&|x, y| m.mul(m.sub(x, y), w)));
                let signed: Vec<i64> = (0..len).map(|k| match k {
                    0 => i64::MIN,
                    1 => i64::MAX,
                    2 => -(m.value() as i64),
                    _ => words.word() as i64 >> (words.word() % 64),
                }).collect();
                limb.reduce_signed(&signed, &mut out);
                let residues = signed.iter().map(|&v| i128::from(v).rem_euclid(i128::from(m.value())) as u64);
                prop_assert_eq!(&out, &residues.collect::<Vec<_>>());
                let mut acc = c.clone();
                limb.mul_add(&mut acc, &a, &b);
                let expected: Vec<u64> = c.iter().zip(by(&|x, y| m.mul(x, y))).map(|(&x, y)| m.add(x, y)).collect();
                prop_assert_eq!(&acc, &expected);
                let (mut t0, mut t1, mut t2) = (vec![0; len], vec![0; len], vec![0; len]);
                limb.tensor([&a, &b], [&b, &c], [&mut t0, &mut t1, &mut t2]);
                for k in 0..len {
                    prop_assert_eq!(t0[k], m.mul(a[k], b[k]));
                    prop_assert_eq!(t1[k], m.add(m.mul(a[k], c[k]), m.mul(b[k], b[k])));
                    prop_assert_eq!(t2[k], m.mul(b[k], c[k]));
                }
            }
        }
    }

    #[test]
    fn two_real_polynomials_share_one_transform(log_n in 1u32..8, seed: u64) {
        let primes = assorted_primes(log_n);
        for ring in rings(log_n, &primes) {
            let n = ring.n();
            for i in 0..primes.len() {
                let (limb, m) = (ring.limb(i), ring.modulus(i));
                let mut words = Words(seed ^ i as u64);
                // Equal to its conjugate: coefficient N - k is minus coefficient k.
                let mut real = || {
                    let mut c = words.residues(&m, n);
                    c[n / 2] = 0;
                    (1..n / 2).for_each(|k| c[n - k] = m.neg(c[k]));
                    c
                };
                let (mut a, mut b) = (real(), real());
                let mut re: Vec<u64> = (0..n)
                    .map(|k| if k < n / 2 { m.sub(a[k], b[k + n / 2]) } else { m.add(a[k], b[k - n / 2]) })
                    .collect();
                let mut im = vec![0; n];
                limb.forward(&mut re);
                limb.split_conjugates(&mut re, &mut im);
                limb.forward(&mut a);
                limb.forward(&mut b);
                prop_assert_eq!((re, im), (a, b));
            }
        }
    }

    #[test]
    fn inner_products_accumulate_and_permute(terms in 0usize..40, g: u64, accumulate: bool, permuted: bool, seed: u64) {
        let primes = assorted_primes(6);
        for ring in rings(6, &primes) {
            let n = ring.n();
            let phi = ring.automorphism(g | 1).unwrap();
            for i in 0..primes.len() {
                let (limb, m) = (ring.limb(i), ring.modulus(i));
                let mut words = Words(seed ^ i as u64);
                let mut many = || -> Vec<Vec<u64>> { (0..terms).map(|_| words.residues(&m, n)).collect() };
                let (d, x0, x1) = (many(), many(), many());
                let (mut o0, mut o1) = (Words(seed).residues(&m, n), Words(!seed).residues(&m, n));
                let start = if accumulate { [o0.clone(), o1.clone()] } else { [vec![0; n], vec![0; n]] };
                fn slices(v: &[Vec<u64>]) -> Vec<&[u64]> { v.iter().map(|x| &x[..]).collect() }
                limb.inner_product(&slices(&d), &slices(&x0), &slices(&x1), permuted.then_some(&phi), accumulate, &mut o0, &mut o1);
                for p in 0..n {
                    let from = if permuted { phi.source()[p] as usize } else { p };
                    let sum = |x: &[Vec<u64>], s: u64| (0..terms).fold(s, |acc, j| m.add(acc, m.mul(d[j][from], x[j][p])));
                    prop_assert_eq!(o0[p], sum(&x0, start[0][p]));
                    prop_assert_eq!(o1[p], sum(&x1, start[1][p]));
                }
            }
        }
    }

    #[test]
    fn inner_products_read_values_for_runs(terms in 0usize..20, log_run in 0u32..=6, accumulate: bool, seed: u64) {
        let primes = assorted_primes(6);
        let run = 1usize << log_run;
        for ring in rings(6, &primes) {
            let n = ring.n();
            for i in 0..primes.len() {
                let (limb, m) = (ring.limb(i), ring.modulus(i));
                let mut words = Words(seed ^ i as u64);
                let mut many = |len: usize| -> Vec<Vec<u64>> { (0..terms).map(|_| words.residues(&m, len)).collect() };
                let (d, x0, x1) = (many(n / run), many(n), many(n));
                let repeated: Vec<Vec<u64>> = d.iter().map(|d| (0..n).map(|p| d[p / run]).collect()).collect();
                let start = [Words(seed).residues(&m, n), Words(!seed).residues(&m, n)];
                let ([mut a0, mut a1], [mut b0, mut b1]) = (start.clone(), start);
                fn slices(v: &[Vec<u64>]) -> Vec<&[u64]> { v.iter().map(|x| &x[..]).collect() }
                let (x0, x1) = (slices(&x0), slices(&x1));
                limb.inner_product_of_runs(&slices(&d), run, &x0, &x1, accumulate, &mut a0, &mut a1);
                limb.inner_product(&slices(&repeated), &x0, &x1, None, accumulate, &mut b0, &mut b1);
                prop_assert_eq!((a0, a1), (b0, b1));
            }
        }
    }
}

#[test]
fn the_longest_inner_product_does_not_overflow() {
    let primes = assorted_primes(6);
    for ring in rings(6, &primes) {
        for i in 0..primes.len() {
            let (m, n) = (ring.modulus(i), ring.n());
            let top = vec![m.value() - 1; n];
            let many = vec![&top[..]; Limb::MAX_TERMS];
            let (mut o0, mut o1) = (top.clone(), top.clone());
            ring.limb(i).inner_product(&many, &many, &many, None, true, &mut o0, &mut o1);
            // (-1)(-1) so many times, from -1.
            let expected = (Limb::MAX_TERMS as u64 - 1) % m.value();
            assert_eq!((o0, o1), (vec![expected; n], vec![expected; n]));
        }
    }
}

/// Factors whose product has ones alone in its low 52 bits, which the vector kernels sum apart from the high ones.
fn worst_low_half(m: &Modulus) -> Option<(u64, u64)> {
    const LOW: u64 = (1 << 52) - 1;
    let odd = (0..64).map(|k| m.value() - 2 - 2 * k).take_while(|&x| x > 1);
    odd.map(|x| {
        // Newton's iteration doubles the right bits of the inverse of x modulo 2^64.
        let inverse = (0..5).fold(x, |i, _| i.wrapping_mul(2u64.wrapping_sub(x.wrapping_mul(i))));
        (inverse.wrapping_neg() & LOW, x)
    })
    .find(|&(d, x)| d < m.value() && d.wrapping_mul(x) & LOW == LOW)
}

#[test]
fn the_largest_low_halves_do_not_overflow() {
    let primes = assorted_primes(6);
    let mut reached = 0;
    for ring in rings(6, &primes) {
        let (n, identity) = (ring.n(), ring.automorphism(1).unwrap());
        for i in 0..primes.len() {
            let (limb, m) = (ring.limb(i), ring.modulus(i));
            let Some((d, x)) = worst_low_half(&m) else { continue };
            reached += usize::from(m.value() >> 49 > 0);
            let start = m.value() - 1;
            let (d, x) = (vec![d; n], vec![x; n]);
            for terms in [Limb::MAX_TERMS, Limb::MAX_TERMS - 1, 17] {
                let (factors, others) = (vec![&d[..]; terms], vec![&x[..]; terms]);
                let expected = m.add(m.mul(m.mul(d[0], x[0]), m.reduce_u64(terms as u64)), start);
                for permutation in [None, Some(&*identity)] {
                    let (mut o0, mut o1) = (vec![start; n], vec![start; n]);
                    limb.inner_product(&factors, &others, &others, permutation, true, &mut o0, &mut o1);
                    assert_eq!((o0, o1), (vec![expected; n], vec![expected; n]), "{:?} {m:?}", ring.isa());
                }
                let runs = vec![&d[..n / 4]; terms];
                let (mut o0, mut o1) = (vec![start; n], vec![start; n]);
                limb.inner_product_of_runs(&runs, 4, &others, &others, true, &mut o0, &mut o1);
                assert_eq!((o0, o1), (vec![expected; n], vec![expected; n]), "{:?} {m:?}", ring.isa());
            }
        }
    }
    // Primes above 2^49, where sums are longest, have such factors for every instruction set.
    assert!(reached >= rings(6, &primes).len(), "{reached}");
}

#[test]
fn one_term_more_is_refused() {
    let primes = assorted_primes(6);
    for ring in rings(6, &primes) {
        let one = vec![1; ring.n()];
        let many = vec![&one[..]; Limb::MAX_TERMS + 1];
        let product = || {
            let (mut o0, mut o1) = (one.clone(), one.clone());
            ring.limb(0).inner_product(&many, &many, &many, None, true, &mut o0, &mut o1);
        };
        let of_runs = || {
            let (mut o0, mut o1) = (one.clone(), one.clone());
            ring.limb(0).inner_product_of_runs(&many, 1, &many, &many, true, &mut o0, &mut o1);
        };
        assert!(std::panic::catch_unwind(product).is_err() && std::panic::catch_unwind(of_runs).is_err());
    }
}

#[test]
fn uniform_residues_fill_the_range_and_follow_the_stream() {
    let primes = assorted_primes(6);
    for ring in rings(6, &primes) {
        for (i, &q) in primes.iter().enumerate() {
            let draw = |seed: u64| {
                let mut words = Words(seed);
                let mut out = vec![0; 20_000];
                ring.limb(i).sample_uniform(|block| block.iter_mut().for_each(|w| *w = words.word()), &mut out);
                out
            };
            let out = draw(7);
            assert!(out.iter().all(|&x| x < q));
            let mean = out.iter().map(|&x| x as f64).sum::<f64>() / out.len() as f64;
            // Six standard errors of the mean of a uniform variable.
            let bound = 6.0 * q as f64 / (12.0 * out.len() as f64).sqrt();
            assert!((mean - (q - 1) as f64 / 2.0).abs() < bound, "{q}: {mean}");
            assert_eq!(out, draw(7));
            assert!(out != draw(8));
        }
    }
}
