//! Element by element, operands broadcast.

use fhec_ir::Tensor;

use super::super::context::Context;
use super::super::node::NodeView;
use crate::error::{Refusal, Result};
use crate::known::{self, IntType, Ints, Known, too_large};

/// A function of integers; `None` from it: overflow, or a division by zero.
type OverInts = fn(&[i64]) -> Option<i64>;

/// One function over numbers and over integers, of operands in order; `None` where the operator does not take the type.
struct Elementwise {
    name: &'static str,
    floats: Option<fn(&[f64]) -> f64>,
    ints: Option<OverInts>,
    /// Whether the results are truth values.
    truth: bool,
}

const fn both(name: &'static str, floats: fn(&[f64]) -> f64, ints: OverInts) -> Elementwise {
    Elementwise { name, floats: Some(floats), ints: Some(ints), truth: false }
}
const fn floats(name: &'static str, floats: fn(&[f64]) -> f64) -> Elementwise {
    Elementwise { name, floats: Some(floats), ints: None, truth: false }
}
const fn ints(name: &'static str, ints: OverInts) -> Elementwise {
    Elementwise { name, floats: None, ints: Some(ints), truth: false }
}
const fn test(name: &'static str, floats: fn(&[f64]) -> f64, ints: OverInts) -> Elementwise {
    Elementwise { name, floats: Some(floats), ints: Some(ints), truth: true }
}

fn one(truth: bool) -> f64 {
    f64::from(u8::from(truth))
}
fn int(truth: bool) -> Option<i64> {
    Some(i64::from(truth))
}
/// The larger number; NaN as soon as one is.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// By name; of operators whose attributes decide between functions, name and attribute ([`key`]).
const TABLE: &[Elementwise] = &[
    both("Abs", |x| x[0].abs(), |x| x[0].checked_abs()),
    both("Neg", |x| -x[0], |x| x[0].checked_neg()),
    both("Sign", |x| if x[0] == 0.0 || x[0].is_nan() { x[0] } else { x[0].signum() }, |x| Some(x[0].signum())),
    floats("Floor", |x| x[0].floor()),
    floats("Ceil", |x| x[0].ceil()),
    floats("Round", |x| x[0].round_ties_even()),
    floats("Sqrt", |x| x[0].sqrt()),
    floats("Exp", |x| x[0].exp()),
    floats("Log", |x| x[0].ln()),
    floats("Reciprocal", |x| 1.0 / x[0]),
    floats("Sin", |x| x[0].sin()),
    floats("Cos", |x| x[0].cos()),
    floats("Tan", |x| x[0].tan()),
    floats("Asin", |x| x[0].asin()),
    floats("Acos", |x| x[0].acos()),
    floats("Atan", |x| x[0].atan()),
    floats("Sinh", |x| x[0].sinh()),
    floats("Cosh", |x| x[0].cosh()),
    floats("Asinh", |x| x[0].asinh()),
    floats("Acosh", |x| x[0].acosh()),
    floats("Atanh", |x| x[0].atanh()),
    both("Add", |x| x[0] + x[1], |x| x[0].checked_add(x[1])),
    both("Sub", |x| x[0] - x[1], |x| x[0].checked_sub(x[1])),
    both("Mul", |x| x[0] * x[1], |x| x[0].checked_mul(x[1])),
    both("Div", |x| x[0] / x[1], |x| x[0].checked_div(x[1])),
    // The remainder has the sign of the divisor, or with fmod that of the dividend.
    ints("Mod", |x| {
        x[0].checked_rem(x[1]).and_then(|r| if r != 0 && (r < 0) != (x[1] < 0) { r.checked_add(x[1]) } else { Some(r) })
    }),
    both("Mod/fmod", |x| x[0] % x[1], |x| x[0].checked_rem(x[1])),
    both(
        "Pow",
        |x| x[0].powf(x[1]),
        |x| match u32::try_from(x[1]) {
            Ok(exponent) => x[0].checked_pow(exponent),
            Err(_) => Some((x[0] as f64).powf(x[1] as f64) as i64),
        },
    ),
    both("Max", |x| x.iter().copied().reduce(larger).unwrap_or(f64::NAN), |x| x.iter().copied().max()),
    both("Min", |x| x.iter().copied().reduce(smaller).unwrap_or(f64::NAN), |x| x.iter().copied().min()),
    floats("Sum", |x| x.iter().sum()),
    floats("Mean", |x| x.iter().sum::<f64>() / x.len() as f64),
    test("Equal", |x| one(x[0] == x[1]), |x| int(x[0] == x[1])),
    test("Greater", |x| one(x[0] > x[1]), |x| int(x[0] > x[1])),
    test("GreaterOrEqual", |x| one(x[0] >= x[1]), |x| int(x[0] >= x[1])),
    test("Less", |x| one(x[0] < x[1]), |x| int(x[0] < x[1])),
    test("LessOrEqual", |x| one(x[0] <= x[1]), |x| int(x[0] <= x[1])),
    test("IsNaN", |x| one(x[0].is_nan()), |_| Some(0)),
    test("IsInf", |x| one(x[0].is_infinite()), |_| Some(0)),
    ints("Not", |x| int(x[0] == 0)),
    ints("And", |x| int(x[0] != 0 && x[1] != 0)),
    ints("Or", |x| int(x[0] != 0 || x[1] != 0)),
    ints("Xor", |x| int((x[0] != 0) != (x[1] != 0))),
    ints("BitwiseAnd", |x| Some(x[0] & x[1])),
    ints("BitwiseOr", |x| Some(x[0] | x[1])),
    ints("BitwiseXor", |x| Some(x[0] ^ x[1])),
    ints("BitwiseNot", |x| Some(!x[0])),
    ints("BitShift/LEFT", |x| u32::try_from(x[1]).ok().and_then(|n| x[0].checked_shl(n)).or(Some(0))),
    ints("BitShift/RIGHT", |x| u32::try_from(x[1]).ok().and_then(|n| x[0].checked_shr(n)).or(Some(0))),
    both("Where", |x| if x[0] != 0.0 { x[1] } else { x[2] }, |x| Some(if x[0] != 0 { x[1] } else { x[2] })),
];

