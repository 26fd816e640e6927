//! Ports stand for the parameters and results.

use super::{MAX_SLOTS, Report};
use crate::dialect::Dialect;
use crate::entity::Value;
use crate::func::Module;
use crate::io::{Layout, Port, ValueRange};
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
            let right = |r: &ValueRange| r.low.0.is_finite() && r.high.0.is_finite() && r.low.0 <= r.high.0;
            if let Some(ValueRange { low, high }) = port.range.filter(|r| !right(r)) {
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
        }
    }
}

/// Below `nn` a port is as many ciphertexts as its layout says. `n` is the number of slots, where known. Returns the
/// number of slots the layouts agree on.
pub(super) fn layouts<D: Dialect>(module: &Module<D>, n: Option<usize>, report: &mut Report<'_, D>) -> Option<usize> {
    let mut n = n;
    for (kind, ports, values) in ends(module).into_iter().flatten() {
        let mut spanned = 0usize;
        for port in ports {
            let Some(layout) = &port.layout else {
                report.module(format!("{kind} `{}` has no layout", port.name));
                continue;
            };
            spanned = spanned.saturating_add(layout.ciphertexts);
            let expected = *n.get_or_insert(layout.slots);
            let problem = if layout.slots != expected {
                Some(format!("its ciphertexts have {} slots, others have {expected}", layout.slots))
            } else if layout.ciphertexts > values.len() {
                Some(format!("it spans {} ciphertexts, the function has {}", layout.ciphertexts, values.len()))
            } else {
                fit(layout, port).err()
            };
            if let Some(problem) = problem {
                report.module(format!("layout of {kind} `{}`: {problem}", port.name));
            }
        }
        if spanned != values.len() {
            report
                .module(format!("the {kind}s described span {spanned} ciphertexts, the function has {}", values.len()));
        }
    }
    n
}

/// Every element has an address of its own within the period.
fn fit(layout: &Layout, port: &Port) -> Result<(), String> {
    let Layout { slots, ciphertexts, period, ref digits, .. } = *layout;
    if !slots.is_power_of_two() || slots > MAX_SLOTS {
        return Err(format!("{slots} slots are not a power of two of at most {MAX_SLOTS}"));
    }
    if !period.is_power_of_two() || period > slots {
        return Err(format!("the period {period} is not a power of two of at most {slots}"));
    }
    let room = slots.saturating_mul(ciphertexts);
    let capacity = period.saturating_mul(ciphertexts);
    if port.shape.checked_len().is_none_or(|len| len > capacity) {
        return Err(format!("{ciphertexts} x {period} slots are too few for {}", port.shape));
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
