//! The printer turns a module into text.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::MAX_FILLED;
use super::blob::{Blobs, to_hex};
use super::tree::{print_attr, print_fields, quote};
use crate::consts::{Const, ConstPool};
use crate::dialect::{Dialect, OpInfo};
use crate::entity::{Entity, Value};
use crate::func::{Func, Module};
use crate::io::Port;
use crate::loc::Loc;

/// Constants of at most this many elements are written out.
pub const INLINE_LIMIT: usize = 16;

/// The text of a module. Large constants appear by digest only; see [`print_with_blobs`].
pub fn print_module<D: Dialect>(module: &Module<D>) -> String {
    print_with_blobs(module).0
}

/// The text of a module, and the constants it names by digest.
pub fn print_with_blobs<D: Dialect>(module: &Module<D>) -> (String, Blobs) {
    let mut out = String::new();
    let mut blobs = Blobs::default();
    if let Some(params) = &module.params {
        let _ = writeln!(out, "params {}", print_fields(params));
    }
    let used: BTreeSet<_> = module.func.iter().flat_map(|(_, node)| node.op.consts()).collect();
    let mut filled = 0;
    for id in used.into_iter().filter(|&id| module.consts.contains(id)) {
        print_const(&mut out, module.consts.get(id), &mut filled, &mut blobs);
    }
    for (keyword, ports) in [("input", &module.inputs), ("output", &module.outputs)] {
        for port in ports {
            print_port(&mut out, keyword, port);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    print_func(&mut out, &module.func, &module.consts);
    (out, blobs)
}

/// The line of text that defines `value`, with values numbered as in the function.
pub fn node_line<D: Dialect>(func: &Func<D>, value: Value, consts: &ConstPool) -> String {
    if func.node(value).op.as_input().is_some() {
        return format!("{value}: {}{}", func.ty(value), print_loc(&func.node(value).loc));
    }
    line(func, value, consts, &|v: Value| v.to_string())
}

/// An op with its attributes and without blanks, constants by id: `rotate{by=1}`.
pub(crate) fn op_text<O: OpInfo>(op: &O) -> String {
    let attrs: Vec<String> =
        op.attrs().iter().map(|(key, a)| format!("{key}={}", print_attr(a, &|id| id.to_string()))).collect();
    let attrs = if attrs.is_empty() { String::new() } else { format!("{{{}}}", attrs.join(",")) };
    format!("{}{}", op.mnemonic(), attrs.replace(", ", ","))
}

/// Prints one constant; `filled` counts the elements of those written as one number, of which a reader takes only so many.
fn print_const(out: &mut String, c: &Const, filled: &mut usize, blobs: &mut Blobs) {
    let data = c.tensor.data();
    let uniform = data.first().is_some_and(|first| data.iter().all(|x| x.to_bits() == first.to_bits()));
    let finite = data.iter().all(|x| x.is_finite());
    let fills = uniform && finite && data.len() > 1 && *filled + data.len() <= MAX_FILLED;
    if fills {
        *filled += data.len();
    }
    let init = match data {
        [first, ..] if fills && first.to_bits() == 0 => "zeros".to_string(),
        [first, ..] if fills => format!("full({first:?})"),
        data if finite && data.len() <= INLINE_LIMIT => {
            let items: Vec<String> = data.iter().map(|x| format!("{x:?}")).collect();
            format!("[{}]", items.join(", "))
        }
        _ => format!("blob \"{}\"", to_hex(&blobs.insert(c))),
    };
    let _ = writeln!(out, "const @{} : tensor<{}> = {init}", c.name, c.tensor.shape());
}

fn print_port(out: &mut String, keyword: &str, port: &Port) {
    let _ = write!(out, "{keyword} {} : tensor<{}>", quote(&port.name), port.shape);
    if let Some(layout) = &port.layout {
        let _ = write!(out, " layout {}", print_fields(layout));
    }
    if let Some(range) = &port.range {
        let _ = write!(out, " range [{}, {}]", range.low, range.high);
    }
    if !port.heads.is_empty() {
        let heads: Vec<String> = port.heads.iter().map(print_fields).collect();
        let _ = write!(out, " heads [{}]", heads.join(", "));
    }
    out.push('\n');
}

fn print_func<D: Dialect>(out: &mut String, func: &Func<D>, consts: &ConstPool) {
    // Parameters come first in text wherever they stand among the nodes, and values are numbered as they are written.
    let nodes: Vec<Value> = func.iter().filter(|(_, n)| n.op.as_input().is_none()).map(|(v, _)| v).collect();
    let mut number = vec![0; func.len()];
    for (n, v) in func.params().iter().chain(&nodes).enumerate() {
        number[v.index()] = n;
    }
    let name = |v: Value| format!("%{}", number[v.index()]);
    let params: Vec<String> =
        func.params().iter().map(|&p| format!("{}: {}{}", name(p), func.ty(p), print_loc(&func.node(p).loc))).collect();
    let results = func.results();
    let types: Vec<String> = results.iter().map(|&r| func.ty(r).to_string()).collect();
    let types = if types.len() == 1 { types.concat() } else { format!("({})", types.join(", ")) };
    let _ = writeln!(out, "func {}({}) -> {types} {{", symbol(&func.name), params.join(", "));
    for v in nodes {
        let _ = writeln!(out, "  {}", line(func, v, consts, &name));
    }
    let results: Vec<String> = results.iter().map(|&r| name(r)).collect();
    let _ = writeln!(out, "{}", format!("  return {}", results.join(", ")).trim_end());
    out.push_str("}\n");
}

fn line<D: Dialect>(func: &Func<D>, value: Value, consts: &ConstPool, name: &dyn Fn(Value) -> String) -> String {
    let node = func.node(value);
    let constant = |id| {
        if consts.contains(id) { format!("@{}", consts.get(id).name) } else { id.to_string() }
    };
    let mut out = format!("{} = {}.{}", name(value), D::NAME, node.op.mnemonic());
    let operands: Vec<String> = node.operands.iter().map(|&o| name(o)).collect();
    if !operands.is_empty() {
        let _ = write!(out, " {}", operands.join(", "));
    }
    let attrs: Vec<String> =
        node.op.attrs().iter().map(|(key, a)| format!("{key} = {}", print_attr(a, &constant))).collect();
    if !attrs.is_empty() {
        let _ = write!(out, " {{{}}}", attrs.join(", "));
    }
    let _ = write!(out, " : {}{}", node.ty, print_loc(&node.loc));
    out
}

fn print_loc(loc: &Loc) -> String {
    loc.onnx.as_ref().map(|name| format!(" loc({})", quote(name))).unwrap_or_default()
}

fn symbol(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if plain { format!("@{name}") } else { format!("@{}", quote(name)) }
}
