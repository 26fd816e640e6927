//! A small generator for simulated noise: fast and repeatable, not for secrets.

/// xoshiro256++ (Blackman, Vigna, Scrambled Linear Pseudorandom Number Generators, 2021).
#[derive(Clone, Debug)]
pub struct NoiseRng([u64; 4]);

impl NoiseRng {
    /// The generator of stream `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut z = seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Self(std::array::from_fn(|_| {
            z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let x = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        }))
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Mean 0, variance 1, nearly Gaussian: the sum of eight uniform 16-bit numbers, which reaches 4.9 deviations.
    pub fn gaussian(&mut self) -> f64 {
        let lanes = |x: u64| (x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48);
        let sum = lanes(self.next()) + lanes(self.next());
        // Each lane: mean 65535/2, variance (2^32 - 1)/12.
        (sum as f64 - 4.0 * 65535.0) * (1.5 / f64::from(u32::MAX)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_moments_of_a_gaussian() {
        let mut rng = NoiseRng::new(1, 0);
        let xs: Vec<f64> = (0..200_000).map(|_| rng.gaussian()).collect();
        let moment = |p: i32| xs.iter().map(|x| x.powi(p)).sum::<f64>() / xs.len() as f64;
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.01, "{}", moment(2));
        assert!(moment(3).abs() < 0.02, "{}", moment(3));
        assert!((moment(4) - 2.85).abs() < 0.06, "{}", moment(4));
        assert_ne!(NoiseRng::new(1, 1).next(), NoiseRng::new(1, 0).next());
    }
}