/// How many operands an operator takes, where that is fixed.
fn arity(name: &str) -> Option<usize> {
    match name {
        "Max" | "Min" | "Sum" | "Mean" => None,
        "Where" => Some(3),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Mod/fmod" | "Pow" | "Equal" | "Greater" | "GreaterOrEqual"
        | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor"
        | "BitShift/LEFT" | "BitShift/RIGHT" => Some(2),
        _ => Some(1),
    }
}

/// The name of the node's function in the table.
fn key(node: &NodeView<'_>) -> Result<String> {
    let name = &node.proto.op_type;
    Ok(match name.as_str() {
        "Mod" if node.flag("fmod", false)? => "Mod/fmod".into(),
        "BitShift" => format!("BitShift/{}", node.text("direction")?.unwrap_or("LEFT")),
        _ => name.clone(),
    })
}

/// The names of the operators, each once.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let operator = |e: &'static Elementwise| e.name.split('/').next().unwrap_or(e.name);
    let mut last = "";
    TABLE.iter().map(operator).filter(move |name| std::mem::replace(&mut last, name) != *name)
}

pub(super) fn named(name: &str) -> Option<&'static str> {
    TABLE.iter().map(|e| e.name).find(|own| own.split('/').next() == Some(name))
}

/// Whether the node is in the table. Before opset 7 operands are aligned by attributes, where they are imported.
pub(super) fn has(node: &NodeView<'_>) -> bool {
    node.opset >= 7 && named(&node.proto.op_type).is_some()
}

pub(super) fn evaluate(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let key = key(node)?;
    let entry = TABLE.iter().find(|e| e.name == key);
    let entry = entry.ok_or_else(|| Refusal::invalid("its attributes name no function"))?;
    let operands: Option<Vec<&Known>> = node.known().and_then(|known| known.into_iter().collect());
    let operands = operands.filter(|o| arity(&key).is_none_or(|n| n == o.len()));
    let operands = operands.ok_or_else(|| Refusal::invalid(format!("{} operands", node.inputs.len())))?;
    let mut out = operands[0].shape().clone();
    for operand in &operands[1..] {
        let (a, b) = (&out, operand.shape());
        out = a.broadcast(b).ok_or_else(|| Refusal::invalid(format!("operands {a} and {b} do not broadcast")))?;
    }
    cx.take_elements(&out)?;
    let wrong = || Refusal::invalid("its operands are of a type that it does not take");
    let ints: Option<Vec<&Ints>> = operands
        .iter()
        .map(|o| match o {
            Known::Ints(t) => Some(t),
            Known::Floats(_) => None,
        })
        .collect();
    // The type of a power is that of its base, of a choice that of what is chosen.
    let ty = |list: &[&Ints]| if entry.truth { IntType::BOOL } else { list[if key == "Where" { 1 } else { 0 }].ty };
    if let Some(list) = ints {
        let f = entry.ints.ok_or_else(wrong)?;
        let data: Vec<_> = list.iter().map(|t| (&t.shape, &t.data[..])).collect();
        let found = known::zip(&data, &out, f);
        let found = found.ok_or_else(|| Refusal::invalid("integer overflow or division by zero in constants"))?;
        let ty = ty(&list);
        let data: Vec<i64> = found.into_iter().map(|i| ty.wrap(i)).collect();
        return Ok(vec![Known::Ints(Ints { shape: out, data: data.into(), ty })]);
    }
    let f = entry.floats.ok_or_else(wrong)?;
    let numbers: Vec<Vec<f64>> = operands.iter().map(|o| super::reduce::numbers(o)).collect();
    let data: Vec<_> = operands.iter().zip(&numbers).map(|(o, data)| (o.shape(), &data[..])).collect();
    let found = known::zip(&data, &out, |x| Some(f(x))).ok_or_else(too_large)?;
    let integral = match operands[0] {
        Known::Ints(base) if key == "Pow" => Some(base.ty),
        _ if entry.truth => Some(IntType::BOOL),
        _ => None,
    };
    Ok(vec![match integral {
        Some(ty) => {
            let data: Vec<i64> = found.into_iter().map(|x| ty.wrap(x as i64)).collect();
            Known::Ints(Ints { shape: out, data: data.into(), ty })
        }
        None => Known::Floats(Tensor::new(out, found.into_iter().map(|x| x as f32).collect::<Vec<_>>())),
    }])
}
