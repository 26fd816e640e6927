//! Measures the inputs and results of a network on samples: the magnitudes that decide the parameters, and the ranges
//! that travel with a plan.

use fhec_ir::nn::eval;
use fhec_ir::{Issue, Loc, Module, Nn, OpInfo, Port, Tensor, Value, ValueRange, largest_magnitude};
use fhec_passes::PassError;
use fhec_passes::activations::ApproximateError;
use fhec_passes::pack::without_heads;

use crate::error::Error;

/// The inputs of a network on samples, and the results that a client would decrypt.
pub(crate) struct Ends {
    /// The largest magnitude of an input.
    pub(crate) input_bound: f64,
    /// The largest magnitude of a result.
    pub(crate) result_bound: f64,
    inputs: Vec<Option<ValueRange>>,
    outputs: Vec<Option<ValueRange>>,
}

impl Ends {
    /// Runs `module` on `samples`, without what is left to the client: a softmax hides how large the logits are.
    ///
    /// # Errors
    /// When it does not run on them, or gives results that are not finite.
    pub(crate) fn measure(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<Self, Error> {
        let (encrypted, _) = without_heads(module);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let results = eval::eval_many(&encrypted, samples, threads).map_err(ApproximateError::from)?;
        let func = &encrypted.func;
        let (inputs, input_bound) = ranges(samples, &ends(&encrypted, func.params(), &encrypted.inputs))?;
        let (outputs, result_bound) = ranges(&results, &ends(&encrypted, func.results(), &encrypted.outputs))?;
        Ok(Self { input_bound, result_bound, inputs, outputs })
    }

    /// Writes the ranges to the ports of `module`, with room for errors of up to `error` in its results.
    pub(crate) fn describe(&self, module: &mut Module<Nn>, error: f64) {
        module.inputs.iter_mut().zip(&self.inputs).for_each(|(port, range)| port.range = *range);
        let widened = self.outputs.iter().map(|range| range.map(|r| r.widened(error)));
        module.outputs.iter_mut().zip(widened).for_each(|(port, range)| port.range = range);
    }
}

/// What stands at one end: the node and, where it has one, the name of its port.
type End<'a> = (&'a Loc, &'static str, Option<&'a str>);

fn ends<'a>(module: &'a Module<Nn>, values: &[Value], ports: &'a [Port]) -> Vec<End<'a>> {
    let end = |(i, &v): (usize, &Value)| {
        let node = module.func.node(v);
        (&node.loc, node.op.mnemonic(), ports.get(i).map(|port| port.name.as_str()))
    };
    values.iter().enumerate().map(end).collect()
}

/// The range of every end over `samples`, and the largest magnitude of all.
fn ranges(samples: &[Vec<Tensor>], ends: &[End<'_>]) -> Result<(Vec<Option<ValueRange>>, f64), Error> {
    let mut bound = 0.0f64;
    let mut out = Vec::with_capacity(ends.len());
    for (i, &(loc, op, port)) in ends.iter().enumerate() {
        let values = || samples.iter().filter_map(|tensors| tensors.get(i)).flat_map(|t| t.data()).map(|&x| x.into());
        let largest = largest_magnitude(values());
        if !largest.is_finite() {
            let name = port.map_or_else(String::new, |name| format!("`{name}` "));
            let issue = Issue::new(
                loc,
                op,
                format!("{name}is not finite on the calibration data"),
                "look for NaN and infinity in the weights of the model, and for inputs unlike its training data",
            );
            return Err(PassError { pass: "calibrate", issues: vec![issue] }.into());
        }
        bound = bound.max(largest);
        out.push(ValueRange::of(values()));
    }
    Ok((out, bound))
}
