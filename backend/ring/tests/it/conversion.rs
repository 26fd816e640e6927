//! Base conversions, divisions by primes and key switches are compared with exact integers.

use crate::support::{Words, rings};
use fhec_ring::{
    BaseConverter, Digits, KeyHalves, KeySwitcher, Lift, ModDown, RingError, RnsPoly, Scratch, ntt_primes,
};
use proptest::prelude::*;

/// Three small primes, whose product fits `i128` easily, then large ones.
fn primes(log_n: u32) -> Vec<u64> {
    let mut primes = ntt_primes(log_n, 1 << 30, 3, &[]).unwrap();
    primes.extend(ntt_primes(log_n, (1 << 50) - 1, 11, &primes).unwrap());
    primes
}

/// A value in `(-half, half]` from two words.
fn signed(words: &mut Words, half: i128) -> i128 {
    let wide = (u128::from(words.word()) << 64 | u128::from(words.word())) as i128;
    wide.rem_euclid(2 * half) - half + 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn centred_conversion_is_exact(log_n in 3u32..=10, count in 1usize..=3, seed: u64) {
        let primes = primes(log_n);
        let from: Vec<usize> = (0..count).collect();
        let to: Vec<usize> = (count..primes.len()).collect();
        let product: i128 = from.iter().map(|&i| i128::from(primes[i])).product();
        let mut images = Vec::new();
        for ring in rings(log_n, &primes) {
            let mut words = Words(seed);
            // The last few 2^-40 next to half are where double precision may decide either way.
            let half = (product / 2) - (product >> 40) - 1;
            let values: Vec<i128> = (0..ring.n()).map(|_| signed(&mut words, half)).collect();
            let limb = |i: usize| -> Vec<u64> { values.iter().map(|&v| ring.modulus(i).reduce_i128(v)).collect() };
            let table = BaseConverter::new(&ring, &from, &to).unwrap();
            let mut sources: Vec<Vec<u64>> = from.iter().map(|&i| limb(i)).collect();
            table.prepare(&ring, &mut sources.iter_mut().map(|s| &mut s[..]).collect::<Vec<_>>());
            let sources: Vec<&[u64]> = sources.iter().map(|s| &s[..]).collect();
            let mut out = vec![vec![0; ring.n()]; to.len()];
            table.convert( &sources, Lift::Centred, &mut out.iter_mut().map(|s| &mut s[..]).collect::<Vec<_>>());
            for (o, &i) in out.iter().zip(&to) {
                prop_assert_eq!(o, &limb(i));
            }
            // Without the correction the result is off by one and the same small multiple of Q everywhere.
            let mut rough = vec![vec![0; ring.n()]; to.len()];
            table.convert( &sources, Lift::Approximate, &mut rough.iter_mut().map(|s| &mut s[..]).collect::<Vec<_>>());
            for c in 0..ring.n() {
                let multiple = (0..=count as i128).find(|v| to.iter().enumerate().all(|(j, &i)| {
                    rough[j][c] == ring.modulus(i).reduce_i128(values[c] + v * product)
                }));
                prop_assert!(multiple.is_some());
            }
            images.push(rough);
        }
        prop_assert!(images.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn many_large_sources_agree_between_instruction_sets(log_n in 3u32..=11, count in 1usize..=18, lift_centred: bool, seed: u64) {
        // Up to 8, to 16 and beyond, the vector kernel reduces its sums in three ways.
        let primes = ntt_primes(log_n, (1 << 50) - 1, 23, &[]).unwrap();
        let from: Vec<usize> = (23 - count..23).collect();
        let to: Vec<usize> = (0..23 - count).collect();
        let lift = if lift_centred { Lift::Centred } else { Lift::Approximate };
        let mut images = Vec::new();
        for ring in rings(log_n, &primes) {
            let table = BaseConverter::new(&ring, &from, &to).unwrap();
            let mut words = Words(seed);
            let sources: Vec<Vec<u64>> = from.iter().map(|&i| words.residues(&ring.modulus(i), ring.n())).collect();
            let mut out = vec![vec![0; ring.n()]; to.len()];
            table.convert( &sources.iter().map(|s| &s[..]).collect::<Vec<_>>(), lift, &mut out.iter_mut().map(|s| &mut s[..]).collect::<Vec<_>>());
            for (j, &i) in to.iter().enumerate() {
                // Equal modulo the target to the defining sum, up to a multiple of the source product.
                let m = ring.modulus(i);
                let q = from.iter().fold(1, |acc, &f| m.mul(acc, m.reduce_u64(primes[f])));
                for c in 0..ring.n() {
                    let mut sum = 0;
                    for (s, &f) in sources.iter().zip(&from) {
                        let hat = m.mul(q, m.inv(m.reduce_u64(primes[f])).unwrap());
                        sum = m.add(sum, m.mul(m.reduce_u64(s[c]), hat));
                    }
                    let fits = (0..=count).any(|_| { let hit = sum == out[j][c]; sum = m.sub(sum, q); hit });
                    prop_assert!(fits);
                }
            }
            images.push(out);
        }
        prop_assert!(images.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn mod_down_rounds(log_n in 3u32..=9, dropped in 1usize..=2, seed: u64) {
        let primes = primes(log_n);
        // Keep two large primes, drop small ones: |x| below the product of all, in i128.
        let keep = [3, 4];
        let drop: Vec<usize> = (0..dropped).collect();
        let p: i128 = drop.iter().map(|&i| i128::from(primes[i])).product();
        let all: Vec<usize> = keep.iter().copied().chain(drop.iter().copied()).collect();
        for ring in rings(log_n, &primes) {
            let mut words = Words(seed);
            let values: Vec<i128> = (0..ring.n()).map(|_| signed(&mut words, 1 << 100)).collect();
            let mut x = RnsPoly::zero(ring.n(), all.len());
            for (limb, &i) in x.limbs_mut().zip(&all) {
                for (o, &v) in limb.iter_mut().zip(&values) {
                    *o = ring.modulus(i).reduce_i128(v);
                }
                ring.limb(i).forward(limb);
            }
            let table = ModDown::new(&ring, &keep, &drop).unwrap();
            table.apply(&ring, &mut x, &Scratch::new());
            prop_assert_eq!(x.limb_count(), 2);
            for (limb, &i) in x.limbs_mut().zip(&keep) {
                ring.limb(i).inverse(limb);
                for (&o, &v) in limb.iter().zip(&values) {
                    // P is odd, so there are no ties.
                    let rounded = (v + p / 2).div_euclid(p);
                    prop_assert_eq!(o, ring.modulus(i).reduce_i128(rounded));
                }
            }
        }
    }

    #[test]
    fn a_noiseless_key_multiplies_by_its_secret(log_n in 3u32..=9, q_limbs in 1usize..=7, alpha in 1usize..=4, surplus in 0usize..=1, g: u64, seed: u64) {

        let primes = ntt_primes(log_n, (1 << 50) - 1, 12, &[]).unwrap();
        let special = 8..8 + alpha;
        let key_limbs = q_limbs + surplus;
        for ring in rings(log_n, &primes) {
            let n = ring.n();
            let (phi, scratch) = (ring.automorphism(g | 1).unwrap(), Scratch::new());
            let switcher = KeySwitcher::new(&ring, q_limbs, special.clone(), alpha).unwrap();
            let mut words = Words(seed);
            let mut x = RnsPoly::zero(n, q_limbs);
            for (i, limb) in x.limbs_mut().enumerate() {
                limb.copy_from_slice(&words.residues(&ring.modulus(i), n));
            }
            // Row j of the noiseless key: P s for the primes of digit j, zero elsewhere; two secrets at once.
            let secrets: Vec<[Vec<u64>; 2]> =
                (0..q_limbs).map(|i| [0, 1].map(|_| words.residues(&ring.modulus(i), n))).collect();
            let rows: Vec<[Vec<u64>; 2]> = switcher.digits().iter().map(|digit| [0, 1].map(|half| {
                let mut row = vec![0; (key_limbs + alpha) * n];
                for i in digit.clone() {
                    let m = ring.modulus(i);
                    let p = special.clone().fold(1, |acc, s| m.mul(acc, m.reduce_u64(primes[s])));
                    for (o, &s) in row[i * n..(i + 1) * n].iter_mut().zip(&secrets[i][half]) {
                        *o = m.mul(p, s);
                    }
                }
                row
            })).collect();
            let key: Vec<KeyHalves> =
                rows.iter().map(|[b, a]| KeyHalves { halves: [b, a], q_limbs: key_limbs }).collect();
            let (mut out0, mut out1) = (RnsPoly::zero(n, q_limbs), RnsPoly::zero(n, q_limbs));
            switcher.switch(&ring, &x, &key, Some(&phi), [&mut out0, &mut out1], &scratch);
            for (i, secret) in secrets.iter().enumerate() {
                let mut moved = vec![0; n];
                phi.apply(x.limb(i), &mut moved);
                for (half, out) in [&out0, &out1].into_iter().enumerate() {
                    let mut expected = moved.clone();
                    ring.limb(i).mul_assign(&mut expected, &secret[half]);
                    prop_assert_eq!(out.limb(i), &expected[..]);
                }
            }
        }
    }
}

#[test]
fn the_fused_switch_is_the_sum_of_its_parts_on_any_pool() {
    let primes = ntt_primes(9, (1 << 50) - 1, 22, &[]).unwrap();
    for ring in rings(9, &primes) {
        let (n, q_limbs, special, alpha) = (ring.n(), 17, 18..22, 4);
        let switcher = KeySwitcher::new(&ring, q_limbs, special, alpha).unwrap();
        let mut words = Words(5);
        let mut random = |limbs: usize| {
            let mut poly = RnsPoly::zero(n, limbs);
            for (t, limb) in poly.limbs_mut().enumerate() {
                limb.copy_from_slice(&words.residues(&ring.modulus(switcher.prime_index(t)), n));
            }
            poly
        };
        let x = random(q_limbs);
        let rows: Vec<[RnsPoly; 2]> =
            switcher.digits().iter().map(|_| [random(switcher.qp_limbs()), random(switcher.qp_limbs())]).collect();
        let key: Vec<KeyHalves> =
            rows.iter().map(|[b, a]| KeyHalves { halves: [b.as_slice(), a.as_slice()], q_limbs }).collect();
        let phi = ring.automorphism(25).unwrap();
        let (mut digits, scratch) = (Digits::new(), Scratch::new());
        let mut parts = [0, 1].map(|_| RnsPoly::zero(n, switcher.qp_limbs()));
        switcher.decompose(&ring, &x, &mut digits, &scratch);
        let [p0, p1] = &mut parts;
        switcher.inner_product(&ring, &digits, &key, Some(&phi), false, p0, p1);
        // With a rescale: P times what is added joins the limbs of q, and the last prime those that go.
        let add = [random(q_limbs), random(q_limbs)];
        let keep: Vec<usize> = (0..q_limbs - 1).collect();
        let drop: Vec<usize> = [q_limbs - 1].into_iter().chain(18..22).collect();
        let divide = ModDown::new(&ring, &keep, &drop).unwrap();
        let mut rescaled = [0, 1].map(|_| RnsPoly::zero(n, switcher.qp_limbs()));
        let [r0, r1] = &mut rescaled;
        switcher.inner_product(&ring, &digits, &key, None, false, r0, r1);
        for (part, add) in rescaled.iter_mut().zip(&add) {
            for (i, limb) in part.limbs_mut().enumerate().take(q_limbs) {
                let m = ring.modulus(i);
                let p = (18..22).fold(1, |acc, s| m.mul(acc, m.reduce_u64(primes[s])));
                ring.limb(i).mul_scalar_add(limb, add.limb(i), p);
            }
            divide.apply(&ring, part, &scratch);
        }
        parts.iter_mut().for_each(|p| switcher.mod_down().apply(&ring, p, &scratch));
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut fused = [0, 1].map(|_| RnsPoly::zero(n, 0));
            let [o0, o1] = &mut fused;
            pool.install(|| switcher.switch(&ring, &x, &key, Some(&phi), [o0, o1], &scratch));
            assert!(fused == parts, "{:?}, {threads} threads", ring.isa());
            let [o0, o1] = &mut fused;
            let both = [&add[0], &add[1]];
            pool.install(|| switcher.switch_rescale(&ring, &x, &key, both, [o0, o1], &scratch)).unwrap();
            assert!(fused == rescaled, "{:?}, {threads} threads, with a rescale", ring.isa());
        }
    }
}

#[test]
fn bad_limb_sets_are_refused() {
    for ring in rings(4, &primes(4)) {
        let refused = RingError::LimbSet(14);
        assert_eq!(BaseConverter::new(&ring, &[], &[1]).unwrap_err(), refused);
        assert_eq!(BaseConverter::new(&ring, &[1, 1], &[2]).unwrap_err(), refused);
        assert_eq!(BaseConverter::new(&ring, &[1], &[14]).unwrap_err(), refused);
        assert_eq!(ModDown::new(&ring, &[0, 1], &[1]).unwrap_err(), refused);
        assert_eq!(KeySwitcher::new(&ring, 4, 3..5, 2).unwrap_err(), refused);
        assert_eq!(KeySwitcher::new(&ring, 4, 4..15, 2).unwrap_err(), refused);
        assert_eq!(KeySwitcher::new(&ring, 4, 4..6, 0).unwrap_err(), refused);
        // Below one prime there is no level to rescale to.
        let (x, mut outs) = (RnsPoly::zero(ring.n(), 1), [0, 1].map(|_| RnsPoly::zero(ring.n(), 0)));
        let (lowest, [o0, o1]) = (KeySwitcher::new(&ring, 1, 4..5, 1).unwrap(), &mut outs);
        let result = lowest.switch_rescale(&ring, &x, &[], [&x, &x], [o0, o1], &Scratch::new());
        assert_eq!(result.unwrap_err(), refused);
    }
}
