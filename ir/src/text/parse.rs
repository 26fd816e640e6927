//! The parser turns text into a module: it resolves names, makes ops from the op tables, infers types and compares them
//! with those stated.

use std::collections::HashMap;

use super::any::AnyModule;
use super::blob::{BlobSource, from_hex};
use super::error::{ParseError, TextError, closest};
use super::grammar::{AttrsParser, FileParser};
use super::raw::{self, Field, Init, Item, Span, Spanned, Stmt, Value as Raw};
use super::tree::{attr, number, range, read_fields, unquote};
use crate::attr::Attr;
use crate::ckks::Ckks;
use crate::dialect::{Dialect, OpError, OpInfo, ParseTy};
use crate::entity::{ConstId, Entity, Value};
use crate::func::{Module, Operands};
use crate::io::Port;
use crate::loc::Loc;
use crate::nn::{Nn, TensorTy};
use crate::slot::Slot;
use crate::tensor::{Shape, Tensor};

/// Reads the text of a module of level `D`. `name` is the file name messages show.
///
/// # Errors
/// Everything that is wrong with the file, each at its place. Any text gives a module or errors; none panics.
pub fn parse_module<D: Dialect>(name: &str, text: &str, blobs: &dyn BlobSource) -> Result<Module<D>, ParseError> {
    let items = parse_items(name, text)?;
    read(&items, blobs).map_err(|errors| ParseError::new(name, text, errors))
}

/// Reads the text of a module, whose level its types or ops tell.
///
/// # Errors
/// As [`parse_module`]; also when the function names no type and no op.
pub fn parse_any(name: &str, text: &str, blobs: &dyn BlobSource) -> Result<AnyModule, ParseError> {
    let items = parse_items(name, text)?;
    let module = match level(&items) {
        Some(Nn::NAME) => read(&items, blobs).map(AnyModule::Nn),
        Some(Slot::NAME) => read(&items, blobs).map(AnyModule::Slot),
        Some(Ckks::NAME) => read(&items, blobs).map(AnyModule::Ckks),
        _ => Err(vec![
            TextError::new((0, 0), "", "the level of this file cannot be told")
                .help("it needs a function with a parameter or an op of the level nn, slot or ckks"),
        ]),
    };
    module.map_err(|errors| ParseError::new(name, text, errors))
}

/// The inverse of [`op_text`](super::op_text).
pub(crate) fn read_op<O: OpInfo>(text: &str) -> Result<O, String> {
    let (mnemonic, fields) = text.find('{').map_or((text, ""), |i| text.split_at(i));
    let constant = |name: &str, span| {
        let index = name.strip_prefix("@c").and_then(|n| n.parse::<u32>().ok()).filter(|&n| n < u32::MAX);
        index
            .map(|n| ConstId::new(n as usize))
            .ok_or_else(|| TextError::new(span, "here", format!("`{name}` is no id")))
    };
    let fields = match fields {
        "" => Vec::new(),
        fields => AttrsParser::new().parse(fields).map_err(|e| TextError::syntax(e).message)?,
    };
    let mut attrs = Vec::new();
    for field in &fields {
        let value = attr(&field.value.item, field.value.span, &constant).map_err(|e| e.message)?;
        attrs.push((field.key.item.to_string(), value));
    }
    if mnemonic == "input"
        && let [(name, Attr::Int(index))] = attrs.as_slice()
        && name == "index"
    {
        return u32::try_from(*index).map(O::input).map_err(|_| "an input index is negative or too large".into());
    }
    O::from_parts(mnemonic, &attrs).map_err(|e| e.to_string())
}

fn parse_items<'a>(name: &str, text: &'a str) -> Result<Vec<Item<'a>>, ParseError> {
    FileParser::new().parse(text).map_err(|e| ParseError::new(name, text, vec![TextError::syntax(e)]))
}

