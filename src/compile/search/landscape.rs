//! What plans are worth: the forms that activations may take, the time of plans with them, and how far they agree.

use std::collections::BTreeMap;

use fhec_ir::{Module, Nn, Value};
use fhec_passes::activations::{ApproximateError, Choices};
use fhec_passes::bootstraps::WeighedForm;
use fhec_passes::bootstraps::offer::{Decision, Offer};
use fhec_passes::planner::Limits;

use super::evolve::{Genome, Score};
use super::folder::Evaluated;
use crate::compile::Compiler;
use crate::compile::forms::{ActivationForm, fastest};
use crate::compile::trials::Trials;
use crate::error::Error;

/// An activation with its forms, those of larger errors first.
struct Site {
    /// In the network that forms are offered for.
    offered: Value,
    /// In the network that is tried.
    given: Value,
    /// Name of the node.
    node: String,
    forms: Vec<WeighedForm>,
}

/// All plans of a network.
pub(super) struct Landscape<'a> {
    compiler: &'a Compiler,
    offer: &'a Offer<'a>,
    sites: Vec<Site>,
    /// The number of every activation, by its value in the network that forms are offered for.
    numbers: BTreeMap<Value, usize>,
    trials: Trials<'a>,
}

impl<'a> Landscape<'a> {
    /// The plans of `folded` on offer; `given` says which of its values the offered ones are.
    pub(super) fn new(
        compiler: &'a Compiler,
        offer: &'a Offer<'a>,
        given: &BTreeMap<Value, Value>,
        folded: &Module<Nn>,
        trials: Trials<'a>,
    ) -> Self {
        let site = |(offered, forms): (Value, &[WeighedForm])| {
            let given = *given.get(&offered)?;
            let mut forms = forms.to_vec();
            forms.sort_by(|a, b| b.error.total_cmp(&a.error));
            Some(Site { offered, given, node: folded.func.node(given).loc.name().to_string(), forms })
        };
        let mut sites: Vec<Site> = offer.offered().into_iter().filter_map(site).collect();
        sites.sort_by_key(|site| site.given);
        let numbers = sites.iter().enumerate().map(|(number, site)| (site.offered, number)).collect();
        Self { compiler, offer, sites, numbers, trials }
    }

    /// How many forms every activation has.
    pub(super) fn forms(&self) -> Vec<usize> {
        self.sites.iter().map(|site| site.forms.len()).collect()
    }

    /// The forms of a plan of the planner.
    pub(super) fn genome(&self, choices: &Choices) -> Genome {
        let number = |site: &Site| {
            let chosen = choices.get(&site.offered);
            site.forms.iter().position(|form| Some(&form.choice) == chosen).unwrap_or(site.forms.len() - 1)
        };
        self.sites.iter().map(number).collect()
    }

    /// The forms as files and reports have them.
    pub(super) fn named(&self, genome: &Genome) -> Vec<ActivationForm> {
        let named = |(site, &number): (&Site, &usize)| {
            let choice = &site.forms[number].choice;
            ActivationForm { node: site.node.clone(), family: choice.family.clone(), degree: choice.degree }
        };
        self.sites.iter().zip(genome).map(named).collect()
    }

    /// What the answers of a search depend on beside its data: forms, their errors, and plans.
    pub(super) fn digest(&self, planned: &[Genome]) -> String {
        let mut hasher = blake3::Hasher::new();
        for form in self.sites.iter().flat_map(|site| &site.forms) {
            hasher.update(form.choice.family.as_bytes());
            hasher.update(&form.choice.degree.to_le_bytes());
            hasher.update(&form.error.to_le_bytes());
        }
        planned.iter().flatten().for_each(|number| {
            hasher.update(&number.to_le_bytes());
        });
        hasher.finalize().to_hex().to_string()
    }

    /// Prices and tries the plan with these forms; where it is to be `complete`, with finer ones that take no more time. `known`
    /// tells of plans that were tried. Nothing where levels run out.
    ///
    /// # Errors
    /// Polynomials that cannot be fitted.
    pub(super) fn evaluate(
        &self,
        asked: &Genome,
        complete: bool,
        known: impl Fn(&Genome) -> Option<Evaluated>,
    ) -> Result<Option<Evaluated>, Error> {
        let Some(mut plan) = self.planned(&fastest(), |own, form| form.choice == own.choice, asked) else {
            return Ok(None);
        };
        let mut genome = asked.clone();
        if complete {
            let time = plan.placed.placement.plan.latency_us;
            let limits = Limits { max_latency_us: Some(time), ..Limits::default() };
            let finer = self.planned(&limits, |own, form| form.error <= own.error, asked);
            genome = finer.map_or(genome, |finer| self.genome(&finer.choices));
            // The time of a plan is that of the fastest with its forms, which is what they are compiled to.
            if genome != *asked
                && let Some(own) = self.planned(&fastest(), |own, form| form.choice == own.choice, &genome)
            {
                plan = own;
            }
        }
        if let Some(known) = known(&genome) {
            return Ok(Some(known));
        }
        let given = |(site, &number): (&Site, &usize)| (site.given, site.forms[number].choice.clone());
        let (agreement, cautious) = match self.trials.measure(&self.sites.iter().zip(&genome).map(given).collect()) {
            // What runs away agrees with nothing.
            Err(Error::Approximate(ApproximateError::NotFinite { .. })) => (0.0, 0.0),
            measured => measured.map(|m| (m.agreement, m.cautious))?,
        };
        let placement = &plan.placed.placement;
        let seconds = placement.plan.latency_us / 1e6;
        tracing::debug!(seconds, agreement, cautious, "tried");
        Ok(Some(Evaluated {
            genome,
            score: Score { seconds, agreement, cautious },
            bootstraps: placement.plan.bootstraps.len(),
            levels: placement.spec.levels,
        }))
    }

    /// The best plan within limits of those forms that `admits` holds of, beside the form that `genome` has at the same site.
    fn planned(
        &self,
        limits: &Limits,
        admits: impl Fn(&WeighedForm, &WeighedForm) -> bool,
        genome: &Genome,
    ) -> Option<Decision> {
        let admitted = |v: Value, form: &WeighedForm| {
            let number = self.numbers.get(&v)?;
            Some(admits(&self.sites[*number].forms[genome[*number]], form))
        };
        self.offer.choose_among(&*self.compiler.engine, limits, |v, form| admitted(v, form).unwrap_or(true)).ok()
    }
}
