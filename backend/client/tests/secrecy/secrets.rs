//! Secrets and the streams they come from.

use crate::opened::{CONTEXT, Opened, rows};
use crate::statistics::{DEVIATIONS, assert_distinct, assert_distribution, assert_independent, assert_ternary};
use fhec_ckks::{KeyName, KeyRequest};
use fhec_client::{KeyGenerator, Randomness, SecretKey};

/// Secrets of one stream.
fn secrets(count: usize) -> Vec<Opened> {
    let mut random = Randomness::from_seed(&[1; 32]);
    (0..count).map(|_| Opened::generate(&mut random)).collect()
}

/// The ephemeral secret that belongs to a secret.
fn ephemeral(secret: &Opened, random: &mut Randomness) -> Vec<i64> {
    let mut generator = KeyGenerator::new(&CONTEXT, &secret.key, random).unwrap();
    let key = generator.key(KeyRequest { name: KeyName::FromSparse, level: 1 }).unwrap();
    rows(&key, &secret.coefficients).swap_remove(0).carried
}

#[test]
fn secrets_are_ternary_and_independent() {
    let secrets: Vec<Vec<i64>> = secrets(8).into_iter().map(|s| s.coefficients).collect();
    for secret in &secrets {
        assert_ternary("a secret", secret);
    }
    assert_ternary("secrets", secrets.iter().flatten());
    assert_independent("secrets", &secrets);
}

#[test]
fn ephemeral_secrets_have_their_exact_weight_in_random_places() {
    let weight = CONTEXT.params().spec().bootstrap.as_ref().unwrap().circuit.sparse_weight as usize;
    assert!(weight >= 32);
    let mut random = Randomness::from_seed(&[2; 32]);
    let (mut places, mut positive, mut all) = ([0u64; 16], 0, Vec::new());
    for secret in secrets(16) {
        let ephemeral = ephemeral(&secret, &mut random);
        let sector = ephemeral.len() / places.len();
        let nonzero: Vec<usize> = (0..ephemeral.len()).filter(|&i| ephemeral[i] != 0).collect();
        assert_eq!(nonzero.len(), weight);
        assert!(ephemeral.iter().all(|v| v.abs() <= 1));
        nonzero.iter().for_each(|i| places[i / sector] += 1);
        positive += ephemeral.iter().filter(|&&v| v == 1).count();
        all.push(ephemeral);
    }
    let total = weight * all.len();
    assert_distribution("places", &places, &[1.0 / 16.0; 16]);
    assert_distribution("signs", &[positive as u64, (total - positive) as u64], &[0.5; 2]);
    // Two of weight 32 among 1,024 places meet in one; DEVIATIONS of a count of mean one.
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            let common = a.iter().zip(b).filter(|(a, b)| **a != 0 && **b != 0).count();
            assert!((common as f64) < 1.0 + DEVIATIONS + 1.0, "two ephemeral secrets share {common} places");
        }
    }
}

#[test]
fn the_system_gives_every_client_another_stream() {
    let id = |_| SecretKey::generate(&CONTEXT, &mut Randomness::system().unwrap()).unwrap().id();
    assert_distinct("secrets of the system", (0..4).map(id).collect());
}