fn level(items: &[Item<'_>]) -> Option<&'static str> {
    let func = items.iter().find_map(|item| match item {
        Item::Func(func) => Some(func),
        _ => None,
    })?;
    let of_op = |op: &str| {
        let prefix = op.split('.').next();
        [Nn::NAME, Slot::NAME, Ckks::NAME].into_iter().find(|&name| prefix == Some(name))
    };
    let of_type = |ty: &str| match ty {
        "tensor" => Some(Nn::NAME),
        "slots" => Some(Slot::NAME),
        "ct" => Some(Ckks::NAME),
        _ => None,
    };
    func.body
        .iter()
        .find_map(|stmt| of_op(stmt.op.item))
        .or_else(|| func.params.iter().find_map(|p| of_type(p.ty.item.name)))
}

fn read<D: Dialect>(items: &[Item<'_>], blobs: &dyn BlobSource) -> Result<Module<D>, Vec<TextError>> {
    let mut reader = Reader::<D> {
        module: Module::new("main"),
        blobs,
        filled: 0,
        consts: HashMap::new(),
        values: HashMap::new(),
        errors: Vec::new(),
    };
    let mut func = None;
    // Constants first: they may stand after the function.
    for item in items {
        match item {
            Item::Const { name, ty, init } => reader.constant(name, ty, init),
            Item::Params(fields) if reader.module.params.is_some() => {
                reader.errors.push(TextError::new(fields.span, "again", "`params` is given twice"));
            }
            Item::Params(fields) => {
                let params = read_fields(&fields.item, fields.span, "parameters");
                reader.module.params = reader.check(params);
            }
            Item::Input(port) => {
                let port = reader.port(port);
                reader.module.inputs.extend(port);
            }
            Item::Output(port) => {
                let port = reader.port(port);
                reader.module.outputs.extend(port);
            }
            Item::Func(f) if func.is_some() => {
                reader.errors.push(TextError::new(f.name.span, "second function", "a module holds one function"));
            }
            Item::Func(f) => func = Some(f),
        }
    }
    match func {
        Some(func) => reader.func(func),
        None => reader.errors.push(TextError::new((0, 0), "", "the file has no function")),
    }
    if reader.errors.is_empty() { Ok(reader.module) } else { Err(reader.errors) }
}

struct Reader<'a, D: Dialect> {
    module: Module<D>,
    blobs: &'a dyn BlobSource,
    /// Elements of `zeros` and `full` constants so far.
    filled: usize,
    /// `None` for a constant whose definition is wrong: its uses are not reported again.
    consts: HashMap<&'a str, Option<ConstId>>,
    /// `None` for a value whose definition is wrong.
    values: HashMap<&'a str, Option<Value>>,
    errors: Vec<TextError>,
}

impl<'a, D: Dialect> Reader<'a, D> {
    /// Notes the error of `result`.
    fn check<T>(&mut self, result: Result<T, TextError>) -> Option<T> {
        result.map_err(|e| self.errors.push(e)).ok()
    }

    fn constant(&mut self, name: &Spanned<&'a str>, ty: &Spanned<raw::Ty<'_>>, init: &Spanned<Init<'_>>) {
        let tensor = shape_of(ty).and_then(|shape| self.tensor(shape, ty.span, init));
        let id = self.check(tensor).map(|tensor| self.module.consts.insert(&name.item[1..], tensor));
        if self.consts.insert(name.item, id).is_some() {
            let message = format!("constant `{}` is defined twice", name.item);
            self.errors.push(TextError::new(name.span, "again", message));
        }
    }

    fn tensor(&mut self, shape: Shape, span: Span, init: &Spanned<Init<'_>>) -> Result<Tensor, TextError> {
        // Bounded by the type. Elements that are listed, or lie in a blob, are already there: only filled ones are made.
        let len = shape.len();
        let scalar = |value: &Raw<'_>, span: Span| match value {
            Raw::Int(s) | Raw::Float(s) => Ok(s.parse().unwrap_or(f32::NAN)),
            other => number(other)
                .map(|x| x as f32)
                .ok_or_else(|| TextError::new(span, "here", "elements of a constant are numbers")),
        };
        let mut fill = |x: f32| {
            self.filled = self.filled.saturating_add(len);
            if self.filled > self.blobs.room() {
                return Err(TextError::new(span, "this type", "the filled constants of this file are too large"));
            }
            Ok(Tensor::full(shape.clone(), x))
        };
        match &init.item {
            Init::Zeros => fill(0.0),
            Init::Full(value) => fill(scalar(value, init.span)?),
            Init::List(items) => {
                let data = items.iter().map(|i| scalar(&i.item, i.span)).collect::<Result<Vec<f32>, _>>()?;
                if data.len() != len {
                    let message = format!("{} elements do not fill {shape}, which has {len}", data.len());
                    return Err(TextError::new(init.span, "these elements", message));
                }
                Ok(Tensor::new(shape, data))
            }
            Init::Blob(hex) => {
                let digest = from_hex(&unquote(hex, init.span)?).ok_or_else(|| {
                    TextError::new(init.span, "this digest", "a blob is named by 64 hexadecimal digits")
                })?;
                let tensor = self.blobs.blob(&digest).ok_or_else(|| {
                    TextError::new(init.span, "this blob", "the elements of this constant are not at hand")
                        .help("large constants lie beside the text: in the plan, or in the file of its name that ends in `.data`")
                })?;
                if tensor.shape() != &shape {
                    let message = format!("the blob is {}, not {shape}", tensor.shape());
                    return Err(TextError::new(span, "this type", message));
                }
                Ok(tensor)
            }
        }
    }

    fn port(&mut self, port: &raw::Port<'_>) -> Option<Port> {
        let name = unquote(port.name.item, port.name.span);
        let layout = port.layout.as_ref().map(|l| read_fields(&l.item, l.span, "layouts")).transpose();
        let range = port.range.as_ref().map(range).transpose();
        let head = |fields: &Spanned<Vec<Field<'_>>>| read_fields(&fields.item, fields.span, "heads");
        let heads = port.heads.iter().flatten().map(head).collect::<Result<_, _>>();
        let (name, shape, layout) = (self.check(name), self.check(shape_of(&port.ty)), self.check(layout));
        Some(Port { name: name?, shape: shape?, layout: layout?, range: self.check(range)?, heads: self.check(heads)? })
    }

    fn func(&mut self, func: &raw::Func<'a>) {
        let name = func.name.item.trim_start_matches('@');
        let name = self.check(unquote(name, func.name.span)).unwrap_or_default();
        self.module.func.name = name;
        for param in &func.params {
            let loc = self.loc(&param.loc, param.name.span);
            let ty = self.ty(&param.ty);
            let value = ty.map(|ty| self.module.func.add_param(ty, loc));
            self.define(&param.name, value);
        }
        for stmt in &func.body {
            let value = self.stmt(stmt);
            self.define(&stmt.name, value);
        }
        let results: Vec<Option<Value>> = func.results.item.iter().map(|r| self.value(r)).collect();
        if results.len() != func.result_types.len() {
            let message = format!("{} results returned, {} declared", results.len(), func.result_types.len());
            self.errors.push(TextError::new(func.results.span, "here", message));
        }
        for (result, stated) in results.iter().zip(&func.result_types) {
            if let (Some(value), Some(stated_ty)) = (result, self.ty(stated))
                && self.module.func.ty(*value) != &stated_ty
            {
                let message = format!("declared as {stated_ty}, returned as {}", self.module.func.ty(*value));
                self.errors.push(TextError::new(stated.span, "this type", message));
            }
        }
        self.module.func.set_results(results.into_iter().flatten());
    }

    fn define(&mut self, name: &Spanned<&'a str>, value: Option<Value>) {
        if self.values.insert(name.item, value).is_some() {
            let message = format!("value `{}` is defined twice", name.item);
            self.errors.push(TextError::new(name.span, "again", message));
        }
    }

    /// The value named, if its definition stands earlier and is right.
    fn value(&mut self, name: &Spanned<&str>) -> Option<Value> {
        let known = self.values.get(name.item).copied();
        if known.is_none() {
            let message = format!("value `{}` is not defined before this use", name.item);
            self.errors.push(TextError::new(name.span, "undefined", message));
        }
        known.flatten()
    }

    fn stmt(&mut self, stmt: &Stmt<'_>) -> Option<Value> {
        let operands: Vec<Option<Value>> = stmt.operands.iter().map(|o| self.value(o)).collect();
        let op = self.op(stmt);
        let stated = self.ty(&stmt.ty);
        let loc = self.loc(&stmt.loc, stmt.span);
        let (op, operands) = (op?, operands.into_iter().collect::<Option<Operands>>()?);
        match self.module.func.infer(&op, &operands, &self.module.consts) {
            Ok(ty) => {
                if let Some(stated) = stated
                    && stated != ty
                {
                    let message = format!("the type is stated as {stated}, inferred as {ty}");
                    self.errors.push(TextError::new(stmt.ty.span, format!("this is {ty}"), message));
                }
                Some(self.module.func.push_unchecked(op, operands, ty, loc))
            }
            Err(e) => {
                let error = TextError::new(stmt.op.span, "this op", format!("`{}`: {e}", stmt.op.item));
                self.errors.push(error);
                None
            }
        }
    }

    fn op(&mut self, stmt: &Stmt<'_>) -> Option<D::Op> {
        let (level, mnemonic) = stmt.op.item.split_once('.').unwrap_or((stmt.op.item, ""));
        if level != D::NAME {
            let message = format!("`{}` is no op of the level `{}`", stmt.op.item, D::NAME);
            self.errors.push(
                TextError::new(stmt.op.span, "this op", message)
                    .help(format!("ops of this function begin with `{}.`", D::NAME)),
            );
            return None;
        }
        let attrs = self.attrs(&stmt.attrs)?;
        let made = D::Op::from_parts(mnemonic, &attrs);
        made.map_err(|e| self.errors.push(op_error::<D>(e, stmt))).ok()
    }

    fn attrs(&mut self, fields: &[Field<'_>]) -> Option<Vec<(String, Attr)>> {
        let mut out: Vec<(String, Attr)> = Vec::with_capacity(fields.len());
        let mut right = true;
        for field in fields {
            if out.iter().any(|(key, _)| key == field.key.item) {
                let message = format!("attribute `{}` is given twice", field.key.item);
                self.errors.push(TextError::new(field.key.span, "again", message));
                right = false;
                continue;
            }
            let consts = &self.consts;
            // An empty message marks a use of a constant whose definition was reported already.
            let constant = |name: &str, span| match consts.get(name) {
                Some(Some(id)) => Ok(*id),
                Some(None) => Err(TextError::new(span, "", "")),
                None => Err(TextError::new(span, "undefined", format!("constant `{name}` is not defined"))),
            };
            match attr(&field.value.item, field.value.span, &constant) {
                Ok(attr) => out.push((field.key.item.to_string(), attr)),
                Err(e) => {
                    right = false;
                    self.errors.extend(Some(e).filter(|e| !e.message.is_empty()));
                }
            }
        }
        right.then_some(out)
    }

    fn ty(&mut self, ty: &Spanned<raw::Ty<'_>>) -> Option<D::Ty> {
        self.check(D::Ty::parse(&ty.item).map_err(|e| TextError::new(ty.span, "this type", e)))
    }

    fn loc(&mut self, loc: &Option<Spanned<&str>>, span: Span) -> Loc {
        let name = loc.as_ref().and_then(|l| self.check(unquote(l.item, l.span)));
        Loc { onnx: name.map(Into::into), span: Some(span) }
    }
}

fn shape_of(ty: &Spanned<raw::Ty<'_>>) -> Result<Shape, TextError> {
    TensorTy::parse(&ty.item).map(|ty| ty.0).map_err(|e| TextError::new(ty.span, "this type", e))
}

/// Places an [`OpError`] at the attribute it names, else at the op.
fn op_error<D: Dialect>(error: OpError, stmt: &Stmt<'_>) -> TextError {
    let field = |name: &str| stmt.attrs.iter().find(|f| f.key.item == name);
    match &error {
        OpError::UnknownOp(name) => {
            let near = closest(name, D::Op::TABLE.iter().map(|(mnemonic, _)| *mnemonic));
            let place = TextError::new(stmt.op.span, "this op", error.to_string());
            match near {
                Some(near) => place.help(format!("did you mean `{}.{near}`?", D::NAME)),
                None => place,
            }
        }
        OpError::WrongAttr { name, .. } => {
            let span = field(name).map_or(stmt.op.span, |f| f.value.span);
            TextError::new(span, "this value", error.to_string())
        }
        OpError::UnknownAttr { name, .. } => {
            let span = field(name).map_or(stmt.op.span, |f| f.key.span);
            TextError::new(span, "this attribute", error.to_string())
        }
        OpError::MissingAttr { .. } => TextError::new(stmt.op.span, "this op", error.to_string()),
    }
}
