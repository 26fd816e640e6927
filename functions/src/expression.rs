//! Functions of one variable that are made of others: x/(1 + abs(x)).
//!
//! An expression is a program for a stack of numbers, so short and so shallow that running it cannot go wrong: whoever makes
//! one, from a network or from text, is told where it is none.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::domain::Domain;
use crate::function::Function;
use crate::text;

/// One step of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Puts the argument on the stack.
    Argument,
    /// Puts a number on the stack.
    Constant(f64),
    /// Applies a function to the topmost number.
    Apply(Function),
    /// Negates the topmost number.
    Neg,
    /// Replaces the two topmost numbers by their sum.
    Add,
    /// Replaces them by their difference, the topmost subtracted.
    Sub,
    /// Replaces them by their product.
    Mul,
    /// Replaces them by their quotient, the topmost below.
    Div,
}

/// Why steps, or a text, are no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError(pub(crate) String);

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExpressionError {}

/// A function of one variable made of others. Two are equal where their text is: it holds every step.
#[derive(Clone, Debug)]
pub struct Expression {
    steps: Arc<[Step]>,
    text: Arc<str>,
}

/// Numbers, or what stands for them, that an expression can be run on.
trait Arithmetic: Clone {
    fn constant(c: f64) -> Self;
    fn apply(self, function: &Function) -> Self;
    fn neg(self) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
}

impl Expression {
    /// Most steps of an expression.
    pub const MOST_STEPS: usize = 128;
    /// Most numbers on the stack at once.
    pub const MOST_DEEP: usize = 16;

    /// The expression of these steps.
    ///
    /// # Errors
    /// Steps that are too many, pile up too high or do not end in one number; numbers that are not finite; and composed
    /// functions among those applied.
    pub fn new(steps: Vec<Step>) -> Result<Self, ExpressionError> {
        let wrong = |reason: String| Err(ExpressionError(reason));
        if steps.len() > Self::MOST_STEPS {
            return wrong(format!("{} steps are more than the {} that it may have", steps.len(), Self::MOST_STEPS));
        }
        let mut height = 0usize;
        for step in &steps {
            let (taken, given) = match step {
                Step::Constant(c) if !c.is_finite() => return wrong(format!("{c} is no finite number")),
                Step::Apply(Function::Composed(_)) => return wrong("a composed function is applied as a whole".into()),
                Step::Apply(f) if f.parts().1.iter().any(|p| p.is_nan()) => {
                    return wrong(format!("a parameter of {} is not a number", f.parts().0));
                }
                Step::Argument | Step::Constant(_) => (0, 1),
                Step::Apply(_) | Step::Neg => (1, 1),
                Step::Add | Step::Sub | Step::Mul | Step::Div => (2, 1),
            };
            let Some(left) = height.checked_sub(taken) else {
                return wrong("an operand is missing".into());
            };
            height = left + given;
            if height > Self::MOST_DEEP {
                return wrong(format!("more than {} numbers wait for each other", Self::MOST_DEEP));
            }
        }
        if height != 1 {
            return wrong(format!("it makes {height} numbers"));
        }
        let text = text::print(&steps).into();
        Ok(Self { steps: steps.into(), text })
    }

    /// The expression that a text states, as [`Expression`] prints it: `+ - * /`, `x^c`, functions by name with their
    /// parameters behind the argument, and the argument `x`.
    ///
    /// # Errors
    /// What the text holds instead, and as [`Expression::new`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        Self::new(text::parse(text)?)
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value at `x`: NaN or infinite outside the domain.
    pub fn eval(&self, x: f64) -> f64 {
        self.run(x)
    }

    /// The derivative at `x`, at a kink the one of its right side where every function below it rises.
    pub fn derivative(&self, x: f64) -> f64 {
        self.run(Dual { value: x, slope: 1.0 }).slope
    }

    /// Points where it or its derivative may jump, ascending: those of functions whose argument is linear in x.
    pub fn breaks(&self) -> Vec<f64> {
        let mut breaks = self.run(Linear::ARGUMENT).breaks;
        breaks.sort_by(f64::total_cmp);
        breaks.dedup();
        breaks
    }

