//! Transforms are compared with schoolbook products, with those of `tfhe-ntt`, and between instruction sets.

use crate::support::{Words, assorted_primes, rings};
use fhec_ring::{Isa, Modulus, Ring, RingError, ntt_primes};
use proptest::prelude::*;

/// Product modulo `X^N + 1` by the schoolbook rule.
fn negacyclic_product(m: &Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let product = m.mul(x, y);
            let k = (i + j) % n;
            out[k] = if i + j < n { m.add(out[k], product) } else { m.sub(out[k], product) };
        }
    }
    out
}

#[test]
fn products_are_negacyclic() {
    for log_n in 1..=9 {
        let primes = assorted_primes(log_n);
        for ring in rings(log_n, &primes) {
            let mut words = Words(log_n.into());
            for i in 0..primes.len() {
                let (m, limb) = (ring.modulus(i), ring.limb(i));
                let (mut a, mut b) = (words.residues(&m, ring.n()), words.residues(&m, ring.n()));
                let expected = negacyclic_product(&m, &a, &b);
                limb.forward(&mut a);
                limb.forward(&mut b);
                limb.mul_assign(&mut a, &b);
                limb.inverse(&mut a);
                assert_eq!(a, expected, "{:?} log_n {log_n} q {}", ring.isa(), m.value());
            }
        }
    }
}

#[test]
fn positions_hold_the_values_their_exponents_say() {
    for log_n in [1, 3, 6, 8] {
        let primes = ntt_primes(log_n, 1 << 50, 1, &[]).unwrap();
        for ring in rings(log_n, &primes) {
            let (m, n) = (ring.modulus(0), ring.n());
            let coefficients = Words(1).residues(&m, n);
            // The transform of X gives psi^e at each position, so psi itself is where e = 1.
            let mut x = vec![0; n];
            x[1] = 1;
            ring.limb(0).forward(&mut x);
            let psi = x[ring.position(1)];
            let mut values = coefficients.clone();
            ring.limb(0).forward(&mut values);
            for (p, &value) in values.iter().enumerate() {
                let point = m.pow(psi, ring.exponent(p));
                assert_eq!(ring.position(ring.exponent(p)), p);
                let horner = coefficients.iter().rev().fold(0, |acc, &c| m.add(m.mul(acc, point), c));
                assert_eq!(value, horner);
            }
        }
    }
}

