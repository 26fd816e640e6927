//! Functions that have a name, recognised by their values.

use fhec_functions::Expression;
use fhec_ir::nn::Activation;

/// Functions without parameters, finite everywhere.
const NAMED: &[Activation] = &[
    Activation::Relu,
    Activation::Abs,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
    Activation::Erf,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::HardSwish,
    Activation::Mish,
    Activation::Softsign,
    Activation::Exp,
    Activation::Sin,
    Activation::Cos,
];

/// How far two functions may differ, relatively, and count as one: exporters round constants to single precision.
const TOLERANCE: f64 = 1e-6;

/// Points to either side of zero at which functions are compared, and the ratio between neighbours: from 1/1000 to 300.
const POINTS: i32 = 256;
const RATIO: f64 = 1.0506;

/// The named function that an expression is.
pub(super) fn named(expression: &Expression) -> Option<Activation> {
    let points = || (0..POINTS).map(|k| 1e-3 * RATIO.powi(k)).flat_map(|x| [x, -x]).chain([0.0]);
    let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * (1.0 + a.abs().max(b.abs()));
    let same = |f: &&Activation| {
        let function = f.function(None, None);
        points().all(|x| close(function.eval(x), expression.eval(x)))
    };
    NAMED.iter().find(same).copied()
}
