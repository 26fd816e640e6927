//! Times the parts of a key switch.
//!
//! `cargo run --release -p fhec-ring --example keyswitch [log_n limbs special digits [threads]]`, by default
//! 16 26 7 4 1.

use fhec_ring::{Digits, Isa, KeyHalves, KeySwitcher, ModDown, Ring, RnsPoly, Scratch, ntt_primes};
#[path = "clock/mod.rs"]
mod clock;

use std::hint::black_box;

/// Milliseconds of one call, the least of five rounds of eight.
fn time(mut f: impl FnMut()) -> f64 {
    let mut round = || {
        let start = clock::seconds();
        (0..8).for_each(|_| f());
        (clock::seconds() - start) * 1e3 / 8.0
    };
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn random(ring: &Ring, primes: impl Iterator<Item = usize>) -> RnsPoly {
    let primes: Vec<usize> = primes.collect();
    let mut poly = RnsPoly::zero(ring.n(), primes.len());
    for (limb, i) in poly.limbs_mut().zip(primes) {
        let q = ring.modulus(i).value();
        limb.iter_mut().zip(1u64..).for_each(|(x, k)| *x = k.wrapping_mul(0x9e37_79b9_7f4a_7c15) % q);
    }
    poly
}

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let at = |i: usize, default: usize| args.get(i).copied().unwrap_or(default);
    let (log_n, limbs, special, digits, threads) = (at(0, 16) as u32, at(1, 26), at(2, 7), at(3, 4), at(4, 1));
    let primes = ntt_primes(log_n, (1 << 50) - 1, limbs + special, &[]).expect("primes");
    let ring = Ring::new(log_n, &primes, Isa::detect()).expect("ring");
    let switcher = KeySwitcher::new(&ring, limbs, limbs..limbs + special, limbs.div_ceil(digits)).expect("tables");
    let qp = switcher.qp_limbs();
    println!(
        "{}, N = 2^{log_n}, {limbs} limbs, {special} special primes, {digits} digits, {threads} threads",
        ring.isa().name()
    );
    let keys: Vec<[RnsPoly; 2]> =
        switcher.digits().iter().map(|_| [random(&ring, 0..qp), random(&ring, 0..qp)]).collect();
    let key: Vec<KeyHalves> =
        keys.iter().map(|[b, a]| KeyHalves { halves: [b.as_slice(), a.as_slice()], q_limbs: limbs }).collect();
    let x = random(&ring, 0..limbs);
    let phi = ring.automorphism(5).expect("odd");
    let (mut out0, mut out1) = (RnsPoly::zero(ring.n(), qp), RnsPoly::zero(ring.n(), qp));
    let (mut cut, scratch) = (Digits::new(), Scratch::new());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
    let row = |name: &str, ms: f64| println!("  {name:<44} {ms:>8.2} ms");
    pool.install(|| {
        row("decompose", time(|| switcher.decompose(&ring, black_box(&x), &mut cut, &scratch)));
        let inner = time(|| switcher.inner_product(&ring, &cut, &key, Some(&phi), false, &mut out0, &mut out1));
        row("inner product", inner);
        row(
            "two divisions by the special primes",
            time(|| {
                for out in [&mut out0, &mut out1] {
                    out.set_limb_count(qp);
                    switcher.mod_down().apply(&ring, out, &scratch);
                }
            }),
        );
        row(
            "whole switch",
            time(|| {
                switcher.switch(&ring, black_box(&x), &key, Some(&phi), [&mut out0, &mut out1], &scratch);
            }),
        );
        if limbs > 1 {
            let keep: Vec<usize> = (0..limbs - 1).collect();
            let rescale = ModDown::new(&ring, &keep, &[limbs - 1]).expect("tables");
            row(
                "rescale of two polynomials",
                time(|| {
                    for out in [&mut out0, &mut out1] {
                        out.set_limb_count(limbs);
                        rescale.apply(&ring, out, &scratch);
                    }
                }),
            );
        }
        let mut limb = x.limb(0).to_vec();
        let transform = time(|| (0..100).for_each(|_| ring.limb(0).forward(&mut limb))) / 100.0;
        let count = limbs + digits * qp - limbs + 2 * special + 2 * limbs;
        println!("  transforms: {count} x {transform:.3} ms = {:.2} ms", count as f64 * transform);
    });
}
