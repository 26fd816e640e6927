//! What skips cost, before anything is trained: each form is packed and planned exactly.

use std::convert::Infallible;

use fhec_ir::nn::{Basis, NnOp, TensorTy};
use fhec_ir::{F64, Module, Nn};
use serde::Serialize;

use super::{Block, SkipForm, convert};
use crate::bootstraps::{Candidates, Placer};
use crate::fold::Fold;
use crate::pack::Pack;
use crate::pass::{Pass, PassError};
use crate::pipeline::{MOST_SLOTS, PlanOptions};
use crate::planner::{Effort, Limits};
use crate::target::Target;

/// Levels of a polynomial of degree `degree`: a quadratic is a completed square.
pub fn levels_of(degree: usize) -> u32 {
    if degree <= 2 { 1 } else { (degree + 1).next_power_of_two().trailing_zeros() }
}

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SkipPrice {
    /// Ciphertexts that are bootstrapped.
    pub bootstraps: u32,
    /// Predicted seconds.
    pub seconds: f64,
    /// Levels of the parameters.
    pub levels: u32,
    /// At most this many times the time of the best plan; 1 when exact.
    pub bound: f64,
}

impl SkipPrice {
    /// Whether it is worth training for: fewer bootstraps, or less time by more than the planner resolves.
    fn gains_over(&self, other: &Self) -> bool {
        self.seconds < other.seconds
            && (self.bootstraps < other.bootstraps || self.seconds * (1.0 + Effort::default().epsilon) < other.seconds)
    }
}

/// The price of a network whose blocks all have one form, where they can.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FormPrice {
    /// The form.
    pub form: SkipForm,
    /// Blocks that have it.
    pub blocks: usize,
    /// The price.
    #[serde(flatten)]
    pub price: SkipPrice,
}

/// The prices of all forms with activations of one degree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthRow {
    /// The degree of all activations.
    pub degree: usize,
    /// Their levels.
    pub activation_levels: u32,
    /// The forms that the network can have.
    pub forms: Vec<FormPrice>,
}

/// What was decided about a join.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConvertedJoin {
    /// Name of the join.
    pub join: String,
    /// The form chosen.
    pub form: SkipForm,
    /// Bootstraps that the residual form of this join costs beside the forms chosen for all others.
    pub bootstraps: i64,
    /// Seconds likewise.
    pub seconds: f64,
}

/// Prices the forms of one network's skips.
pub struct SkipPricer<'a> {
    module: &'a Module<Nn>,
    blocks: &'a [Block],
    target: &'a dyn Target,
    options: &'a PlanOptions,
}

impl<'a> SkipPricer<'a> {
    /// Prices of `module`, whose residual blocks are `blocks`, on `target`.
    pub fn new(module: &'a Module<Nn>, blocks: &'a [Block], target: &'a dyn Target, options: &'a PlanOptions) -> Self {
        Self { module, blocks, target, options }
    }

    /// The price with one form per block, and polynomials of `degree` in place of activations.
    ///
    /// # Errors
    /// A network that has no encrypted form or cannot be planned, or a form that a block does not have.
    pub fn price(&self, forms: &[SkipForm], degree: usize) -> Result<SkipPrice, PassError> {
        let converted = convert(self.module, self.blocks, forms)?.module;
        let folded = Fold::default().run(&converted)?;
        let polynomial = with_polynomials(&folded, degree);
        let packed = Pack { cost: self.options.cost, ..Pack::new(MOST_SLOTS) }.pack(&polynomial)?;
        let placer = Placer::new(&packed, &Candidates::new(), self.target, 0)?;
        let placement = placer.place(&Limits::default())?;
        Ok(SkipPrice {
            bootstraps: placement.plan.bootstraps.iter().map(|b| b.width).sum(),
            seconds: placement.plan.latency_us / 1e6,
            levels: placement.spec.levels,
            bound: placement.plan.bound,
        })
    }

    /// As [`SkipPricer::price`] with one form for all blocks that have it.
    ///
    /// # Errors
    /// As [`SkipPricer::price`].
    pub fn uniform(&self, form: SkipForm, degree: usize) -> Result<FormPrice, PassError> {
        let forms = self.nearest(form);
        let blocks = forms.iter().filter(|f| **f == form).count();
        Ok(FormPrice { form, blocks, price: self.price(&forms, degree)? })
    }

