//! What is asked of the planner so that its plans keep the limits of size and time.
//!
//! The planner prices tensors one by one and knows no bytes. What a plan of its comes to is seen once the network is lowered, for which
//! polynomials that were neither tried nor rebuilt do: sizes and times hardly depend on coefficients. So limits are narrowed before
//! anything is measured, and polynomials are chosen once.

use fhec_passes::PassError;
use fhec_passes::bootstraps::offer::{Decision, Offer};
use fhec_passes::planner::Limits;
use fhec_runtime::{Plan, Provenance};

use super::Compiler;
use super::sizes::Sizes;
use crate::error::Error;

impl Compiler {
    /// `offer` with as many levels at most, and `limits` as tight, as keep the plan that is chosen within the limits of size and time;
    /// the narrowest that have a plan where none is within.
    ///
    /// # Errors
    /// A plan that cannot be lowered: a defect.
    pub(super) fn narrowed<'a>(&self, mut offer: Offer<'a>, limits: &Limits) -> Result<(Offer<'a>, Limits), Error> {
        let mut limits = *limits;
        let most_time = self.options.limits.max_latency_us;
        if self.options.sizes == Sizes::default() && most_time.is_none() {
            return Ok((offer, limits));
        }
        let mut planned = (offer.most_levels(), limits);
        loop {
            let found = match self.options.limits == Limits::default() {
                true => self.asked_or_most_accurate(&offer, &limits).map(|(decision, _)| decision),
                false => self.asked(&offer, &limits, None),
            };
            let Ok(decision) = found else {
                return Ok((offer.with_most_levels(planned.0), planned.1));
            };
            planned = (offer.most_levels(), limits);
            let sketch = Plan::new(offer.sketch(&*self.engine, &decision)?, Provenance::default())?;
            if self.options.sizes.exceeded(&sketch).is_some() {
                offer = offer.with_most_levels(Some(sketch.spec().levels.saturating_sub(1)));
                continue;
            }
            let found = self.predicted_seconds(&sketch)? * 1e6;
            match most_time.filter(|&most| found > most) {
                Some(most) => {
                    // What the planner thinks of this plan is not enough for it either.
                    let thought = decision.placed.placement.plan.latency_us;
                    limits.max_latency_us = Some((thought * most / found).min(thought.next_down()));
                }
                None => return Ok((offer, limits)),
            }
        }
    }

    /// What the planner chooses, or where no plan is within `limits` the most accurate one; and whether it is that.
    pub(super) fn asked_or_most_accurate(
        &self,
        offer: &Offer<'_>,
        limits: &Limits,
    ) -> Result<(Decision, bool), PassError> {
        match self.asked(offer, limits, None) {
            Ok(found) => Ok((found, false)),
            Err(_) => Ok((self.asked(offer, &Limits::default(), None)?, true)),
        }
    }
}
