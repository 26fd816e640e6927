//! Levels, and the `ckks` ops.

use std::collections::BTreeMap;

use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, ConstId, ConstPool, Issue, Loc, Module, OpInfo, Slot, Value};

use super::expr::{Addend, Expr, ExprProgram, Id, Plain, Sum};

/// The level each live expression must have: the least at which everything that reads it still reaches `lowest` at the
/// results. Everything is computed at exactly that level, since every op is cheaper the lower it is. What is bootstrapped
/// comes from level 0, where that costs least.
pub(super) fn levels(program: &ExprProgram, lowest: u32) -> Vec<Option<u32>> {
    let mut levels: Vec<Option<u32>> = vec![None; program.exprs.len()];
    program.results.iter().for_each(|&r| levels[r] = Some(lowest));
    for id in (0..program.exprs.len()).rev() {
        let Some(level) = levels[id] else { continue };
        for (operand, below) in program.exprs[id].0.operands() {
            levels[operand] = levels[operand].max(Some(below.map_or(0, |below| level + below)));
        }
    }
    levels
}

/// Raises what bootstraps give to the highest level of all; what reads it stays where it is.
pub(super) fn raise_bootstraps(program: &ExprProgram, levels: &mut [Option<u32>]) {
    let top = levels.iter().copied().max().flatten();
    for ((expr, _), level) in program.exprs.iter().zip(levels) {
        if matches!(expr, Expr::Refresh(_)) && level.is_some() {
            *level = top;
        }
    }
}

/// Takes addends that lie above the sum they are added to into the sum, where bringing them to its level costs no rescale of
/// their own. Levels stay as they are.
pub(super) fn absorb(program: &mut ExprProgram, levels: &[Option<u32>]) {
    let uses = program.uses();
    for id in 0..program.exprs.len() {
        let (Some(level), Expr::Add(a, b)) = (levels[id], &program.exprs[id].0) else { continue };
        for (x, other) in [(*a, *b), (*b, *a)] {
            let higher = levels[other] > Some(level);
            if let Expr::Sum(sum) = &program.exprs[x].0
                && uses[x] == 1
                && higher
            {
                let mut sum = sum.clone();
                sum.plains.push((Plain::Scalar(fhec_ir::attr::F64(1.0)), other));
                program.exprs[id].0 = Expr::Sum(sum);
                break;
            }
        }
    }
}

/// The module under construction.
struct OpEmitter<'a> {
    out: Module<Ckks>,
    /// Constants of the slot module and of its polynomials, and those taken over so far.
    from: &'a ConstPool,
    taken: BTreeMap<ConstId, ConstId>,
    /// Value and level of every expression computed.
    values: Vec<Option<(Value, u32)>>,
    dropped: BTreeMap<(Id, u32), Value>,
}

type Result<T> = std::result::Result<T, Issue>;

/// The `ckks` module of a program whose expressions have the given levels.
pub(super) fn emit(
    module: &Module<Slot>,
    program: &ExprProgram,
    levels: &[Option<u32>],
    consts: &ConstPool,
) -> Result<Module<Ckks>> {
    let mut out = Module::new(module.func.name.clone());
    out.inputs = module.inputs.clone();
    out.outputs = module.outputs.clone();
    let mut e = OpEmitter {
        out,
        from: consts,
        taken: BTreeMap::new(),
        values: vec![None; program.exprs.len()],
        dropped: BTreeMap::new(),
    };
    // Parameters first, in order; one that nothing reads is at level 0.
    for (index, &param) in module.func.params().iter().enumerate() {
        let id = program.exprs.iter().position(|(expr, _)| *expr == Expr::Input(index));
        let level = id.and_then(|id| levels[id]).unwrap_or(0);
        let value = e.out.func.add_param(CtTy::at(level), module.func.node(param).loc.clone());
        if let Some(id) = id {
            e.values[id] = Some((value, level));
        }
    }
    let uses = program.uses();
    for (id, (expr, loc)) in program.exprs.iter().enumerate() {
        let Some(level) = levels[id].filter(|_| uses[id] > 0) else { continue };
        let value = match expr {
            Expr::Input(_) => continue,
            Expr::Sum(sum) => e.sum(sum, level, loc)?,
            Expr::Add(a, b) => {
                let operands = [e.at(*a, level, loc)?, e.at(*b, level, loc)?];
                e.push(CkksOp::Add {}, &operands, loc)?
            }
            Expr::Sub(a, b) => {
                let operands = [e.at(*a, level, loc)?, e.at(*b, level, loc)?];
                e.push(CkksOp::Sub {}, &operands, loc)?
            }
            Expr::MulInt(x, by) => {
                let x = e.at(*x, level, loc)?;
                e.times(x, *by, loc)?
            }
            Expr::AddPlain(x, addend) => {
                let x = e.at(*x, level, loc)?;
                e.plus(x, addend, loc)?
            }
            Expr::Rotate(x, by) => {
                let x = e.at(*x, level, loc)?;
                e.push(CkksOp::Rotate { by: *by }, &[x], loc)?
            }
            Expr::Refresh(x) => {
                let x = e.at(*x, 0, loc)?;
                e.push(CkksOp::Bootstrap { to: level }, &[x], loc)?
            }
        };
        e.values[id] = Some((value, level));
    }
    let results: Vec<Value> =
        program.results.iter().map(|&r| e.at(r, levels[r].unwrap_or(0), &program.exprs[r].1)).collect::<Result<_>>()?;
    e.out.func.set_results(results);
    Ok(e.out)
}

