//! Exports element-wise functions of one variable.

use fhec_ir::nn::Activation;

use super::builder::Site;
use crate::proto::{Attribute, data_type};

pub(super) fn write(site: &mut Site<'_, '_>, function: Activation, alpha: Option<f64>, beta: Option<f64>) {
    let x = site.x();
    let operator = match function {
        Activation::Relu => "Relu",
        Activation::Sigmoid => "Sigmoid",
        Activation::Tanh => "Tanh",
        Activation::Softplus => "Softplus",
        Activation::Erf => "Erf",
        Activation::HardSwish => "HardSwish",
        Activation::Mish => "Mish",
        Activation::Exp => "Exp",
        Activation::Log => "Log",
        Activation::Sqrt => "Sqrt",
        Activation::Reciprocal => "Reciprocal",
        Activation::Abs => "Abs",
        Activation::Softsign => "Softsign",
        Activation::Sin => "Sin",
        Activation::Cos => "Cos",
        Activation::LeakyRelu => return with(site, "LeakyRelu", &x, &[("alpha", alpha)]),
        Activation::Elu => return with(site, "Elu", &x, &[("alpha", alpha)]),
        Activation::ThresholdedRelu => return with(site, "ThresholdedRelu", &x, &[("alpha", alpha)]),
        Activation::HardSigmoid => return with(site, "HardSigmoid", &x, &[("alpha", alpha), ("beta", beta)]),
        Activation::Selu => return with(site, "Selu", &x, &[("alpha", alpha), ("gamma", beta)]),
        Activation::Gelu => return gelu(site, &x, "none"),
        Activation::GeluTanh => return gelu(site, &x, "tanh"),
        Activation::Clip => return clip(site, &x, alpha, beta),
        Activation::Pow => {
            let exponent = site.scalar("exponent", alpha.unwrap_or(function.default_alpha()) as f32);
            return site.last("Pow", &[&x, &exponent], vec![]);
        }
        Activation::Silu => {
            // Swish is an operator of later versions than other programs read.
            let gate = site.step("Sigmoid", &[&x], vec![]);
            return site.last("Mul", &[&x, &gate], vec![]);
        }
        Activation::Step => {
            let zero = site.scalar("zero", 0.0);
            let truth = site.step("Greater", &[&x, &zero], vec![]);
            return site.last("Cast", &[&truth], vec![Attribute::int("to", i64::from(data_type::FLOAT))]);
        }
    };
    site.last(operator, &[&x], vec![]);
}

/// An operator with parameters; those that are not stated have the same defaults there.
fn with(site: &mut Site<'_, '_>, operator: &str, x: &str, parameters: &[(&str, Option<f64>)]) {
    let stated = parameters.iter().filter_map(|(name, value)| Some(Attribute::float(name, (*value)? as f32)));
    site.last(operator, &[x], stated.collect());
}

fn gelu(site: &mut Site<'_, '_>, x: &str, form: &str) {
    site.last("Gelu", &[x], vec![Attribute::text("approximate", form)]);
}

fn clip(site: &mut Site<'_, '_>, x: &str, lo: Option<f64>, hi: Option<f64>) {
    let mut bound = |role, bound: Option<f64>| bound.map_or(String::new(), |b| site.scalar(role, b as f32));
    let (lo, hi) = (bound("min", lo), bound("max", hi));
    site.last("Clip", &[x, &lo, &hi], vec![]);
}
