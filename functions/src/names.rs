//! What functions are called, and functions by their names.

use std::fmt;

use crate::function::Function;

impl Function {
    /// The name of a function, and its parameters in the order in which they are declared; of a composed one, `composed`.
    pub fn parts(&self) -> (&'static str, Vec<f64>) {
        match *self {
            Function::Relu => ("relu", vec![]),
            Function::LeakyRelu { slope } => ("leaky_relu", vec![slope]),
            Function::Clip { lo, hi } => ("clip", vec![lo, hi]),
            Function::Abs => ("abs", vec![]),
            Function::Sigmoid => ("sigmoid", vec![]),
            Function::Tanh => ("tanh", vec![]),
            Function::Softplus => ("softplus", vec![]),
            Function::Erf => ("erf", vec![]),
            Function::Gelu => ("gelu", vec![]),
            Function::GeluTanh => ("gelu_tanh", vec![]),
            Function::Silu => ("silu", vec![]),
            Function::HardSwish => ("hard_swish", vec![]),
            Function::HardSigmoid { slope, shift } => ("hard_sigmoid", vec![slope, shift]),
            Function::Elu { alpha } => ("elu", vec![alpha]),
            Function::Selu { alpha, gamma } => ("selu", vec![alpha, gamma]),
            Function::Mish => ("mish", vec![]),
            Function::Exp => ("exp", vec![]),
            Function::Log => ("log", vec![]),
            Function::Sqrt => ("sqrt", vec![]),
            Function::Reciprocal => ("reciprocal", vec![]),
            Function::InvSqrt => ("inv_sqrt", vec![]),
            Function::Pow { exponent } => ("pow", vec![exponent]),
            Function::Softsign => ("softsign", vec![]),
            Function::ThresholdedRelu { threshold } => ("thresholded_relu", vec![threshold]),
            Function::Step => ("step", vec![]),
            Function::Sin => ("sin", vec![]),
            Function::Cos => ("cos", vec![]),
            Function::Composed(_) => ("composed", vec![]),
        }
    }

    /// The function of this name with these parameters; none for names or numbers of parameters that no function has.
    /// Composed functions have no name of their own: [`Expression::parse`](crate::Expression::parse) reads them.
    pub fn from_parts(name: &str, parameters: &[f64]) -> Option<Self> {
        Some(match (name, parameters) {
            ("relu", []) => Function::Relu,
            ("leaky_relu", &[slope]) => Function::LeakyRelu { slope },
            ("clip", &[lo, hi]) => Function::Clip { lo, hi },
            ("abs", []) => Function::Abs,
            ("sigmoid", []) => Function::Sigmoid,
            ("tanh", []) => Function::Tanh,
            ("softplus", []) => Function::Softplus,
            ("erf", []) => Function::Erf,
            ("gelu", []) => Function::Gelu,
            ("gelu_tanh", []) => Function::GeluTanh,
            ("silu", []) => Function::Silu,
            ("hard_swish", []) => Function::HardSwish,
            ("hard_sigmoid", &[slope, shift]) => Function::HardSigmoid { slope, shift },
            ("elu", &[alpha]) => Function::Elu { alpha },
            ("selu", &[alpha, gamma]) => Function::Selu { alpha, gamma },
            ("mish", []) => Function::Mish,
            ("exp", []) => Function::Exp,
            ("log", []) => Function::Log,
            ("sqrt", []) => Function::Sqrt,
            ("reciprocal", []) => Function::Reciprocal,
            ("inv_sqrt", []) => Function::InvSqrt,
            ("pow", &[exponent]) => Function::Pow { exponent },
            ("softsign", []) => Function::Softsign,
            ("thresholded_relu", &[threshold]) => Function::ThresholdedRelu { threshold },
            ("step", []) => Function::Step,
            ("sin", []) => Function::Sin,
            ("cos", []) => Function::Cos,
            _ => return None,
        })
    }
}

impl fmt::Display for Function {
    /// The name and, in parentheses, the parameters; a composed function as its expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Function::Composed(expression) = self {
            return expression.fmt(f);
        }
        let (name, parameters) = self.parts();
        f.write_str(name)?;
        if parameters.is_empty() {
            return Ok(());
        }
        let parameters: Vec<String> = parameters.iter().map(f64::to_string).collect();
        write!(f, "({})", parameters.join(", "))
    }
}
