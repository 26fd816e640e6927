//! The report that a plan carries, and where the plan comes from.

use std::collections::BTreeMap;

use fhec_passes::activations::rebuild::LayerGain;
use fhec_passes::activations::{ApproximateOptions, Replacement};
use fhec_passes::approx::Margin;
use fhec_passes::bootstraps::Placement;
use fhec_runtime::Provenance;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Agreement, Compiler, Model};
use crate::accuracy::Accuracy;
use crate::front::FrontPoint;

/// How good the network with polynomials is, as far as there are inputs to measure it on.
#[derive(Serialize)]
pub(super) struct Measured {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agreement: Option<Agreement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accuracy: Option<Accuracy>,
}

/// What the passes did.
#[derive(Serialize)]
pub(super) struct PassReport<'a> {
    activations: &'a [Replacement],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    layers: &'a [LayerGain],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bootstraps: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joins: Vec<Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", rename = "pareto")]
    front: &'a [FrontPoint],
    #[serde(flatten)]
    measured: Measured,
    notes: &'a [String],
    warnings: &'a [String],
}

impl<'a> PassReport<'a> {
    pub(super) fn new(
        activations: &'a [Replacement],
        layers: &'a [LayerGain],
        placement: Option<&Placement>,
        front: &'a [FrontPoint],
        measured: Measured,
        notes: &'a [String],
        warnings: &'a [String],
    ) -> Self {
        let placed = placement.map(|p| &p.plan);
        let bootstraps = placed.iter().flat_map(|p| &p.bootstraps);
        let bootstraps = bootstraps
            .map(|b| json!({"node": b.place.to_string(), "from": b.from, "to": b.to, "seconds": b.us / 1e6}))
            .collect();
        let joins = placed.iter().flat_map(|p| &p.joins);
        let joins = joins
            .map(|j| {
                let (main, skip) = (j.main.arrives, j.skip.arrives);
                let (node, level, paid) = (&j.residual, j.level, j.paid());
                json!({"node": node, "main": main, "skip": skip, "level": level, "paid": paid})
            })
            .collect();
        Self { activations, layers, bootstraps, joins, front, measured, notes, warnings }
    }
}

impl Compiler {
    /// Where a plan of `model` comes from, whose activations were fitted on `samples` inputs with this margin, and have polynomials
    /// that were `chosen` one by one or are all of the degree that the options say.
    pub(super) fn provenance(
        &self,
        model: &Model,
        samples: usize,
        margin: Margin,
        chosen: bool,
        report: &PassReport<'_>,
    ) -> Provenance {
        let calibrated = if self.calibration.is_some() { samples.to_string() } else { "synthetic".into() };
        let ApproximateOptions { default, families, .. } = &self.options.approximate;
        let stages = families.get(&default.family).map_or(vec![default.degree], |f| f.stages(default.degree));
        let degrees = match (&self.options.forms, chosen) {
            (Some(_), _) => "of --forms".into(),
            (None, true) => "chosen for each activation".into(),
            (None, false) => stages.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        };
        let precision = self.options.precision.unwrap_or(self.options.plan.params.precision.bits());
        let mut options = BTreeMap::from([
            ("degree".to_string(), degrees),
            ("margin".to_string(), margin.to_string()),
            ("calibration".to_string(), calibrated),
            ("batch".to_string(), self.options.plan.batch.to_string()),
            ("precision_bits".to_string(), precision.to_string()),
        ]);
        let passes = self.passes.names().collect::<Vec<_>>().join(",");
        if !passes.is_empty() {
            options.insert("passes".into(), passes);
        }
        Provenance {
            fhec: env!("CARGO_PKG_VERSION").into(),
            model: model.module.func.name.clone(),
            model_digest: model.digest.clone(),
            options,
            report: Some(json!(report)),
        }
    }
}
