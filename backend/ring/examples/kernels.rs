//! Times the kernels of this machine's instruction set, and `tfhe-ntt` beside them.
//!
//! `cargo run --release -p fhec-ring --example kernels [log_n ..]`; `FHEC_ISA` lowers the instruction set.

use fhec_ring::{BaseConverter, Isa, Lift, Ring, ntt_primes};
#[path = "clock/mod.rs"]
mod clock;

use std::hint::black_box;

/// Least microseconds of one call, over rounds of a few milliseconds.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let once = std::time::Instant::now();
    f();
    // The clock may be as coarse as the scheduler's tick.
    let calls = (40e-3 / once.elapsed().as_secs_f64().max(1e-7)).ceil().max(1.0) as usize;
    let round = |f: &mut dyn FnMut()| {
        let start = clock::seconds();
        (0..calls).for_each(|_| f());
        (clock::seconds() - start) * 1e6 / calls as f64
    };
    (0..5).map(|_| round(&mut f)).fold(f64::INFINITY, f64::min)
}

fn fill(q: u64, len: usize) -> Vec<u64> {
    (0..len as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % q).collect()
}

fn transforms(log_n: u32) {
    let n = 1usize << log_n;
    let butterflies = f64::from(log_n) * n as f64 / 2.0;
    let row = |name: &str, us: f64| {
        println!("  {name:<44} {us:>9.1} us  {:.3} ns/butterfly", us * 1e3 / butterflies);
    };
    let targets =
        [("just below 2^50", (1u64 << 50) - 1), ("about 2^49.5", 796_131_459_065_721), ("about 2^45", 1 << 45)];
    for (label, target) in targets {
        let primes = ntt_primes(log_n, target, 24, &[]).expect("primes");
        let ring = Ring::new(log_n, &primes, Isa::detect()).expect("ring");
        let mut a = fill(primes[0], n);
        println!(" {label}");
        let forward = time(|| ring.limb(0).forward(black_box(&mut a)));
        row("forward", forward);
        let mut i = 0;
        let mut next = || {
            i = (i + 1) % primes.len();
            i
        };
        row("forward, another prime each time", time(|| ring.limb(next()).forward(black_box(&mut a))));
        let mut limbs = fhec_ring::RnsPoly::zero(n, primes.len());
        let us = time(|| {
            let i = next();
            ring.limb(i).forward(black_box(limbs.limb_mut(i)))
        });
        row("forward, another prime and limb each time", us);
        row("inverse", time(|| ring.limb(0).inverse(black_box(&mut a))));
        if let Some(plan) = tfhe_ntt::prime64::Plan::try_new(n, primes[0]) {
            let theirs = time(|| plan.fwd(black_box(&mut a)));
            row("tfhe-ntt forward", theirs);
            row("tfhe-ntt inverse", time(|| plan.inv(black_box(&mut a))));
            println!("  tfhe-ntt / ours, forward: {:.2}", theirs / forward);
        }
    }
}

fn elementwise(log_n: u32) {
    let n = 1usize << log_n;
    let primes = ntt_primes(log_n, (1 << 50) - 1, 34, &[]).expect("primes");
    let ring = Ring::new(log_n, &primes, Isa::detect()).expect("ring");
    let limb = ring.limb(0);
    let (mut a, b, c) = (fill(primes[0], n), fill(primes[0], n), fill(primes[0], n));
    let mut out = vec![0; n];
    let row = |name: &str, us: f64| println!("  {name:<44} {us:>9.1} us  {:.3} ns/residue", us * 1e3 / n as f64);
    row("add_assign", time(|| limb.add_assign(black_box(&mut a), &b)));
    row("mul", time(|| limb.mul(&a, &b, black_box(&mut out))));
    row("mul_add", time(|| limb.mul_add(black_box(&mut a), &b, &c)));
    row("mul_scalar_assign", time(|| limb.mul_scalar_assign(black_box(&mut a), 12_345)));
    row("sub_mul_assign", time(|| limb.sub_mul_assign(black_box(&mut a), &b, 12_345)));
    let phi = ring.automorphism(5).expect("odd");
    row("automorphism", time(|| phi.apply(&b, black_box(&mut out))));
    let (d, x) = (vec![&b[..]; 4], vec![&c[..]; 4]);
    row(
        "inner product, 4 terms, permuted",
        time(|| limb.inner_product(&d, &x, &x, Some(&phi), false, black_box(&mut a), black_box(&mut out))),
    );
    let (from, to): (Vec<usize>, Vec<usize>) = ((0..7).collect(), (7..33).collect());
    let table = BaseConverter::new(&ring, &from, &to).expect("table");
    let sources: Vec<Vec<u64>> = from.iter().map(|&i| fill(primes[i], n)).collect();
    let sources: Vec<&[u64]> = sources.iter().map(|s| &s[..]).collect();
    let mut targets = vec![vec![0; n]; to.len()];
    let us = time(|| {
        let mut targets: Vec<&mut [u64]> = targets.iter_mut().map(|t| &mut t[..]).collect();
        table.convert(&sources, Lift::Centred, black_box(&mut targets));
    });
    println!(
        "  {:<44} {us:>9.1} us  {:.3} ns/product",
        "base conversion, 7 to 26 primes",
        us * 1e3 / (n * 7 * 26) as f64
    );
}

fn main() {
    let sizes: Vec<u32> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![13, 14, 15, 16] } else { sizes };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("pool");
    pool.install(|| {
        println!("instruction set {}", Isa::detect().name());
        for log_n in sizes {
            println!("N = 2^{log_n}");
            transforms(log_n);
            elementwise(log_n);
        }
    });
}
