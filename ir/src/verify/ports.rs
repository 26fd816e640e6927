//! The verifier's rules for ports, which stand for the parameters and results of a function.

use super::{MAX_SLOTS, Report};
use crate::dialect::Dialect;
use crate::entity::Value;
use crate::func::Module;
use crate::io::{Layout, Port, ValueRange, batch};
use crate::nn::Nn;

/// One end of a module: what it is called, its ports, the values they stand for.
type End<'a> = (&'static str, &'a [Port], &'a [Value]);

fn ends<D: Dialect>(module: &Module<D>) -> Option<[End<'_>; 2]> {
    if module.inputs.is_empty() && module.outputs.is_empty() {
        return None;
    }
    let func = &module.func;
    Some([("input", &module.inputs, func.params()), ("output", &module.outputs, func.results())])
}

/// At every level a range is two numbers in order.
pub(super) fn ranges<D: Dialect>(module: &Module<D>, report: &mut Report<'_, D>) {
    for (kind, ports, _) in ends(module).into_iter().flatten() {
        for port in ports {
            if let Some(ValueRange { low, high }) = port.range.filter(|range| !range.is_ordered()) {
                report.module(format!("the range [{low}, {high}] of {kind} `{}` is no range", port.name));
            }
        }
    }
}

/// At `nn` a port is one tensor.
pub(super) fn tensors(module: &Module<Nn>, report: &mut Report<'_, Nn>) {
    for (kind, ports, values) in ends(module).into_iter().flatten() {
        if ports.len() != values.len() {
            report.module(format!("{} {kind}s are described, the function has {}", ports.len(), values.len()));
        }
        for (port, &value) in ports.iter().zip(values) {
            let ty = module.func.ty(value);
            if ty.0 != port.shape {
                report.module(format!("{kind} `{}` is described as {}, the function has {ty}", port.name, port.shape));
            }
            if port.layout.is_some() {
                report.module(format!("{kind} `{}` has a layout, but tensors have none", port.name));
            }
            if !port.heads.is_empty() {
                report.module(format!("{kind} `{}` has heads, but a network computes them itself", port.name));
            }
        }
    }
}

/// Most ciphertexts that the ports of one end span.
const MAX_CIPHERTEXTS: usize = 1 << 12;

/// Most dimensions of a port, and most digits of a layout.
const MAX_TERMS: usize = 64;

/// The largest exponent of a layout: single precision, which elements are of, has no more.
const MAX_EXPONENT: u32 = 127;

/// Most heads of a port.
const MAX_HEADS: usize = 64;

/// Most terms of addresses of all ports: elements times digits. What computes them takes well below a second.
const MAX_ADDRESSING: usize = 1 << 26;

/// The ports of one end with the number of ciphertexts that they must span.
pub type Spanned<'a> = (&'static str, &'a [Port], usize);

/// Below `nn` a port is as many ciphertexts as its layout says. `n` is the number of slots, where known. Returns the
/// number of slots the layouts agree on.
pub(super) fn layouts<D: Dialect>(module: &Module<D>, n: Option<usize>, report: &mut Report<'_, D>) -> Option<usize> {
    let spanned = ends(module).map(|ends| ends.map(|(kind, ports, values)| (kind, ports, values.len())));
    match check_ports(spanned.as_ref().map_or(&[], |ends| ends), n) {
        Ok(n) => n,
        Err(problems) => {
            problems.into_iter().for_each(|problem| report.module(problem));
            None
        }
    }
}

