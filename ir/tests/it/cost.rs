//! Latency tables, predicted times, op counts.

use fhec_ir::cost::{CostError, KeyUse, LatencyTable, OpCounts, Timed, predict, predict_with_keys};
use fhec_ir::text::{Blobs, parse_module};
use fhec_ir::{Ckks, Module};

fn program() -> Module<Ckks> {
    let text = r#"
        params {log_n = 13, first_bits = 50, scale_bits = 40, levels = 3, special_bits = 50, special = 1}
        const @d : tensor<4x8> = full(0.5)
        func @f(%x: ct<3>) -> ct<5> {
          %y = ckks.linear %x {rotations = [0, 1, 4, 5], giants = [0, 0, 4, 4], diagonals = @d, at = 2} : ct<2, sd=2>
          %z = ckks.rescale %y : ct<1>
          %s = ckks.mul %z, %z : ct<1, sd=2, parts=3>
          %t = ckks.relinearize %s : ct<1, sd=2>
          %u = ckks.rescale %t : ct<0>
          %c = ckks.conjugate %u : ct<0>
          %v = ckks.rotate %c {by = 3} : ct<0>
          %w = ckks.bootstrap %v {to = 5} : ct<5>
          return %w
        }"#;
    parse_module("case.fhir", text, &Blobs::default()).unwrap_or_else(|e| panic!("{}", e.listing()))
}

const TABLE: &str = r#"{
    "name": "a machine", "log_n": 13,
    "micros": {
        "hoist": [1, 2, 3], "baby_step": [10, 20, 30], "giant_step": [100, 200, 300], "diagonal": [0.5],
        "rescale": [1000, 2000], "mul": [0, 7], "relinearize": [0, 11], "rotate": [13]
    },
    "bootstrap": {"4": [1e6], "8": [1e6, 2e6]}
}"#;

#[test]
fn times_add_up() {
    let table = LatencyTable::from_json(TABLE).expect("the table is right");
    let p = predict(&program(), &table).expect("every op has a time");
    // Baby steps 0 and 1, giant steps 0 and 4: one of each is a rotation.
    let linear = 3.0 + 30.0 + 300.0 + 4.0 * 0.5;
    // The first rescale is at level 2, beyond the table: on the line through 1000 and 2000.
    let rest = 3000.0 + 7.0 + 11.0 + 2000.0 + 2.0 * 13.0;
    // Level 5 lies on the line through 1e6 at 0 and 2e6 at 1.
    assert_eq!(p.bootstraps, (1, 6e6));
    assert_eq!(p.micros, linear + rest + 6e6);
    assert_eq!(p.by_op[&Timed::Diagonal], (4, 2.0));
}

#[test]
fn keys_of_higher_levels_have_their_own_times() {
    let mut table = LatencyTable::from_json(TABLE).expect("the table is right");
    table.with_key.insert(Timed::BabyStep, vec![Vec::new(), Vec::new(), Vec::new(), vec![0.0, 0.0, 31.0]]);
    table.with_key.insert(Timed::GiantStep, vec![vec![1.0, 2.0, 3.0]]);
    table.with_key.insert(Timed::Rotate, vec![Vec::new(), Vec::new(), vec![14.0]]);
    let plain = predict(&program(), &table).expect("every op has a time").micros;
    let keys = |key, _| match key {
        // The baby step at level 2; the rotation at level 0.
        KeyUse::Rotation(1) => Some(3),
        KeyUse::Rotation(3) => Some(2),
        // Below the level of use nothing is faster.
        KeyUse::Rotation(4) => Some(0),
        _ => None,
    };
    let keyed = predict_with_keys(&program(), &table, keys).expect("every op has a time").micros;
    assert_eq!(keyed - plain, 1.0 + 1.0);
}

#[test]
fn ops_of_a_program_are_counted_by_kind() {
    let c = OpCounts::of(&program(), 8);
    assert_eq!((c.rotations, c.key_switches, c.products, c.plain_products, c.bootstraps), (3, 5, 1, 4, 1));
    assert_eq!((c.ops["rescale"], c.rescales), (2, 2));
    assert_eq!((c.additions, c.scalar_products), (3, 0), "four products of a transform are summed");
    assert_eq!(c.total(), 5 + 1 + 4 + 3 + 2 + 1);
    assert!(!c.ops.contains_key("input"));
}

#[test]
fn json_round_trips_and_is_checked() {
    let table = LatencyTable::from_json(TABLE).expect("the table is right");
    assert_eq!(LatencyTable::from_json(&table.to_json()), Ok(table.clone()));
    assert!(matches!(LatencyTable::from_json("{}"), Err(CostError::Json(_))));
    assert!(matches!(LatencyTable::from_json(&TABLE.replace("[0, 7]", "[-1]")), Err(CostError::Json(_))));
    let other = LatencyTable { log_n: 16, ..table.clone() };
    let error = predict(&program(), &other).expect_err("another ring");
    assert_eq!(error.to_string(), "the table `a machine` was measured at N = 2^16, the program runs at N = 2^13");
    let mut poor = table;
    poor.micros.remove(&Timed::Mul);
    let error = predict(&program(), &poor).expect_err("no time for products");
    assert_eq!(error.to_string(), "the table `a machine` has no time for Mul");
}
