//! Random programs: bounds are exact, what verifies is executed, and what is damaged does not verify.

use fhec_integer::{Input, Layer, Output, Program, Quantiser, Sums, Table, Tables};
use fhec_ir::{F64, Port, Shape, Tensor};
use proptest::prelude::*;

fn port(name: &str, len: usize) -> Port {
    Port { name: name.into(), shape: Shape(vec![1, len]), ..Port::default() }
}

fn sums(operands: Vec<usize>, columns: usize, rows: &[Vec<i32>]) -> Sums {
    let mut sums = Sums::over(operands);
    rows.iter().for_each(|row| sums.push((0..columns).zip(row.iter().copied())));
    sums
}

/// Inputs up to `top`, a layer whose tables cover its bounds, and an output over both.
fn program(top: u32, hidden: &[Vec<i32>], result: &[Vec<i32>]) -> Program {
    let quantiser = Quantiser { zero: F64(-1.0), step: F64(0.5), top };
    let input = Input { port: port("x", 3), quantiser };
    let sums_of = sums(vec![0], 3, hidden);
    let mut tables = Tables::default();
    for row in 0..hidden.len() {
        let (low, high) = sums_of.bounds(row, |_| top).unwrap();
        tables.of.push(row as u32);
        tables.tables.push(Table { least: low, entries: (low..=high).map(|s| s.rem_euclid(5) as u32).collect() });
    }
    let layer = Layer { node: "relu".into(), sums: sums_of, tables };
    let rows = result.len();
    let (scale, shift) = (vec![0.25; rows], vec![1.0; rows]);
    let sums = sums(vec![0, 1], 3 + hidden.len(), result);
    let output = Output { port: port("y", rows), node: "fc".into(), sums, scale, shift };
    Program { inputs: vec![input], layers: vec![layer], outputs: vec![output] }
}

fn rows(count: usize, columns: usize) -> impl Strategy<Value = Vec<Vec<i32>>> {
    prop::collection::vec(prop::collection::vec(-4..5i32, columns), count)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn programs_are_executed_within_their_bounds(
        top in 1..8u32, hidden in rows(4, 3), result in rows(2, 7), x in prop::collection::vec(-3.0f32..9.0, 3)
    ) {
        let program = program(top, &hidden, &result);
        program.verify().unwrap();
        let inputs = program.quantise(&[Tensor::new([1, 3], x.clone())]).unwrap();
        let found = program.evaluate(&inputs).unwrap();
        // By hand.
        let quantised = |&x: &f32| ((f64::from(x) + 1.0) / 0.5).round().clamp(0.0, f64::from(top)) as i64;
        let k: Vec<i64> = x.iter().map(quantised).collect();
        let dot = |row: &[i32], x: &[i64]| row.iter().zip(x).map(|(&w, x)| i64::from(w) * x).sum::<i64>();
        let h: Vec<i64> = hidden.iter().map(|row| dot(row, &k).rem_euclid(5)).collect();
        let all: Vec<i64> = k.iter().chain(&h).copied().collect();
        let expected: Vec<i64> = result.iter().map(|row| dot(row, &all)).collect();
        prop_assert_eq!(&found[0], &expected);
        let tops = program.column_tops(&program.outputs[0].sums);
        for (row, &sum) in found[0].iter().enumerate() {
            let (low, high) = program.outputs[0].sums.bounds(row, |c| tops[c]).unwrap();
            prop_assert!((low..=high).contains(&sum));
        }
        let results = program.results(&found);
        prop_assert_eq!(results[0].data()[0], 1.0 + 0.25 * expected[0] as f32);
    }

    #[test]
    fn bounds_are_reached(top in 1..8u32, weights in prop::collection::vec(-9..10i32, 5)) {
        let sums = sums(vec![0], 5, std::slice::from_ref(&weights));
        let (low, high) = sums.bounds(0, |_| top).unwrap();
        let reached = |sign: i32| weights.iter().filter(|&&w| w * sign > 0).map(|&w| i64::from(w) * i64::from(top)).sum::<i64>();
        prop_assert_eq!((low, high), (reached(-1), reached(1)));
    }
}

/// What the error says, and the damage.
type Damage = (&'static str, Box<dyn Fn(&mut Program)>);

#[test]
fn what_is_damaged_does_not_verify() {
    let whole = || program(3, &[vec![1, -1, 2], vec![0, 1, 0]], &[vec![1, 0, 0, 2, -3]]);
    whole().verify().unwrap();
    let damages: Vec<Damage> = vec![
        ("table has not all entries", Box::new(|p| p.layers[0].tables.tables[0].entries.truncate(1))),
        ("table has not all entries", Box::new(|p| p.layers[0].sums.weights[0] = 2)),
        ("which is not there", Box::new(|p| p.layers[0].tables.of[1] = 9)),
        ("reads tensor 1", Box::new(|p| p.layers[0].sums.operands[0] = 1)),
        ("out of order", Box::new(|p| p.layers[0].sums.columns[0] = 3)),
        ("do not divide", Box::new(|p| p.layers[0].sums.starts[1] = 9)),
        ("rows have a table", Box::new(|p| p.layers[0].tables.of.truncate(1))),
        ("no tensor", Box::new(|p| p.outputs[0].scale.clear())),
        ("not finite", Box::new(|p| p.outputs[0].shift[0] = f64::NAN)),
        ("impossible", Box::new(|p| p.inputs[0].quantiser.step = F64(0.0))),
        ("impossible", Box::new(|p| p.inputs[0].quantiser.top = 0)),
        ("shape", Box::new(|p| p.inputs[0].port.shape = Shape(vec![1, 0]))),
        ("no input or no output", Box::new(|p| p.outputs.clear())),
        (
            "its inputs have more than",
            Box::new(|p| {
                p.inputs[0].port.shape = Shape(vec![1, 1 << 22]);
                p.inputs.push(Input { port: port("more", 1), ..p.inputs[0].clone() });
            }),
        ),
        (
            "columns",
            Box::new(|p| {
                // A file of a few kilobytes could ask for gigabytes.
                p.inputs[0].port.shape = Shape(vec![1, 1 << 22]);
                let layer = Layer { node: "x".into(), sums: Sums::over(vec![0]), tables: Tables::default() };
                p.layers = vec![layer; 65];
            }),
        ),
        (
            "63 bits",
            Box::new(|p| {
                p.inputs[0].quantiser.top = 1 << 24;
                p.inputs[0].port.shape = Shape(vec![1, 600]);
                p.layers.clear();
                let sums = &mut p.outputs[0].sums;
                *sums = Sums::over(vec![0]);
                sums.push((0..600).map(|c| (c, i32::MAX)));
            }),
        ),
    ];
    for (what, damage) in damages {
        let mut damaged = whole();
        damage(&mut damaged);
        let error = damaged.verify().expect_err(what).to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}

#[test]
fn other_inputs_are_refused() {
    let program = program(3, &[vec![1, 1, 1]], &[vec![1, 1, 1, 1]]);
    assert!(program.run(&[]).is_err());
    assert!(program.run(&[Tensor::new([1, 2], vec![0.0; 2])]).is_err());
    let clipped = program.run(&[Tensor::new([1, 3], vec![f32::NAN, f32::INFINITY, -1e30])]).unwrap();
    assert!(clipped[0].data()[0].is_finite());
}