#[test]
fn large_products_agree_with_tfhe_ntt() {
    for log_n in [10, 11, 12, 13] {
        let primes = assorted_primes(log_n);
        for (i, &q) in primes.iter().enumerate() {
            let Some(plan) = tfhe_ntt::prime64::Plan::try_new(1 << log_n, q) else { continue };
            let m = Modulus::new(q).unwrap();
            let mut words = Words(q);
            let (a, b) = (words.residues(&m, 1 << log_n), words.residues(&m, 1 << log_n));
            let (mut expected, mut other) = (a.clone(), b.clone());
            plan.fwd(&mut expected);
            plan.fwd(&mut other);
            plan.mul_assign_normalize(&mut expected, &other);
            plan.inv(&mut expected);
            for ring in rings(log_n, &primes[i..=i]) {
                let limb = ring.limb(0);
                let (mut x, mut y) = (a.clone(), b.clone());
                limb.forward(&mut x);
                limb.forward(&mut y);
                limb.mul_assign(&mut x, &y);
                limb.inverse(&mut x);
                assert_eq!(x, expected, "{:?} log_n {log_n} q {q}", ring.isa());
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits_at_every_size() {
    for log_n in 1..=17 {
        let primes = assorted_primes(log_n);
        let rings = rings(log_n, &primes);
        for (i, &q) in primes.iter().enumerate() {
            let m = Modulus::new(q).unwrap();
            let coefficients = Words(q).residues(&m, 1 << log_n);
            let mut values = coefficients.clone();
            rings[0].limb(i).forward(&mut values);
            let scale = q / 3;
            let scaled: Vec<u64> = coefficients.iter().map(|&c| m.mul(c, scale)).collect();
            for ring in &rings {
                let mut a = coefficients.clone();
                ring.limb(i).forward(&mut a);
                assert!(a == values, "{:?} log_n {log_n} q {q} forward", ring.isa());
                ring.limb(i).inverse(&mut a);
                assert!(a == coefficients, "{:?} log_n {log_n} q {q} inverse", ring.isa());
                a.copy_from_slice(&values);
                ring.limb(i).inverse_scaled(&mut a, scale);
                assert!(a == scaled, "{:?} log_n {log_n} q {q} scaled inverse", ring.isa());
            }
        }
    }
}

#[test]
fn extreme_inputs_stay_canonical() {
    for log_n in [6, 12, 16] {
        let primes = assorted_primes(log_n);
        let rings = rings(log_n, &primes);
        for (i, &q) in primes.iter().enumerate() {
            for fill in [q - 1, 0, 1, q / 2] {
                let input = vec![fill; 1 << log_n];
                let mut expected = [input.clone(), input.clone()];
                rings[0].limb(i).forward(&mut expected[0]);
                rings[0].limb(i).inverse(&mut expected[1]);
                for ring in &rings[1..] {
                    let (mut f, mut b) = (input.clone(), input.clone());
                    ring.limb(i).forward(&mut f);
                    ring.limb(i).inverse(&mut b);
                    assert!(f == expected[0] && b == expected[1], "{:?} {log_n} {q} {fill}", ring.isa());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_prime_round_trips_alike(log_n in 1u32..=11, target in 1u64..1 << 50, seed: u64) {
        let primes = ntt_primes(log_n, target, 1, &[]).unwrap();
        let m = Modulus::new(primes[0]).unwrap();
        let a = Words(seed).residues(&m, 1 << log_n);
        let mut images = Vec::new();
        for ring in rings(log_n, &primes) {
            let mut x = a.clone();
            ring.limb(0).forward(&mut x);
            images.push(x.clone());
            ring.limb(0).inverse(&mut x);
            prop_assert_eq!(&x, &a);
        }
        prop_assert!(images.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn automorphisms_agree_in_both_forms(log_n in 1u32..=9, g: u64, h: u64, seed: u64) {
        let (g, h) = (g | 1, h | 1);
        let primes = ntt_primes(log_n, 1 << 50, 1, &[]).unwrap();
        for ring in rings(log_n, &primes) {
            let (m, limb) = (ring.modulus(0), ring.limb(0));
            let a = Words(seed).residues(&m, ring.n());
            let phi = ring.automorphism(g).unwrap();
            let mut coefficients = vec![0; ring.n()];
            phi.apply_coefficients(&m, &a, &mut coefficients);
            // X -> X^g on the monomials, by definition.
            let mut naive = vec![0; ring.n()];
            for (j, &c) in a.iter().enumerate() {
                let e = (j as u64).wrapping_mul(g) % (2 * ring.n() as u64);
                let (k, wrapped) = (e as usize % ring.n(), e as usize >= ring.n());
                naive[k] = if wrapped { m.neg(c) } else { c };
            }
            prop_assert_eq!(&coefficients, &naive);
            let mut evaluations = a.clone();
            limb.forward(&mut evaluations);
            let mut moved = vec![0; ring.n()];
            phi.apply(&evaluations, &mut moved);
            limb.forward(&mut coefficients);
            prop_assert_eq!(&moved, &coefficients);
            // Composition: first g, then h, is g h.
            let mut twice = vec![0; ring.n()];
            ring.automorphism(h).unwrap().apply(&moved, &mut twice);
            let mut once = vec![0; ring.n()];
            ring.automorphism(g.wrapping_mul(h)).unwrap().apply(&evaluations, &mut once);
            prop_assert_eq!(twice, once);
        }
    }
}

#[test]
fn bad_parameters_are_refused() {
    let isa = Isa::Portable;
    assert_eq!(Ring::new(0, &[], isa).unwrap_err(), RingError::Degree(0));
    assert_eq!(Ring::new(18, &[], isa).unwrap_err(), RingError::Degree(18));
    assert_eq!(Ring::new(4, &[97, 97], isa).unwrap_err(), RingError::DuplicatePrime(97));
    assert_eq!(Ring::new(4, &[101], isa).unwrap_err(), RingError::NotNttPrime { q: 101, order: 32 });
    assert_eq!(Ring::new(4, &[3 * 11], isa).unwrap_err(), RingError::NotNttPrime { q: 33, order: 32 });
    let ring = Ring::new(4, &[97], isa).unwrap();
    assert_eq!(ring.automorphism(6).unwrap_err(), RingError::AutomorphismExponent(6));
}