impl OpEmitter<'_> {
    /// The constant in the new module.
    fn constant(&mut self, id: ConstId) -> ConstId {
        let Self { out, from, taken, .. } = self;
        *taken.entry(id).or_insert_with(|| {
            let c = from.get(id);
            out.consts.insert(&c.name, c)
        })
    }

    fn push(&mut self, op: CkksOp, operands: &[Value], loc: &Loc) -> Result<Value> {
        let name = op.mnemonic();
        self.out
            .push(op, operands.iter().copied(), loc.clone())
            .map_err(|e| Issue::new(loc, name, format!("lowering made an ill-typed op: {e}"), "report this as a bug"))
    }

    /// The value of `id` at `level`, dropped there once.
    fn at(&mut self, id: Id, level: u32, loc: &Loc) -> Result<Value> {
        let Some((value, have)) = self.values[id] else {
            return Err(Issue::new(loc, "lower", "a value is read before it is computed", "report this as a bug"));
        };
        if have == level {
            return Ok(value);
        }
        if let Some(&value) = self.dropped.get(&(id, level)) {
            return Ok(value);
        }
        let dropped = self.push(CkksOp::LevelDrop { to: level }, &[value], loc)?;
        self.dropped.insert((id, level), dropped);
        Ok(dropped)
    }

    fn times(&mut self, x: Value, by: i64, loc: &Loc) -> Result<Value> {
        match by {
            1 => Ok(x),
            -1 => self.push(CkksOp::Neg {}, &[x], loc),
            by => self.push(CkksOp::MulInt { by }, &[x], loc),
        }
    }

    fn plus(&mut self, x: Value, addend: &Addend, loc: &Loc) -> Result<Value> {
        let op = match addend {
            Addend::Scalar(value) => CkksOp::AddScalar { value: *value },
            Addend::Vector(value) => CkksOp::AddPlain { value: self.constant(*value) },
        };
        self.push(op, &[x], loc)
    }

    fn add(&mut self, sum: Option<Value>, x: Value, loc: &Loc) -> Result<Option<Value>> {
        Ok(Some(match sum {
            Some(sum) => self.push(CkksOp::Add {}, &[sum, x], loc)?,
            None => x,
        }))
    }

    /// Products at `level + 1`, summed; one relinearisation, one rescale, then what is added in the clear.
    fn sum(&mut self, sum: &Sum, level: u32, loc: &Loc) -> Result<Value> {
        let at = level + 1;
        let mut total = None;
        // Products with the same factor are summed before it is applied.
        let mut factors: Vec<i64> = Vec::new();
        for &(_, _, factor) in &sum.products {
            if !factors.contains(&factor) {
                factors.push(factor);
            }
        }
        for factor in factors {
            let mut part = None;
            for &(a, b, _) in sum.products.iter().filter(|p| p.2 == factor) {
                let operands = [self.at(a, at, loc)?, self.at(b, at, loc)?];
                let product = self.push(CkksOp::Mul {}, &operands, loc)?;
                part = self.add(part, product, loc)?;
            }
            if let Some(part) = part {
                let part = self.times(part, factor, loc)?;
                total = self.add(total, part, loc)?;
            }
        }
        if let Some(three) = total {
            total = Some(self.push(CkksOp::Relinearize {}, &[three], loc)?);
        }
        for (plain, x) in &sum.plains {
            let Some((x, _)) = self.values[*x] else {
                return Err(Issue::new(loc, "lower", "a value is read before it is computed", "report this as a bug"));
            };
            let op = match plain {
                Plain::Scalar(value) => CkksOp::MulScalar { value: *value, at },
                Plain::Vector(value) => CkksOp::MulPlain { value: self.constant(*value), at },
                Plain::Linear { rotations, giants, diagonals } => CkksOp::Linear {
                    rotations: rotations.clone(),
                    giants: giants.clone(),
                    diagonals: self.constant(*diagonals),
                    at,
                },
            };
            let product = self.push(op, &[x], loc)?;
            total = self.add(total, product, loc)?;
        }
        let Some(total) = total else {
            return Err(Issue::new(loc, "lower", "an empty sum", "report this as a bug"));
        };
        let mut value = self.push(CkksOp::Rescale {}, &[total], loc)?;
        for addend in &sum.addends {
            value = self.plus(value, addend, loc)?;
        }
        Ok(value)
    }
}
