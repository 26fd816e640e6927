//! Tests of distributions. Seeds are fixed, so a bound that holds once holds always; six deviations leave a wrong
//! distribution of these sample sizes no room.

/// Standard deviations from its mean at which a statistic is taken for wrong.
pub const DEVIATIONS: f64 = 6.0;

/// Standard deviation of errors: half of the root of 42 coins.
pub fn sigma() -> f64 {
    10.5f64.sqrt()
}

/// Asserts that counts are drawn with these probabilities (Pearson's chi-square).
#[track_caller]
pub fn assert_distribution(what: &str, counts: &[u64], probabilities: &[f64]) {
    let total = counts.iter().sum::<u64>() as f64;
    let terms = counts.iter().zip(probabilities).map(|(&count, p)| {
        assert!(p * total >= 5.0, "{what}: {total} samples are too few");
        (count as f64 - p * total).powi(2) / (p * total)
    });
    let freedom = counts.len() as f64 - 1.0;
    let chi_square: f64 = terms.sum();
    let bound = freedom + DEVIATIONS * (2.0 * freedom).sqrt() + 2.0 * DEVIATIONS;
    assert!(chi_square < bound, "{what}: chi-square {chi_square:.1} above {bound:.1} for {counts:?}");
}

/// Asserts that values are the centred binomial of 21 coins on either side.
#[track_caller]
pub fn assert_errors<'a>(what: &str, errors: impl IntoIterator<Item = &'a i64>) {
    // Beyond seven there is one in fifty: one class on either side.
    const EDGE: i64 = 8;
    let mut counts = vec![0u64; 2 * EDGE as usize + 1];
    for &e in errors {
        assert!(e.abs() <= 21, "{what}: an error of {e}");
        counts[(e.clamp(-EDGE, EDGE) + EDGE) as usize] += 1;
    }
    // Binomial coefficients of 42, from the middle outwards.
    let mut exact = [0.0f64; 22];
    exact[0] = 538_257_874_440.0 / 2f64.powi(42);
    for k in 1..22 {
        exact[k] = exact[k - 1] * (22 - k) as f64 / (21 + k) as f64;
    }
    let tail: f64 = exact[EDGE as usize..].iter().sum();
    let probability = |e: i64| if e.abs() == EDGE { tail } else { exact[e.unsigned_abs() as usize] };
    let probabilities: Vec<f64> = (-EDGE..=EDGE).map(probability).collect();
    assert_distribution(what, &counts, &probabilities);
}

/// Asserts that values are -1, 0 and 1, equally often.
#[track_caller]
pub fn assert_ternary<'a>(what: &str, values: impl IntoIterator<Item = &'a i64>) {
    let mut counts = [0u64; 3];
    for &v in values {
        assert!(v.abs() <= 1, "{what}: {v} is not ternary");
        counts[(v + 1) as usize] += 1;
    }
    assert_distribution(what, &counts, &[1.0 / 3.0; 3]);
}

/// Counts of residues by their high and by their low bits.
pub struct Uniform {
    high: Vec<u64>,
    low: Vec<u64>,
}

/// Classes of [`Uniform`].
const CLASSES: u64 = 64;

impl Uniform {
    pub fn new() -> Self {
        Self { high: vec![0; CLASSES as usize], low: vec![0; CLASSES as usize] }
    }

    pub fn add(&mut self, q: u64, residues: &[u64]) {
        for &v in residues {
            assert!(v < q);
            self.high[(u128::from(v) * u128::from(CLASSES) / u128::from(q)) as usize] += 1;
            self.low[(v % CLASSES) as usize] += 1;
        }
    }

    #[track_caller]
    pub fn assert(&self, what: &str) {
        for counts in [&self.high, &self.low] {
            assert_distribution(what, counts, &[1.0 / CLASSES as f64; CLASSES as usize]);
        }
    }
}

/// Asserts that no two of these vectors are correlated: not equal, not opposite, not sharing a part.
#[track_caller]
pub fn assert_independent(what: &str, vectors: &[Vec<i64>]) {
    let dot = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(a, b)| (a * b) as f64).sum::<f64>();
    for (i, a) in vectors.iter().enumerate() {
        for (j, b) in vectors.iter().enumerate().skip(i + 1) {
            let correlation = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            let bound = DEVIATIONS / (a.len() as f64).sqrt();
            assert!(correlation.abs() < bound, "{what}: {i} and {j} have correlation {correlation:.3}");
        }
    }
}

/// Asserts that all of these differ.
#[track_caller]
pub fn assert_distinct<T: Ord + std::fmt::Debug>(what: &str, mut values: Vec<T>) {
    values.sort_unstable();
    for pair in values.windows(2) {
        assert!(pair[0] != pair[1], "{what}: {:?} twice", pair[0]);
    }
}
