//! Quantised networks under TFHE, beside CKKS: the same model and the same steps, another plan.
//!
//! | step | by |
//! |---|---|
//! | compile | [`compile`], with calibration data |
//! | make keys, encrypt, decrypt | [`Client`] |
//! | evaluate | [`Server`] |
//! | in the clear | [`Program::run`](fhec_tfhe::integer::Program::run) of [`Plan::program`]: the very integers of the encrypted run |

use std::path::Path;

#[cfg(feature = "client")]
pub use fhec_tfhe::Client;
pub use fhec_tfhe::{ClientPlan, Content, Encrypted, EvaluationKeys, ParameterSet, Plan, SETS, Server, TfheError};

#[cfg(feature = "compiler")]
pub use compile::{CompileOptions, Compiled, compile};

/// Whether the file of this path is a plan, or a client plan, for TFHE. What comes through a pipe is not looked at.
pub fn is_plan(path: &Path) -> bool {
    let kind = |path| fhec_container::Reader::open(path).map(|reader| reader.kind().to_string());
    path.is_file() && kind(path).is_ok_and(|kind| [fhec_tfhe::PLAN_KIND, fhec_tfhe::CLIENT_PLAN_KIND].contains(&&*kind))
}

#[cfg(feature = "compiler")]
mod compile {
    use fhec_ir::Tensor;
    use fhec_passes::compose::ComposeFunctions;
    use fhec_passes::fold::Fold;
    use fhec_passes::quantise::{Capacity, Quantised, QuantisedLayer, Room, quantise};
    use fhec_tfhe::{ParameterSet, Plan};
    use serde::Serialize;

    use crate::{Error, Model};

    /// What the compiler is told.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct CompileOptions {
        /// Bits of the message space; without, the fewest that are enough for the agreement asked for.
        pub message_bits: Option<u32>,
        /// Share of held-back calibration inputs on which the class is to be that of the network as it was given; 0.95 by default.
        pub min_agreement: Option<f64>,
    }

    /// A plan and what is known of it.
    #[derive(Debug)]
    pub struct Compiled {
        /// The plan.
        pub plan: Plan,
        /// Its layers and outputs.
        pub layers: Vec<QuantisedLayer>,
        /// Share of held-back calibration inputs on which the class is that of the network as it was given.
        pub agreement: f64,
        /// Held-back inputs.
        pub held_back: usize,
        /// Remarks.
        pub notes: Vec<String>,
        /// What the user should know.
        pub warnings: Vec<String>,
    }

    /// What a plan says of its origin.
    #[derive(Serialize)]
    struct Provenance<'a> {
        compiled_by: &'static str,
        model_digest: &'a str,
        agreement: f64,
        held_back: usize,
        layers: &'a [QuantisedLayer],
    }

    /// Message spaces that are tried, and that take seconds per image; 8 bits take minutes and gigabytes, and are taken on demand.
    const TRIED: [u32; 2] = [4, 6];
    /// The agreement asked for by default.
    const DEFAULT_AGREEMENT: f64 = 0.95;

    /// Quantises and compiles a model by calibration on `samples`, one set of input tensors each.
    ///
    /// # Errors
    /// Nodes that have no form as sums and tables, a layer that does not fit the message space, and an agreement that is not reached.
    pub fn compile(model: &Model, samples: &[Vec<Tensor>], options: CompileOptions) -> Result<Compiled, Error> {
        let folded = Fold::default().fold(&model.module)?;
        let composed = ComposeFunctions.compose(&folded.module)?;
        let asked = options.min_agreement.unwrap_or(DEFAULT_AGREEMENT);
        let tried = options.message_bits.map_or(TRIED.to_vec(), |bits| vec![bits]);
        let mut best: Option<(u32, Quantised)> = None;
        let mut failed = None;
        for bits in tried {
            match quantise(&composed.module, samples, &capacity(ParameterSet::of_bits(bits)?)) {
                Ok(quantised) => {
                    let better = best.as_ref().is_none_or(|(_, before)| quantised.agreement > before.agreement);
                    best = if better { Some((bits, quantised)) } else { best };
                }
                Err(e) => failed = Some(e),
            }
            if best.as_ref().is_some_and(|(_, quantised)| quantised.agreement >= asked) {
                break;
            }
        }
        let (bits, quantised) = match (best, failed) {
            (Some(best), _) => best,
            (None, Some(e)) => return Err(e.into()),
            (None, None) => unreachable!("at least one message space is tried"),
        };
        let Quantised { program, layers, agreement, held_back, notes } = quantised;
        if agreement < asked {
            return Err(too_little(&layers, agreement, asked, bits));
        }
        let name = &model.module.func.name;
        let provenance = Provenance {
            compiled_by: env!("CARGO_PKG_VERSION"),
            model_digest: &model.digest,
            agreement,
            held_back,
            layers: &layers,
        };
        let provenance = serde_json::json!(provenance);
        let plan = Plan::new(name, program, bits)?.with_provenance(provenance);
        Ok(Compiled { plan, layers, agreement, held_back, notes, warnings: folded.warning().into_iter().collect() })
    }

    fn capacity(set: &ParameterSet) -> Capacity {
        let results = set.result_bits().map(|bits| Room { bits, norm: set.result_norm(bits) });
        let room = |norm| Room { bits: set.bits, norm };
        Capacity { lookups: room(set.norm), first: room(set.norm / set.fresh()), results: results.collect() }
    }

    /// Which layer loses most of what the network computes.
    fn too_little(layers: &[QuantisedLayer], agreement: f64, asked: f64, bits: u32) -> Error {
        let worst = layers.iter().max_by(|a, b| a.error.total_cmp(&b.error));
        let layer = worst.map_or(String::new(), |layer| {
            let QuantisedLayer { node, products, error, .. } = layer;
            format!(
                "; most is lost at layer `{node}`, {:.0} % of the variance of its sums of {products} products",
                100.0 * error
            )
        });
        Error::Usage {
            reason: format!(
                "with a message space of {bits} bits the quantised network agrees with the one given on {:.1} % of held-back \
                 calibration inputs, {:.1} % were asked for{layer}",
                100.0 * agreement,
                100.0 * asked
            ),
            repair:
                "give a larger `--message-bits`, a lower `--min-agreement`, or a network whose sums have fewer terms"
                    .into(),
        }
    }
}
