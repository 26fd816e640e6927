//! Evaluation keys.

use crate::opened::{CONTEXT, Opened, Row, rows};
use crate::statistics::{DEVIATIONS, Uniform, assert_distinct, assert_errors, assert_independent, sigma};
use fhec_ckks::{KeyName, KeyRequest, SwitchingKey};
use fhec_client::{KeyGenerator, Randomness};
use fhec_container::Reader;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Keys of all kinds, one of them for two levels.
fn requests() -> Vec<KeyRequest> {
    let names = [KeyName::Relin, KeyName::Conj, KeyName::Rotation(1), KeyName::Rotation(5), KeyName::FromSparse];
    let mut all: Vec<KeyRequest> = names.map(|name| KeyRequest { name, level: 7 }).into();
    all.push(KeyRequest { name: KeyName::Rotation(1), level: 2 });
    all.push(KeyRequest { name: KeyName::ToSparse, level: 0 });
    all
}

struct Keys {
    secret: Opened,
    keys: Vec<(SwitchingKey, Vec<Row>)>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut random = Randomness::from_seed(&[3; 32]);
    let secret = Opened::generate(&mut random);
    let mut generator = KeyGenerator::new(&CONTEXT, &secret.key, &mut random).unwrap();
    let keys: Vec<SwitchingKey> = requests().into_iter().map(|r| generator.key(r).unwrap()).collect();
    let from_sparse = keys.iter().find(|k| k.name() == KeyName::FromSparse).unwrap();
    let ephemeral = rows(from_sparse, &secret.coefficients).swap_remove(0).carried;
    let open = |key: SwitchingKey| {
        let under = if key.name() == KeyName::ToSparse { &ephemeral } else { &secret.coefficients };
        let rows = rows(&key, under);
        (key, rows)
    };
    let keys = keys.into_iter().map(open).collect();
    Keys { secret, keys }
});

fn all_rows() -> impl Iterator<Item = &'static Row> {
    KEYS.keys.iter().flat_map(|(_, rows)| rows)
}

#[test]
fn every_row_has_an_error_of_sigma() {
    for (key, rows) in &KEYS.keys {
        for (j, row) in rows.iter().enumerate() {
            let n = row.error.len() as f64;
            let deviation = (row.error.iter().map(|e| (e * e) as f64).sum::<f64>() / n).sqrt();
            // The deviation of n samples has a relative deviation of 1 / sqrt(2 n).
            let off = (deviation / sigma() - 1.0).abs();
            assert!(off < DEVIATIONS / (2.0 * n).sqrt(), "row {j} of {}: an error of {deviation:.3}", key.name());
        }
    }
}

#[test]
fn errors_of_rows_are_binomial_and_independent() {
    assert_errors("keys", all_rows().flat_map(|row| &row.error));
    let errors: Vec<Vec<i64>> = all_rows().map(|row| row.error.clone()).collect();
    assert!(errors.len() > 10);
    assert_independent("errors of rows", &errors);
}

#[test]
fn keys_carry_what_they_are_for() {
    let to_sparse = KEYS.keys.iter().find(|(key, _)| key.name() == KeyName::ToSparse).unwrap();
    assert_eq!(to_sparse.0.level(), 0, "the ephemeral secret meets the smallest modulus alone");
    assert_eq!(to_sparse.1[0].carried, KEYS.secret.coefficients);
    for (key, rows) in &KEYS.keys {
        assert!(rows.iter().all(|row| row.carried == rows[0].carried), "rows of {} carry one secret", key.name());
    }
}

#[test]
fn both_halves_are_uniform() {
    let (mut uniform, mut stored) = (Uniform::new(), Uniform::new());
    for (index, b, a) in all_rows().flat_map(|row| &row.limbs) {
        let q = CONTEXT.ring().modulus(*index).value();
        uniform.add(q, a);
        stored.add(q, b);
    }
    uniform.assert("uniform halves of keys");
    stored.assert("stored halves of keys");
}

#[test]
fn no_uniform_half_appears_twice() {
    let start = |(_, _, a): &(usize, Vec<u64>, Vec<u64>)| a[..4].to_vec();
    assert_distinct("limbs of uniform halves", all_rows().flat_map(|row| row.limbs.iter().map(start)).collect());
    assert_distinct("seeds of keys", KEYS.keys.iter().map(|(key, _)| *key.seed()).collect());
}

/// The seeds in a key file.
fn seeds_of_file(secret: &Opened, random: &mut Randomness) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    KeyGenerator::new(&CONTEXT, &secret.key, random).unwrap().write(&path, &requests(), |_| ()).unwrap();
    let manifest: serde_json::Value = Reader::open(&path).unwrap().manifest().unwrap();
    let listed = manifest["keys"].as_array().unwrap();
    listed.iter().map(|key| key["seed"].as_str().unwrap().to_string()).collect()
}

#[test]
fn every_key_of_every_file_has_a_seed_of_its_own() {
    let mut random = Randomness::from_seed(&[4; 32]);
    let secret = Opened::generate(&mut random);
    // The same keys of the same secret, made twice.
    let mut seeds = seeds_of_file(&secret, &mut random);
    seeds.extend(seeds_of_file(&secret, &mut random));
    assert_eq!(seeds.len(), 2 * requests().len());
    let bytes: BTreeSet<u8> = seeds[0].bytes().collect();
    assert!(bytes.len() > 8, "a seed of random bytes: {}", seeds[0]);
    assert_distinct("seeds of two key files", seeds);
}
