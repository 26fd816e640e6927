//! Noise on values that are published.

use crate::opened::{CONTEXT, Opened};
use crate::statistics::{DEVIATIONS, assert_distribution, assert_independent};
use fhec_client::{Flooding, Publication, PublicationError, Randomness};

const VALUES: usize = 1 << 14;

fn flooding(bits: u32, queries: u64, error: f64, values: usize) -> Flooding {
    Publication { bits, queries }.flooding(error, values).unwrap()
}

/// `values` as they are published, in steps.
fn steps(flooding: &Flooding, values: &[f64], random: &mut Randomness) -> Vec<i64> {
    let mut values = values.to_vec();
    flooding.publish(&mut values, random).unwrap();
    let in_steps = |v: f64| {
        let steps = v / flooding.step();
        assert_eq!(steps, steps.round(), "{v} has bits that are noise");
        steps as i64
    };
    values.into_iter().map(in_steps).collect()
}

/// The probability that a normal number of deviation 1 is in `a..b`, by Simpson's rule.
fn normal(a: f64, b: f64) -> f64 {
    let parts = 1000;
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let at = |i: i32| density(a + (b - a) * f64::from(i) / f64::from(parts));
    let sum: f64 = (0..=parts).map(|i| at(i) * if i % parts == 0 { 1.0 } else { f64::from(2 + 2 * (i % 2)) }).sum();
    sum * (b - a) / f64::from(parts) / 3.0
}

#[test]
fn noise_is_gaussian_of_its_deviation_and_fresh() {
    let mut random = Randomness::from_seed(&[12; 32]);
    // Deviations of few and of very many units.
    for (bits, queries, values) in [(1, 1, 1), (30, 1, 10), (40, 1000, 10), (64, 1 << 20, 1 << 10)] {
        let flooding = flooding(bits, queries, 1e-6, values);
        let width = flooding.step() / flooding.deviation();
        assert!((0.5..=1.0).contains(&width), "{width}");
        let drawn = [(); 2].map(|()| steps(&flooding, &vec![0.0; VALUES], &mut random));
        assert_independent("two publications", &drawn);
        const EDGE: i64 = 3;
        let mut counts = [0u64; 2 * EDGE as usize + 1];
        drawn.iter().flatten().for_each(|k| counts[(k.clamp(&-EDGE, &EDGE) + EDGE) as usize] += 1);
        let edge = |k: i64| (k as f64 + 0.5) * width;
        let from = |k: i64| if k == -EDGE { -12.0 } else { edge(k - 1) };
        let to = |k: i64| if k == EDGE { 12.0 } else { edge(k) };
        let probability = |k: i64| normal(from(k), to(k));
        let probabilities: Vec<f64> = (-EDGE..=EDGE).map(probability).collect();
        assert_distribution("noise of published values", &counts, &probabilities);
    }
}

#[test]
fn noise_is_as_large_as_the_promise_asks() {
    for (bits, queries, error, values) in
        [(20, 1, 1e-6, 1), (30, 1, 1e-6, 10), (30, 400, 1e-6, 10), (40, 1, 3e-4, 1000), (64, 9, 1e-9, 10)]
    {
        let norm = error * ((values as f64).sqrt() + (2.0 * f64::from(bits) * 2f64.ln()).sqrt());
        let wanted = (12.0 * queries as f64).sqrt() * 2f64.powf(f64::from(bits) / 2.0) * norm;
        let found = flooding(bits, queries, error, values).deviation();
        assert!((1.0..1.08).contains(&(found / wanted)), "{bits} bits, {queries} decryptions: {found} for {wanted}");
    }
}

#[test]
fn the_bits_that_remain_are_right() {
    let mut random = Randomness::from_seed(&[13; 32]);
    let secret = Opened::generate(&mut random);
    let values: Vec<f64> = (0..512).map(|i| (i as f64).sin() * 8.0).collect();
    let ct = secret.key.encrypt(&CONTEXT, &values, 3, &mut random).unwrap();
    let decrypted = secret.key.decrypt(&CONTEXT, &ct).unwrap().re;
    let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64;
    let error = square(&decrypted, &values).sqrt();
    assert!(error > 0.0 && error < 1e-9);
    let flooding = flooding(30, 1, error, values.len());
    let mut published = decrypted.to_vec();
    flooding.publish(&mut published, &mut random).unwrap();
    let unit = 2f64.powi(-flooding.remaining_bits());
    assert_eq!(unit, flooding.step());
    assert!(flooding.remaining_bits() > 10, "{}", flooding.remaining_bits());
    // Noise, and what rounding to one bit more or less adds.
    let expected = flooding.deviation().powi(2) + unit.powi(2) / 12.0;
    let ratio = square(&published, &values) / expected;
    assert!((ratio - 1.0).abs() < DEVIATIONS * (2.0 / values.len() as f64).sqrt(), "{ratio}");
    let worst = published.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < DEVIATIONS * flooding.deviation() + unit);
}

#[test]
fn what_cannot_be_promised_is_refused() {
    for (bits, queries, values) in [(0, 1, 1), (65, 1, 1), (30, 0, 1), (30, 1, 0), (64, u64::MAX, 1)] {
        let refused = Publication { bits, queries }.flooding(1e-6, values);
        assert_eq!(refused, Err(PublicationError::Request { bits, queries, values }));
    }
    for error in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Publication { bits: 30, queries: 1 }.flooding(error, 1), Err(PublicationError::Error(_))));
    }
    let flooding = flooding(30, 1, 1e-6, 10);
    for value in [f64::NAN, f64::INFINITY, 1e300] {
        let refused = flooding.publish(&mut [0.0, value], &mut Randomness::from_seed(&[1; 32]));
        assert!(matches!(refused, Err(PublicationError::Value { at: 1, .. })), "{value}");
    }
}
