//! The program between `slot` and `ckks`: sums of products, each of which spends one level.

use std::collections::HashMap;

use fhec_ir::attr::F64;
use fhec_ir::slot::SlotOp;
use fhec_ir::{ConstId, Entity, Issue, Loc, Module, OpInfo, Slot, Value};

use super::polynomial;

/// Index of an [`Expr`].
pub(super) type Id = usize;

/// A plaintext factor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Plain {
    Scalar(F64),
    Vector(ConstId),
    Linear { rotations: Vec<i64>, giants: Vec<i64>, diagonals: ConstId },
}

/// A plaintext addend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Addend {
    Scalar(F64),
    Vector(ConstId),
}

/// Σ factor · left · right + Σ plain · value, relinearised once and rescaled once, + addends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    pub(super) products: Vec<(Id, Id, i64)>,
    pub(super) plains: Vec<(Plain, Id)>,
    pub(super) addends: Vec<Addend>,
}

/// A value. Only a [`Sum`] spends a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Expr {
    Input(usize),
    Sum(Sum),
    Add(Id, Id),
    Sub(Id, Id),
    MulInt(Id, i64),
    AddPlain(Id, Addend),
    Rotate(Id, i64),
    /// A bootstrap: its operand may be at any level.
    Refresh(Id),
}

impl Expr {
    /// The values it reads, each with the levels the result lies below it; a refreshed one may lie anywhere.
    pub(super) fn operands(&self) -> Vec<(Id, Option<u32>)> {
        match self {
            Self::Input(_) => Vec::new(),
            Self::Refresh(x) => vec![(*x, None)],
            Self::Sum(s) => {
                let products = s.products.iter().flat_map(|&(a, b, _)| [a, b]);
                products.chain(s.plains.iter().map(|p| p.1)).map(|id| (id, Some(1))).collect()
            }
            Self::Add(a, b) | Self::Sub(a, b) => vec![(*a, Some(0)), (*b, Some(0))],
            Self::MulInt(x, _) | Self::AddPlain(x, _) | Self::Rotate(x, _) => vec![(*x, Some(0))],
        }
    }
}

/// Expressions in definition order, each with its origin.
#[derive(Default)]
pub(super) struct ExprProgram {
    pub(super) exprs: Vec<(Expr, Loc)>,
    known: HashMap<Expr, Id>,
    pub(super) results: Vec<Id>,
}

impl ExprProgram {
    /// The expression, made or found.
    pub(super) fn push(&mut self, expr: Expr, loc: &Loc) -> Id {
        if let Some(&id) = self.known.get(&expr) {
            return id;
        }
        let id = self.exprs.len();
        self.known.insert(expr.clone(), id);
        self.exprs.push((expr, loc.clone()));
        id
    }

