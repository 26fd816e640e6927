use fhec_ring::*;
use std::time::Instant;
fn main() {
    let log_n = 16;
    let n = 1usize << log_n;
    let primes = ntt_primes(log_n, (1 << 50) - 1, 33, &[]).unwrap();
    let ring = Ring::new(log_n, &primes, Isa::detect()).unwrap();
    let src = RnsPoly::zero(n, 28);
    let mut dst: Vec<RnsPoly> = (0..4).map(|_| RnsPoly::zero(n, 33)).collect();
    let tabs: Vec<BaseConverter> = (0..4)
        .map(|d| {
            let from: Vec<usize> = (7 * d..7 * d + 7).collect();
            let to: Vec<usize> = (0..33).filter(|i| !from.contains(i)).collect();
            BaseConverter::new(&ring, &from, &to).unwrap()
        })
        .collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        for _ in 0..6 {
            let t = Instant::now();
            for d in 0..4 {
                for i in 0..7 {
                    let l = src.limb(7 * d + i);
                    dst[d].limb_mut(i).copy_from_slice(l);
                }
            }
            let copies = t.elapsed().as_secs_f64() * 1e3;
            let t = Instant::now();
            for d in 0..4 {
                let s: Vec<&[u64]> = (7 * d..7 * d + 7).map(|i| src.limb(i)).collect();
                let mut o: Vec<&mut [u64]> = dst[d].limbs_mut().skip(7).collect();
                tabs[d].convert(&s, Lift::Centred, &mut o);
            }
            let conv = t.elapsed().as_secs_f64() * 1e3;
            let t = Instant::now();
            for d in 0..4 {
                for (i, l) in dst[d].limbs_mut().enumerate().skip(7) {
                    ring.limb(i).forward(l);
                }
            }
            let ntts = t.elapsed().as_secs_f64() * 1e3;
            println!("copies {copies:.2} conv {conv:.2} ntt {ntts:.2} ({:.1} us each)", ntts * 1e3 / 104.0);
        }
    });
}