    /// As [`Function::is_continuous`].
    pub(crate) fn is_continuous(&self) -> bool {
        const NEAR: f64 = 1e-9;
        const JUMP: f64 = 1e-6;
        let jumps = |b: f64| {
            let step = NEAR * (1.0 + b.abs());
            let (left, right) = (self.eval(b - step), self.eval(b + step));
            (left - right).abs() > JUMP * (1.0 + left.abs().max(right.abs()))
        };
        !self.run(Linear::ARGUMENT).hides_jumps && !self.breaks().into_iter().any(jumps)
    }

    /// As [`Function::image`].
    pub(crate) fn image(&self, (lo, hi): (f64, f64)) -> Option<(f64, f64)> {
        self.run(Range(Some((lo, hi)))).0
    }

    /// Where it is finite about the values `seen`, as far as `reach`: its ends belong to it.
    pub(crate) fn domain(&self, seen: (f64, f64), reach: (f64, f64)) -> Domain {
        let lo = self.frontier(seen.0, reach.0.min(seen.0)).unwrap_or(f64::NEG_INFINITY);
        let hi = self.frontier(seen.1, reach.1.max(seen.1)).unwrap_or(f64::INFINITY);
        Domain { lo, hi, closed: true }
    }

    /// How far from `from` towards `to` it is known to be finite; none when all the way. Intervals overestimate what is made of
    /// one value twice, the less the shorter they are: steps that fail are halved.
    fn frontier(&self, from: f64, to: f64) -> Option<f64> {
        const SHORTEST: f64 = 1e-9;
        const MOST_TRIED: usize = 4096;
        let whole = to - from;
        let (mut good, mut step) = (from, whole);
        for _ in 0..MOST_TRIED {
            if good == to {
                return None;
            }
            let next = if (to - good).abs() <= step.abs() { to } else { good + step };
            if self.image((good.min(next), good.max(next))).is_some() {
                (good, step) = (next, 2.0 * step);
            } else if step.abs() <= SHORTEST * whole.abs() {
                return Some(good);
            } else {
                step *= 0.5;
            }
        }
        Some(good)
    }

    fn run<N: Arithmetic>(&self, x: N) -> N {
        let mut stack: [N; Self::MOST_DEEP] = std::array::from_fn(|_| N::constant(0.0));
        // Expressions never pile up higher, nor take from an empty stack.
        let mut height = 0;
        for step in self.steps.iter() {
            match step {
                Step::Argument | Step::Constant(_) => {
                    stack[height] = if let Step::Constant(c) = step { N::constant(*c) } else { x.clone() };
                    height += 1;
                }
                Step::Apply(f) => stack[height - 1] = stack[height - 1].clone().apply(f),
                Step::Neg => stack[height - 1] = stack[height - 1].clone().neg(),
                Step::Add | Step::Sub | Step::Mul | Step::Div => {
                    height -= 1;
                    let (a, b) = (stack[height - 1].clone(), stack[height].clone());
                    stack[height - 1] = match step {
                        Step::Add => a.add(b),
                        Step::Sub => a.sub(b),
                        Step::Mul => a.mul(b),
                        _ => a.div(b),
                    };
                }
            }
        }
        stack[0].clone()
    }
}

impl Arithmetic for f64 {
    fn constant(c: f64) -> Self {
        c
    }
    fn apply(self, function: &Function) -> Self {
        function.eval(self)
    }
    fn neg(self) -> Self {
        -self
    }
    fn add(self, other: Self) -> Self {
        self + other
    }
    fn sub(self, other: Self) -> Self {
        self - other
    }
    fn mul(self, other: Self) -> Self {
        self * other
    }
    fn div(self, other: Self) -> Self {
        self / other
    }
}

/// A value and its derivative with respect to the argument.
#[derive(Clone)]
struct Dual {
    value: f64,
    slope: f64,
}

/// a·b, where nothing stays nothing even of what is infinite: the root of x has an infinite slope at zero, x times it none.
fn share(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

impl Arithmetic for Dual {
    fn constant(c: f64) -> Self {
        Self { value: c, slope: 0.0 }
    }
    fn apply(self, function: &Function) -> Self {
        Self { value: function.eval(self.value), slope: share(function.derivative(self.value), self.slope) }
    }
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, slope: self.slope - other.slope }
    }
    fn mul(self, other: Self) -> Self {
        let slope = share(other.value, self.slope) + share(self.value, other.slope);
        Self { value: self.value * other.value, slope }
    }
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self { value, slope: (self.slope - share(value, other.slope)) / other.value }
    }
}

