//! The text of expressions, and expressions of texts. Printing keeps every step, so that reading gives the same ones again.

use crate::expression::{Expression, ExpressionError, Step};
use crate::function::Function;

/// Nothing that is printed is longer.
const LONGEST: usize = 1 << 14;
/// Deepest nesting of a text: each step may be the argument of the next.
const MOST_NESTED: usize = 2 * Expression::MOST_STEPS;

/// How tightly a printed term holds together.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
enum Binding {
    Sum,
    Product,
    Sign,
    Power,
    #[default]
    Atom,
}

/// A number as short as it can be read back.
fn number(c: f64) -> String {
    let text = format!("{c:?}");
    text.strip_suffix(".0").map(str::to_string).unwrap_or(text)
}

/// The text of steps that make one number.
pub(crate) fn print(steps: &[Step]) -> String {
    let mut stack: Vec<(String, Binding)> = Vec::new();
    let within = |(text, own): (String, Binding), least: Binding| if own < least { format!("({text})") } else { text };
    for step in steps {
        let top = stack.pop().unwrap_or_default();
        let made = match step {
            Step::Argument | Step::Constant(_) => {
                stack.push(top);
                match step {
                    Step::Constant(c) if c.is_sign_negative() => (number(*c), Binding::Sign),
                    Step::Constant(c) => (number(*c), Binding::Atom),
                    _ => ("x".to_string(), Binding::Atom),
                }
            }
            Step::Apply(Function::Pow { exponent }) if exponent.is_finite() => {
                let exponent =
                    if exponent.is_sign_negative() { format!("({})", number(*exponent)) } else { number(*exponent) };
                (format!("{}^{exponent}", within(top, Binding::Atom)), Binding::Power)
            }
            Step::Apply(f) => {
                let (name, parameters) = f.parts();
                let parameters: String = parameters.iter().map(|p| format!(", {}", number(*p))).collect();
                (format!("{name}({}{parameters})", top.0), Binding::Atom)
            }
            Step::Neg => {
                // A sign and digits are one number.
                let digits = top.0.starts_with(|c: char| c.is_ascii_digit());
                let inner = if digits { format!("({})", top.0) } else { within(top, Binding::Sign) };
                (format!("-{inner}"), Binding::Sign)
            }
            Step::Add | Step::Sub | Step::Mul | Step::Div => {
                let left = stack.pop().unwrap_or_default();
                let (sign, own, right) = match step {
                    Step::Add => (" + ", Binding::Sum, Binding::Product),
                    Step::Sub => (" - ", Binding::Sum, Binding::Product),
                    Step::Mul => ("*", Binding::Product, Binding::Sign),
                    _ => ("/", Binding::Product, Binding::Sign),
                };
                (format!("{}{sign}{}", within(left, own), within(top, right)), own)
            }
        };
        stack.push(made);
    }
    stack.pop().unwrap_or_default().0
}

/// The steps that a text states.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, ExpressionError> {
    if text.len() > LONGEST {
        return Err(ExpressionError(format!("{} bytes are more than the {LONGEST} that it may have", text.len())));
    }
    let mut reader = Reader { text, at: 0, nested: 0, steps: Vec::new() };
    reader.sum()?;
    match reader.rest() {
        "" => Ok(reader.steps),
        _ => Err(reader.unexpected("an operator")),
    }
}

