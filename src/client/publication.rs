//! Publication makes results that others may see.

use fhec_client::{Flooding, Publication};
use fhec_ir::{Port, Tensor};
use fhec_runtime::unpack_outputs;
use serde::Serialize;

use super::Client;
use crate::ciphertexts::Encrypted;
use crate::error::Error;

/// Results that may be shown to others.
#[derive(Debug)]
pub struct Published {
    /// The results of every image.
    pub images: Vec<Vec<Tensor>>,
    /// What remains of every output.
    pub outputs: Vec<Remains>,
}

/// What remains of the values of an output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Remains {
    /// Name of the output.
    pub output: String,
    /// Standard deviation of the noise that was added.
    pub deviation: f64,
    /// A power of two: values are multiples of it.
    pub step: f64,
    /// Bits after the binary point that remain, negative where some before it are gone too.
    pub bits: i32,
    /// Whether no value is larger than noise alone would be.
    pub noise_alone: bool,
}

/// Published values of at most this many steps may be noise: three deviations, each less than two steps.
const NOISE_STEPS: f64 = 6.0;

impl Client {
    /// Decrypts the results of images for others than the owner of the key: with noise that hides what decrypted values
    /// tell of the key, and rounded to what remains. `queries` of the request counts all runs whose results are published
    /// under this key, these and others.
    ///
    /// # Errors
    /// What [`Client::decrypt`] refuses, a plan that does not say how large their errors are, more results than the request
    /// is for, or a request that no noise meets.
    pub fn decrypt_for_publication(&mut self, results: &Encrypted, request: Publication) -> Result<Published, Error> {
        self.expect_answer(results)?;
        if request.queries < results.runs.len() as u64 {
            return Err(Error::Usage {
                reason: format!(
                    "{} decryptions are to be published, {} were promised",
                    results.runs.len(),
                    request.queries
                ),
                repair: "count all results that are ever published under this key, these included: `--queries`".into(),
            });
        }
        let flooding = self.flooding(request)?;
        let ports = self.plan.outputs();
        let mut runs = Vec::with_capacity(results.runs.len());
        for run in &results.runs {
            let mut slots = self.slots(run)?;
            let mut rest = &mut slots[..];
            for (port, flooding) in ports.iter().zip(&flooding) {
                let Some(layout) = &port.layout else { continue };
                let ciphertexts = layout.ciphertexts.min(rest.len());
                for values in rest.split_off_mut(..ciphertexts).into_iter().flatten() {
                    // The noise is that of results, of which slots may hold a part.
                    values.iter_mut().for_each(|slot| *slot *= layout.unit());
                    flooding.publish(values, &mut self.random).map_err(unpublishable)?;
                    values.iter_mut().for_each(|slot| *slot /= layout.unit());
                }
            }
            runs.push(unpack_outputs(&ports, &slots)?);
        }
        let images = fhec_ir::images(&runs, self.plan.batch(), results.images);
        let remains = |(i, (port, flooding)): (usize, (&Port, &Flooding))| {
            let values = images.iter().flat_map(|image| image[i].data());
            let largest = values.fold(0.0f64, |m, &x| m.max(f64::from(x).abs()));
            let (deviation, step, bits) = (flooding.deviation(), flooding.step(), flooding.remaining_bits());
            Remains { output: port.name.clone(), deviation, step, bits, noise_alone: largest <= NOISE_STEPS * step }
        };
        let outputs = ports.iter().zip(&flooding).enumerate().map(remains).collect();
        Ok(Published { images, outputs })
    }

    /// The noise of every output. Each of them counts as a decryption.
    fn flooding(&self, request: Publication) -> Result<Vec<Flooding>, Error> {
        let ports = self.plan.outputs();
        let errors = self.plan.result_errors().ok_or_else(|| Error::Usage {
            reason: "the plan does not say how large the errors of its results are, so no noise can hide them".into(),
            repair: "compile the model again; until then keep its results to yourself".into(),
        })?;
        let queries = request.queries.saturating_mul(ports.len() as u64);
        let request = Publication { queries, ..request };
        let flooding = |(port, &error): (&Port, &f64)| request.flooding(error, port.shape.len()).map_err(unpublishable);
        ports.iter().zip(errors).map(flooding).collect()
    }
}

fn unpublishable(e: fhec_client::PublicationError) -> Error {
    Error::Usage { reason: e.to_string(), repair: "ask for fewer bits, or publish fewer results under one key".into() }
}
