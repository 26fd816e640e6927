//! Programs to test with.

use fhec_integer::{Input, Layer, Output, Program, Quantiser, Sums, Table, Tables};
use fhec_ir::{F64, Port, Shape};

fn port(name: &str, len: usize) -> Port {
    Port { name: name.into(), shape: Shape(vec![1, len]), ..Port::default() }
}

fn sums(operands: Vec<usize>, rows: &[&[i32]]) -> Sums {
    let mut sums = Sums::over(operands);
    rows.iter().for_each(|row| sums.push(row.iter().copied().enumerate()));
    sums
}

/// The tables of a function to 0..=`top` for every value of sums over columns up to `column_top`.
fn tables(sums: &Sums, column_top: u32, top: u32, f: impl Fn(i64) -> i64) -> Tables {
    let mut tables = Tables::default();
    for row in 0..sums.rows() {
        let (low, high) = sums.bounds(row, |_| column_top).unwrap();
        let entries = (low..=high).map(|s| f(s).clamp(0, i64::from(top)) as u32).collect();
        tables.of.push(row as u32);
        tables.tables.push(Table { least: low, entries });
    }
    tables
}

/// Four inputs from 0 to 3, two layers, and a wide result that reads the inputs too: 4 bits hold it.
pub fn small() -> Program {
    let quantiser = Quantiser { zero: F64(0.0), step: F64(1.0 / 3.0), top: 3 };
    let first = sums(vec![0], &[&[1, -1, 2, 0], &[0, 1, 1, -2], &[-1, -1, 1, 1]]);
    let relu = Layer { node: "relu1".into(), tables: tables(&first, 3, 3, |s| s), sums: first };
    let second = sums(vec![1], &[&[2, -1, 1], &[1, 1, -2]]);
    let step = Layer { node: "relu2".into(), tables: tables(&second, 3, 2, |s| (s + 1) / 2), sums: second };
    let result = sums(vec![0, 2], &[&[1, 2, 3, -1, 4, -3], &[0, -2, 0, 5, 1, 1]]);
    let (scale, shift) = (vec![0.5, 0.25], vec![-1.0, 0.0]);
    let output = Output { port: port("y", 2), node: "fc".into(), sums: result, scale, shift };
    let inputs = vec![Input { port: port("x", 4), quantiser }];
    Program { inputs, layers: vec![relu, step], outputs: vec![output] }
}
