//! What the results of networks are compared by: scores of classes by which of them is the largest, other values by how far they are
//! apart.
//!
//! A file does not say which they are. A row of numbers is taken for scores unless the answer they give says nothing: of a regression
//! whose first value is the largest for every input, the "class" stays the same whatever becomes of the values.

use std::collections::BTreeMap;
use std::fmt;

use fhec_ir::nn::{Activation, NnOp};
use fhec_ir::{Nn, Node};
use serde::Serialize;

/// What an output of a network is taken for where networks are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultKind {
    /// Scores of classes: the largest counts.
    Classes,
    /// Scores of labels, of which several may hold, or of one class against another: the side of zero counts, or that of a half where
    /// the network ends in a sigmoid.
    Labels,
    /// Values: their error beside how much they vary over inputs counts.
    Values,
}

impl fmt::Display for ResultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classes => "classes",
            Self::Labels => "labels",
            Self::Values => "values",
        })
    }
}

/// Where a larger share of the inputs has the same answer, a network that always gives it agrees nearly as often as one is asked to.
const MOST_OF_ONE_ANSWER: f64 = 0.9;

impl ResultKind {
    /// What rows are taken for, which `node` makes of several inputs. Several numbers are scores of classes; behind a sigmoid each of
    /// them is the probability of a label; what other functions make, and single numbers, are values. So are rows whose answer is
    /// nearly always the same.
    pub fn of_rows<'a>(node: &Node<Nn>, rows: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut kind = None;
        let mut inputs: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        for row in rows {
            let of_row = match (is_sigmoid(node), node.op.is_function(), row.len()) {
                (true, ..) => Self::Labels,
                (_, true, _) | (_, _, 1) => return Self::Values,
                _ => Self::Classes,
            };
            kind = Some(of_row);
            let answer = match of_row {
                Self::Labels => (0..row.len()).filter(|&at| row[at] > middle(node)).collect(),
                _ => largest(row).into_iter().collect(),
            };
            *inputs.entry(answer).or_default() += 1;
        }
        let (all, most) = (inputs.values().sum::<usize>(), inputs.values().max().copied().unwrap_or(0));
        kind.filter(|_| most as f64 <= MOST_OF_ONE_ANSWER * all as f64).unwrap_or(Self::Values)
    }
}

fn is_sigmoid(node: &Node<Nn>) -> bool {
    matches!(node.op, NnOp::Activation { function: Activation::Sigmoid | Activation::HardSigmoid, .. })
}

/// What scores of labels lie about that `node` makes: the probability of a half, or zero.
pub fn middle(node: &Node<Nn>) -> f32 {
    if is_sigmoid(node) { 0.5 } else { 0.0 }
}

/// Values that vary less than this share of what the one beside them does that varies most are taken to vary so much: errors of one that
/// hardly varied on calibration data say little.
const LEAST_SPREAD: f64 = 0.01;

/// How much each value of results varies over inputs, as a standard deviation; where none does, how large they are. What a bias adds to a
/// value, and the unit that it is in, do not matter beside it. Values that are no row, such as the pixels of an image, have that of all.
pub fn spreads(results: &[&[f32]], is_row: bool) -> Vec<f64> {
    let count = results.len().max(1) as f64;
    let values = results.first().map_or(0, |r| r.len());
    let mean = |at: usize, of: &dyn Fn(f64) -> f64| results.iter().map(|r| of(f64::from(r[at]))).sum::<f64>() / count;
    let variance = |at: usize| {
        let middle = mean(at, &|x| x);
        mean(at, &|x| (x - middle).powi(2))
    };
    let mut squares: Vec<f64> = (0..values).map(variance).collect();
    if squares.iter().all(|s| *s <= 0.0) {
        squares = (0..values).map(|at| mean(at, &|x| x * x)).collect();
    }
    let largest = squares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    if is_row {
        return squares.iter().map(|s| s.max(largest * LEAST_SPREAD.powi(2)).sqrt()).collect();
    }
    let all = squares.iter().sum::<f64>() / values.max(1) as f64;
    vec![all.max(f64::MIN_POSITIVE).sqrt(); values]
}

/// The place of the largest of several numbers; none where one is not a number.
pub fn largest(row: &[f32]) -> Option<usize> {
    if row.iter().any(|x| x.is_nan()) {
        return None;
    }
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

#[cfg(test)]
mod tests {
    use fhec_ir::nn::TensorTy;
    use fhec_ir::{Loc, Module, Shape};

    use super::*;

    fn taken_for(function: Option<Activation>, rows: &[[f32; 2]]) -> ResultKind {
        let mut module = Module::<Nn>::new("main");
        let x = module.func.add_param(TensorTy(Shape::from([1, 2])), Loc::onnx("x"));
        let op = match function {
            Some(function) => NnOp::Activation { function, alpha: None, beta: None },
            None => NnOp::Neg {},
        };
        let y = module.push(op, [x], Loc::onnx("y")).unwrap();
        ResultKind::of_rows(module.func.node(y), rows.iter().map(|row| &row[..]))
    }

    #[test]
    fn values_of_a_row_vary_by_themselves_and_pixels_together() {
        let results = [[301.0, 0.1, 7.0], [299.0, -0.1, 7.0]];
        let results: Vec<&[f32]> = results.iter().map(|r| &r[..]).collect();
        let near = |found: &[f64], wanted: [f64; 3]| found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-6);
        assert!(near(&spreads(&results, true), [1.0, 0.1, 0.01]), "{:?}", spreads(&results, true));
        assert!(near(&spreads(&results, false), [(1.01f64 / 3.0).sqrt(); 3]), "{:?}", spreads(&results, false));
        assert!(near(&spreads(&results[..1], true), [301.0, 3.01, 7.0]), "{:?}", spreads(&results[..1], true));
    }

    #[test]
    fn answers_that_are_always_the_same_say_nothing() {
        let mixed = [[0.0, 1.0], [2.0, 1.0], [3.0, 0.0]];
        assert_eq!(taken_for(None, &mixed), ResultKind::Classes);
        assert_eq!(taken_for(Some(Activation::Sigmoid), &mixed), ResultKind::Labels);
        assert_eq!(taken_for(Some(Activation::Tanh), &mixed), ResultKind::Values);
        assert_eq!(taken_for(None, &[[5.0, 1.0]; 20]), ResultKind::Values);
        assert_eq!(taken_for(Some(Activation::Sigmoid), &[[0.9, 0.1]; 20]), ResultKind::Values);
        // One of twenty is little, three are not.
        let mut alike = vec![[5.0, 1.0]; 19];
        alike.push([0.0, 1.0]);
        assert_eq!(taken_for(None, &alike), ResultKind::Values);
        alike.extend([[0.0, 1.0]; 2]);
        assert_eq!(taken_for(None, &alike), ResultKind::Classes);
    }
}