/// A text that is being read.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    nested: usize,
    steps: Vec<Step>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    /// Whether `token` comes next; it is passed by then.
    fn takes(&mut self, token: char) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len_utf8();
            self.skip_blanks();
        }
        found
    }

    fn expect(&mut self, token: char) -> Result<(), ExpressionError> {
        if self.takes(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"))) }
    }

    fn unexpected(&self, expected: &str) -> ExpressionError {
        let found = self.rest().chars().next().map_or_else(|| "its end".to_string(), |c| format!("`{c}`"));
        ExpressionError(format!("{expected} is expected at byte {}, not {found}", self.at))
    }

    fn push(&mut self, step: Step) -> Result<(), ExpressionError> {
        if self.steps.len() >= Expression::MOST_STEPS {
            return Err(ExpressionError(format!("it has more than {} steps", Expression::MOST_STEPS)));
        }
        self.steps.push(step);
        Ok(())
    }

    /// What `read` reads, one level deeper.
    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<(), ExpressionError>) -> Result<(), ExpressionError> {
        self.nested += 1;
        if self.nested > MOST_NESTED {
            return Err(ExpressionError(format!("it is nested more than {MOST_NESTED} deep")));
        }
        read(self)?;
        self.nested -= 1;
        Ok(())
    }

    fn sum(&mut self) -> Result<(), ExpressionError> {
        self.product()?;
        loop {
            let step = match () {
                () if self.takes('+') => Step::Add,
                () if self.takes('-') => Step::Sub,
                () => return Ok(()),
            };
            self.product()?;
            self.push(step)?;
        }
    }

    fn product(&mut self) -> Result<(), ExpressionError> {
        self.signed()?;
        loop {
            let step = match () {
                () if self.takes('*') => Step::Mul,
                () if self.takes('/') => Step::Div,
                () => return Ok(()),
            };
            self.signed()?;
            self.push(step)?;
        }
    }

    fn signed(&mut self) -> Result<(), ExpressionError> {
        if !self.takes('-') {
            return self.power();
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            let c = self.number()?;
            return self.push(Step::Constant(-c));
        }
        self.deeper(Self::signed)?;
        self.push(Step::Neg)
    }

    fn power(&mut self) -> Result<(), ExpressionError> {
        self.atom()?;
        if self.takes('^') {
            let exponent = if self.takes('(') {
                let exponent = self.signed_number()?;
                self.expect(')')?;
                exponent
            } else {
                self.number()?
            };
            self.push(Step::Apply(Function::Pow { exponent }))?;
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<(), ExpressionError> {
        self.skip_blanks();
        if self.takes('(') {
            self.deeper(Self::sum)?;
            return self.expect(')');
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            let c = self.number()?;
            return self.push(Step::Constant(c));
        }
        let name = self.word();
        match name.as_str() {
            "" => Err(self.unexpected("a number, `x`, a function or `(`")),
            "x" => self.push(Step::Argument),
            _ => self.call(&name),
        }
    }

    /// The letters, digits and underscores that come next.
    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest[..end].to_string();
        self.at += end;
        word
    }

    fn call(&mut self, name: &str) -> Result<(), ExpressionError> {
        self.expect('(')?;
        self.deeper(Self::sum)?;
        let mut parameters = Vec::new();
        while self.takes(',') && parameters.len() < 2 {
            parameters.push(self.signed_number()?);
        }
        self.expect(')')?;
        let function = Function::from_parts(name, &parameters);
        let unknown = || ExpressionError(format!("`{name}` with {} parameters is no function", parameters.len()));
        self.push(Step::Apply(function.ok_or_else(unknown)?))
    }

    fn signed_number(&mut self) -> Result<f64, ExpressionError> {
        let negative = self.takes('-');
        self.number().map(|c| if negative { -c } else { c })
    }

    /// A number without a sign: digits with a point and an exponent, or `inf`.
    fn number(&mut self) -> Result<f64, ExpressionError> {
        let bytes = self.rest().as_bytes();
        let mut end = 0;
        while let Some(&b) = bytes.get(end) {
            let signed = matches!(b, b'-' | b'+') && end > 0 && bytes[end - 1] == b'e';
            if !(b.is_ascii_digit() || matches!(b, b'.' | b'e') && end > 0 || signed) {
                break;
            }
            end += 1;
        }
        let (text, end) = if self.rest().starts_with("inf") { ("inf", 3) } else { (&self.rest()[..end], end) };
        let Ok(c) = text.parse::<f64>() else { return Err(self.unexpected("a number")) };
        self.at += end;
        self.skip_blanks();
        Ok(c)
    }
}
