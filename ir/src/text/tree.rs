//! Values in text are attribute values, and serde types as dictionaries in field order.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::TextError;
use super::raw::{Field, Span, Spanned, Value};
use crate::attr::{Attr, F64};
use crate::entity::ConstId;
use crate::io::ValueRange;

/// `text` with quotes and escapes.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text between the quotes of `quoted`, escapes resolved.
pub(super) fn unquote(quoted: &str, span: Span) -> Result<String, TextError> {
    let inner = quoted.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or(quoted);
    let mut out = String::new();
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('u') => out.push(unicode_escape(&mut rest).ok_or_else(|| {
                TextError::new(span, "in this string", "`\\u` must be followed by a character number in braces")
            })?),
            Some(c @ ('"' | '\\')) => out.push(c),
            other => {
                let c = other.map(String::from).unwrap_or_default();
                return Err(TextError::new(span, "in this string", format!("unknown escape `\\{c}`")));
            }
        }
    }
    Ok(out)
}

fn unicode_escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    *rest = after.chars();
    Some(c)
}

/// The number an integer or float token, or one of the names `inf` and `NaN`, stands for.
pub(super) fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(s) | Value::Float(s) => s.parse().ok(),
        Value::Name("inf") => Some(f64::INFINITY),
        Value::Name("NaN") => Some(f64::NAN),
        _ => None,
    }
}

pub(super) fn integer(text: &str, span: Span) -> Result<i64, TextError> {
    text.parse().map_err(|_| TextError::new(span, "this number", format!("{text} does not fit 64 bits")))
}

/// The attribute a value stands for; `constant` resolves names.
pub(super) fn attr(
    value: &Value<'_>,
    span: Span,
    constant: &dyn Fn(&str, Span) -> Result<ConstId, TextError>,
) -> Result<Attr, TextError> {
    Ok(match value {
        Value::Int(s) => Attr::Int(integer(s, span)?),
        Value::Float(_) | Value::Name("inf" | "NaN") => Attr::Float(F64(number(value).unwrap_or(f64::NAN))),
        Value::Name("true") => Attr::Bool(true),
        Value::Name("false") => Attr::Bool(false),
        Value::Name(name) => Attr::Name(name.to_string()),
        Value::Str(s) => Attr::Str(unquote(s, span)?),
        Value::Symbol(name) => Attr::Const(constant(name, span)?),
        Value::List(items) if items.iter().all(|i| matches!(i.item, Value::Int(_))) => {
            let ints = items.iter().map(|i| match &i.item {
                Value::Int(s) => integer(s, i.span),
                _ => Ok(0),
            });
            Attr::Ints(ints.collect::<Result<_, _>>()?)
        }
        Value::List(items) => {
            let floats = items.iter().map(|i| {
                number(&i.item).map(F64).ok_or_else(|| TextError::new(i.span, "here", "a list holds numbers only"))
            });
            Attr::Floats(floats.collect::<Result<_, _>>()?)
        }
        Value::Dict(_) => return Err(TextError::new(span, "here", "an attribute cannot be a dictionary")),
    })
}

/// Text of an attribute value; `constant` gives the name of a constant.
pub(super) fn print_attr(attr: &Attr, constant: &dyn Fn(ConstId) -> String) -> String {
    let list = |items: &mut dyn Iterator<Item = String>| format!("[{}]", items.collect::<Vec<_>>().join(", "));
    match attr {
        Attr::Int(x) => x.to_string(),
        Attr::Float(x) => x.to_string(),
        Attr::Bool(x) => x.to_string(),
        Attr::Name(x) => x.clone(),
        Attr::Str(x) => quote(x),
        Attr::Const(id) => constant(*id),
        Attr::Ints(xs) => list(&mut xs.iter().map(i64::to_string)),
        Attr::Floats(xs) => list(&mut xs.iter().map(F64::to_string)),
    }
}

/// Reads the least and the largest value of a port.
pub(super) fn range(ends: &Spanned<Vec<Spanned<Value<'_>>>>) -> Result<ValueRange, TextError> {
    let numbers: Vec<f64> = ends.item.iter().filter_map(|end| number(&end.item)).collect();
    match (&ends.item[..], &numbers[..]) {
        ([_, _], &[low, high]) => Ok(ValueRange { low: F64(low), high: F64(high) }),
        _ => Err(TextError::new(ends.span, "here", "a range is two numbers, the least and the largest")),
    }
}

/// Reads a dictionary as a serde type; a field the type does not have is an error.
pub(super) fn read_fields<T: DeserializeOwned + Serialize>(
    fields: &[Field<'_>],
    span: Span,
    what: &str,
) -> Result<T, TextError> {
    let wrong = |e: serde_json::Error| TextError::new(span, "here", format!("not valid {what}: {e}"));
    let json = object(fields)?;
    let value: T = serde_json::from_value(json).map_err(wrong)?;
    let known = serde_json::to_value(&value).map_err(wrong)?;
    match fields.iter().find(|f| known.get(f.key.item).is_none()) {
        Some(f) => Err(TextError::new(f.key.span, "unknown", format!("{what} have no field `{}`", f.key.item))),
        None => Ok(value),
    }
}

fn object(fields: &[Field<'_>]) -> Result<serde_json::Value, TextError> {
    let mut map = serde_json::Map::new();
    for field in fields {
        if map.insert(field.key.item.to_string(), json(&field.value.item, field.value.span)?).is_some() {
            return Err(TextError::new(field.key.span, "again", format!("`{}` is given twice", field.key.item)));
        }
    }
    Ok(map.into())
}

fn json(value: &Value<'_>, span: Span) -> Result<serde_json::Value, TextError> {
    Ok(match value {
        Value::Int(s) => integer(s, span)?.into(),
        Value::Float(_) => number(value).into(),
        Value::Name("true") => true.into(),
        Value::Name("false") => false.into(),
        Value::Name(s) => (*s).into(),
        Value::Str(s) => unquote(s, span)?.into(),
        Value::Symbol(s) => {
            return Err(TextError::new(span, "here", format!("the constant `{s}` cannot stand here")));
        }
        Value::List(items) => items.iter().map(|i| json(&i.item, i.span)).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Dict(fields) => object(fields)?,
    })
}

/// A serde value as a dictionary of text, fields in the order the type declares them.
pub(super) fn print_fields<T: Serialize>(value: &T) -> String {
    let tree = serde_json::to_string(value).and_then(|json| serde_json::from_str::<Tree>(&json));
    tree.map_or_else(|_| "{}".to_string(), |tree| tree.to_string())
}

/// JSON that keeps the order of fields.
enum Tree {
    Absent,
    Leaf(String),
    List(Vec<Tree>),
    Dict(Vec<(String, Tree)>),
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => Ok(()),
            Self::Leaf(text) => f.write_str(text),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Dict(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .filter(|(_, value)| !matches!(value, Self::Absent))
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Absent)
            }
            fn visit_bool<E>(self, x: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf(x.to_string()))
            }
            fn visit_i64<E>(self, x: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf(x.to_string()))
            }
            fn visit_u64<E>(self, x: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf(x.to_string()))
            }
            fn visit_f64<E>(self, x: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf(F64(x).to_string()))
            }
            fn visit_str<E>(self, x: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf(quote(x)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Tree::Dict(fields))
            }
        }
        deserializer.deserialize_any(TreeVisitor)
    }
}