    /// How often each expression is read by live ones and results.
    pub(super) fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.exprs.len()];
        self.results.iter().for_each(|&r| uses[r] += 1);
        for id in (0..self.exprs.len()).rev() {
            if uses[id] > 0 {
                self.exprs[id].0.operands().iter().for_each(|&(o, _)| uses[o] += 1);
            }
        }
        uses
    }

    /// The sum behind `id`, when nothing but the expression being built would read it.
    fn own_sum(&self, id: Id, uses: u32) -> Option<&Sum> {
        match &self.exprs[id].0 {
            Expr::Sum(s) if uses == 1 => Some(s),
            _ => None,
        }
    }

    /// Reads a slot module. `consts` receives the vectors that polynomials need.
    pub(super) fn read(module: &Module<Slot>, consts: &mut fhec_ir::ConstPool) -> Result<Self, Issue> {
        let func = &module.func;
        let live = func.live();
        let mut slot_uses = vec![0; func.len()];
        for (_, node) in func.iter().filter(|(v, _)| live[v.index()]) {
            node.operands.iter().for_each(|o| slot_uses[o.index()] += 1);
        }
        func.results().iter().for_each(|r| slot_uses[r.index()] += 1);
        let mut p = Self::default();
        let mut ids: Vec<Option<Id>> = vec![None; func.len()];
        for (v, node) in func.iter().filter(|(v, _)| live[v.index()]) {
            let loc = &node.loc;
            let (x, y) = (node.operands.first().copied(), node.operands.get(1).copied());
            let id = |v: Option<Value>| v.and_then(|v| ids[v.index()]).unwrap_or(0);
            let uses = |v: Option<Value>| v.map_or(0, |v| slot_uses[v.index()]);
            let plain = |p: &mut Self, plain: Plain, x: Id| {
                p.push(Expr::Sum(Sum { plains: vec![(plain, x)], ..Sum::default() }), loc)
            };
            let made = match &node.op {
                SlotOp::Input { index } => p.push(Expr::Input(*index as usize), loc),
                SlotOp::Add {} => match (p.own_sum(id(x), uses(x)), p.own_sum(id(y), uses(y))) {
                    (Some(a), Some(b)) => {
                        let sum = Sum {
                            products: a.products.iter().chain(&b.products).copied().collect(),
                            plains: a.plains.iter().chain(&b.plains).cloned().collect(),
                            addends: a.addends.iter().chain(&b.addends).cloned().collect(),
                        };
                        p.push(Expr::Sum(sum), loc)
                    }
                    _ => p.push(Expr::Add(id(x), id(y)), loc),
                },
                SlotOp::Sub {} => p.push(Expr::Sub(id(x), id(y)), loc),
                SlotOp::Neg {} => p.push(Expr::MulInt(id(x), -1), loc),
                SlotOp::Refresh {} => p.push(Expr::Refresh(id(x)), loc),
                SlotOp::Mul {} => p.push(Expr::Sum(Sum { products: vec![(id(x), id(y), 1)], ..Sum::default() }), loc),
                SlotOp::AddPlain { value } => p.add_plain(id(x), uses(x), Addend::Vector(*value), loc),
                SlotOp::AddScalar { value } => p.add_plain(id(x), uses(x), Addend::Scalar(*value), loc),
                SlotOp::MulPlain { value } => plain(&mut p, Plain::Vector(*value), id(x)),
                SlotOp::MulScalar { value } => match small_integer(value.0) {
                    Some(1) => id(x),
                    Some(by) => p.push(Expr::MulInt(id(x), by), loc),
                    None => plain(&mut p, Plain::Scalar(*value), id(x)),
                },
                SlotOp::Rotate { by } => {
                    let n = node.ty.0 as i64;
                    match by.rem_euclid(n) {
                        0 => id(x),
                        _ => p.push(Expr::Rotate(id(x), *by), loc),
                    }
                }
                SlotOp::Linear { rotations, giants, diagonals } => {
                    let (rotations, giants) = (rotations.clone(), giants.clone());
                    plain(&mut p, Plain::Linear { rotations, giants, diagonals: *diagonals }, id(x))
                }
                SlotOp::Polynomial { basis, lo, hi, coeffs, vectors } => {
                    let what = polynomial::What { basis: *basis, lo: lo.0, hi: hi.0, coeffs, vectors: *vectors };
                    polynomial::expand(&mut p, consts, id(x), node.ty.0, &what, loc)
                        .map_err(|e| Issue::new(loc, node.op.mnemonic(), e, "fit the polynomial again"))?
                }
            };
            ids[v.index()] = Some(made);
        }
        p.results = func.results().iter().filter_map(|r| ids[r.index()]).collect();
        Ok(p)
    }

    pub(super) fn add_plain(&mut self, x: Id, uses: u32, addend: Addend, loc: &Loc) -> Id {
        match self.own_sum(x, uses).cloned() {
            Some(mut sum) => {
                sum.addends.push(addend);
                self.push(Expr::Sum(sum), loc)
            }
            None => self.push(Expr::AddPlain(x, addend), loc),
        }
    }
}

/// The factor as an integer that a ciphertext is multiplied by without spending a level: a small one, or a power of two.
pub(crate) fn small_integer(x: f64) -> Option<i64> {
    const LARGEST: f64 = 16.0;
    const LARGEST_POWER: f64 = (1u64 << 30) as f64;
    let is_power = (1.0..=LARGEST_POWER).contains(&x) && (x as u64).is_power_of_two();
    (x != 0.0 && x.fract() == 0.0 && (x.abs() <= LARGEST || is_power)).then_some(x as i64)
}