/// Checks that every port has a layout that holds its elements, each at an address of its own, that the layouts of an end span
/// as many ciphertexts as it has, that all agree on `n` slots, and that heads fit their outputs. Returns that number, where there is a port.
///
/// # Errors
/// What does not fit; at least one sentence.
pub fn check_ports(ends: &[Spanned<'_>], n: Option<usize>) -> Result<Option<usize>, Vec<String>> {
    let (mut n, mut terms, mut problems) = (n, 0usize, Vec::new());
    let images = batch(ends.iter().flat_map(|(_, ports, _)| *ports));
    for &(kind, ports, ciphertexts) in ends {
        if ports.len().max(ciphertexts) > MAX_CIPHERTEXTS {
            let count = ports.len().max(ciphertexts);
            problems.push(format!("{count} {kind}s are more than the {MAX_CIPHERTEXTS} that a program may have"));
            continue;
        }
        let mut spanned = 0usize;
        for port in ports {
            let Some(layout) = &port.layout else {
                problems.push(format!("{kind} `{}` has no layout", port.name));
                continue;
            };
            spanned = spanned.saturating_add(layout.ciphertexts);
            let expected = *n.get_or_insert(layout.slots);
            let problem = if layout.slots != expected {
                Some(format!("its ciphertexts have {} slots, others have {expected}", layout.slots))
            } else if layout.ciphertexts > ciphertexts {
                Some(format!("it spans {} ciphertexts, the function has {ciphertexts}", layout.ciphertexts))
            } else {
                fit(layout, port, &mut terms).err()
            };
            if problem.is_none() {
                problems.extend(heads(kind, port, images).err());
            }
            if let Some(problem) = problem {
                problems.push(format!("layout of {kind} `{}`: {problem}", port.name));
            }
        }
        if spanned != ciphertexts {
            problems.push(format!("the {kind}s described span {spanned} ciphertexts, the function has {ciphertexts}"));
        }
    }
    if problems.is_empty() { Ok(n) } else { Err(problems) }
}

/// Heads are of outputs alone, and each fits the shape of one image that those before it make.
fn heads(kind: &str, port: &Port, images: usize) -> Result<(), String> {
    let (name, count) = (&port.name, port.heads.len());
    if kind != "output" && count > 0 {
        return Err(format!("{kind} `{name}` has heads, which only an output can have"));
    }
    if count > MAX_HEADS {
        return Err(format!("{kind} `{name}` has {count} heads, more than the {MAX_HEADS} that it may have"));
    }
    port.image(images).headed().map(drop).map_err(|e| format!("a head of {kind} `{name}` does not fit: {e}"))
}

/// Every element has an address of its own within the period. `terms` counts what computing the addresses takes.
fn fit(layout: &Layout, port: &Port, terms: &mut usize) -> Result<(), String> {
    let Layout { slots, ciphertexts, period, ref digits, exponent, .. } = *layout;
    if exponent.unsigned_abs() > MAX_EXPONENT {
        return Err(format!("a slot of 1 stands for 2^{exponent}, of 2^±{MAX_EXPONENT} at most"));
    }
    if !slots.is_power_of_two() || slots > MAX_SLOTS {
        return Err(format!("{slots} slots are not a power of two of at most {MAX_SLOTS}"));
    }
    if !period.is_power_of_two() || period > slots {
        return Err(format!("the period {period} is not a power of two of at most {slots}"));
    }
    let rank = port.shape.rank();
    if rank.max(digits.len()) > MAX_TERMS {
        return Err(format!("{rank} dimensions and {} digits, of at most {MAX_TERMS}", digits.len()));
    }
    let room = slots.saturating_mul(ciphertexts);
    let capacity = period.saturating_mul(ciphertexts);
    if port.shape.checked_len().is_none_or(|len| len > capacity) {
        return Err(format!("{ciphertexts} x {period} slots are too few for {}", port.shape));
    }
    *terms = terms.saturating_add(room.saturating_mul(digits.len() + 1));
    if *terms > MAX_ADDRESSING {
        return Err(format!("{ciphertexts} x {slots} slots, {} digits: too much with the ports before", digits.len()));
    }
    if let Some(d) = digits.iter().find(|d| d.dim >= port.shape.rank() || d.divisor == 0 || d.size == 0) {
        return Err(format!("a digit of dimension {} does not fit {}", d.dim, port.shape));
    }
    // Bounds every address before any is computed, so that hostile strides cannot overflow.
    if layout.reach(&port.shape).is_none_or(|reach| reach >= 2 * room) {
        return Err(format!("addresses go beyond its {room} slots"));
    }
    let mut taken = vec![false; room];
    for address in layout.addresses(&port.shape) {
        if address >= room || address % slots >= period {
            return Err(format!("address {address} lies beyond its {room} slots or their period"));
        }
        if std::mem::replace(&mut taken[address], true) {
            return Err(format!("two elements share the address {address}"));
        }
    }
    Ok(())
}