    /// The prices of all forms, for activations of these degrees.
    ///
    /// # Errors
    /// As [`SkipPricer::price`].
    pub fn table(&self, degrees: &[usize]) -> Result<Vec<DepthRow>, PassError> {
        let row = |&degree: &usize| {
            let forms = self.forms().into_iter().map(|form| self.uniform(form, degree));
            let forms = forms.collect::<Result<Vec<_>, PassError>>()?;
            Ok(DepthRow { degree, activation_levels: levels_of(degree), forms })
        };
        degrees.iter().map(row).collect()
    }

    /// A form for every block: another one than the residual where that gains with activations of `degree`, and what
    /// the residual form of each join would cost.
    ///
    /// # Errors
    /// As [`SkipPricer::price`].
    pub fn automatic(&self, degree: usize) -> Result<Vec<ConvertedJoin>, PassError> {
        let residual = self.price(&self.nearest(SkipForm::Residual), degree)?;
        let (mut forms, mut best) = (self.nearest(SkipForm::Residual), residual);
        for form in self.forms().into_iter().filter(|form| *form != SkipForm::Residual) {
            let price = self.uniform(form, degree)?.price;
            if price.gains_over(&best) {
                (forms, best) = (self.nearest(form), price);
            }
        }
        // A join that costs nothing is kept: it trains better.
        let goal = best;
        for k in 0..forms.len() {
            if forms[k] == SkipForm::Residual {
                continue;
            }
            let mut kept = forms.clone();
            kept[k] = SkipForm::Residual;
            let price = self.price(&kept, degree)?;
            if !goal.gains_over(&price) {
                (forms, best) = (kept, price);
            }
        }
        (0..forms.len()).map(|k| self.cost(&forms, k, best, degree)).collect()
    }

    /// What the residual form of block `k` costs beside `forms`, whose price is `price`; of a block that has it, what
    /// it costs over the first other form that it can have.
    fn cost(&self, forms: &[SkipForm], k: usize, price: SkipPrice, degree: usize) -> Result<ConvertedJoin, PassError> {
        let mut others = forms.to_vec();
        let is_residual = forms[k] == SkipForm::Residual;
        let other = self.blocks[k].forms().into_iter().find(|f| *f != SkipForm::Residual);
        others[k] = if is_residual { other.unwrap_or(SkipForm::Residual) } else { SkipForm::Residual };
        let other = if others == forms { price } else { self.price(&others, degree)? };
        let (with, without) = if is_residual { (price, other) } else { (other, price) };
        Ok(ConvertedJoin {
            join: self.blocks[k].name.clone(),
            form: forms[k],
            bootstraps: i64::from(with.bootstraps) - i64::from(without.bootstraps),
            seconds: with.seconds - without.seconds,
        })
    }

    fn nearest(&self, form: SkipForm) -> Vec<SkipForm> {
        self.blocks.iter().map(|block| block.nearest(form)).collect()
    }

    /// The forms that some block can have.
    fn forms(&self) -> Vec<SkipForm> {
        SkipForm::ALL.into_iter().filter(|form| self.blocks.iter().any(|b| b.nearest(*form) == *form)).collect()
    }
}

/// The network with a polynomial of `degree` in place of every activation, of which the cost alone matters.
pub(crate) fn with_polynomials(module: &Module<Nn>, degree: usize) -> Module<Nn> {
    let Ok(made) = module.rebuild(|out, _, node, operands| {
        let op = match &node.op {
            NnOp::Activation { .. } => polynomial(&node.ty, degree),
            op => op.clone(),
        };
        Ok::<_, Infallible>(out.func.push_unchecked(op, operands, node.ty.clone(), node.loc.clone()))
    });
    made
}

/// Coefficients that no step of an evaluation can leave out; quadratics have one per channel.
fn polynomial(ty: &TensorTy, degree: usize) -> NnOp {
    let (basis, rows) = match ty.0.0.get(1) {
        Some(&channels) if degree == 2 => (Basis::Monomial, channels),
        _ if degree == 2 => (Basis::Monomial, 1),
        _ => (Basis::Chebyshev, 1),
    };
    let coeffs =
        (0..rows).flat_map(|row| (0..=degree).map(move |k| F64(1.0 / ((k + 1) as f64 + 0.5 / (row + 1) as f64))));
    NnOp::Polynomial { basis, lo: F64(-1.0), hi: F64(1.0), rows: rows as i64, coeffs: coeffs.collect() }
}