/// An interval that holds the values; none where one of them may not be finite.
#[derive(Clone, Copy)]
struct Range(Option<(f64, f64)>);

impl Range {
    /// The hull of what `op` makes of the ends.
    fn hull(self, other: Self, op: impl Fn(f64, f64) -> f64) -> Self {
        let hull = self.0.zip(other.0).and_then(|((a, b), (c, d))| {
            let ends = [op(a, c), op(a, d), op(b, c), op(b, d)];
            let finite = ends.iter().all(|e| e.is_finite());
            let (least, most) = ends.iter().fold((ends[0], ends[0]), |(lo, hi), &e| (lo.min(e), hi.max(e)));
            finite.then_some((least, most))
        });
        Self(hull)
    }
}

impl Arithmetic for Range {
    fn constant(c: f64) -> Self {
        Self(Some((c, c)))
    }
    fn apply(self, function: &Function) -> Self {
        Self(self.0.and_then(|range| function.image(range)))
    }
    fn neg(self) -> Self {
        Self(self.0.map(|(lo, hi)| (-hi, -lo)))
    }
    fn add(self, other: Self) -> Self {
        self.hull(other, |a, b| a + b)
    }
    fn sub(self, other: Self) -> Self {
        self.hull(other, |a, b| a - b)
    }
    fn mul(self, other: Self) -> Self {
        self.hull(other, |a, b| a * b)
    }
    fn div(self, other: Self) -> Self {
        let divisor = Self(other.0.filter(|&(lo, hi)| lo > 0.0 || hi < 0.0));
        self.hull(divisor, |a, b| a / b)
    }
}

/// Whether a value is scale·x + shift, and where what it is made of jumps.
#[derive(Clone)]
struct Linear {
    form: Option<(f64, f64)>,
    breaks: Vec<f64>,
    /// Whether a part of it jumps at arguments that are not linear in x.
    hides_jumps: bool,
}

impl Linear {
    const ARGUMENT: Self = Self { form: Some((1.0, 0.0)), breaks: Vec::new(), hides_jumps: false };

    fn with(mut self, other: Self, op: impl Fn((f64, f64), (f64, f64)) -> Option<(f64, f64)>) -> Self {
        self.breaks.extend(other.breaks);
        let form = self.form.zip(other.form).and_then(|(a, b)| op(a, b));
        Self { form, breaks: self.breaks, hides_jumps: self.hides_jumps || other.hides_jumps }
    }
}

impl Arithmetic for Linear {
    fn constant(c: f64) -> Self {
        Self { form: Some((0.0, c)), ..Self::ARGUMENT }
    }
    fn apply(mut self, function: &Function) -> Self {
        let form = self.form.filter(|form| form.0 != 0.0);
        let at = |b: f64| form.map(|(scale, shift)| (b - shift) / scale);
        self.breaks.extend(function.breaks().into_iter().filter_map(at).filter(|b| b.is_finite()));
        let constant = self.form.filter(|form| form.0 == 0.0).map(|(_, c)| (0.0, function.eval(c)));
        let hides_jumps = self.hides_jumps || (self.form.is_none() && !function.is_continuous());
        Self { form: constant, breaks: self.breaks, hides_jumps }
    }
    fn neg(self) -> Self {
        Self { form: self.form.map(|(a, b)| (-a, -b)), ..self }
    }
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| Some((a.0 + b.0, a.1 + b.1)))
    }
    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| Some((a.0 - b.0, a.1 - b.1)))
    }
    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| match (a.0 == 0.0, b.0 == 0.0) {
            (true, _) => Some((a.1 * b.0, a.1 * b.1)),
            (_, true) => Some((a.0 * b.1, a.1 * b.1)),
            _ => None,
        })
    }
    fn div(self, other: Self) -> Self {
        self.with(other, |a, b| (b.0 == 0.0).then_some((a.0 / b.1, a.1 / b.1)))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Expression {}
impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl PartialOrd for Expression {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Expression {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

#[cfg(test)]
mod tests;
