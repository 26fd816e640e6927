//! A plan is an integer program with the parameter set that it runs under.

use fhec_integer::{Program, ProgramError, Sums};
use fhec_ir::{Digest, Port};

use crate::client_plan::{ClientPlan, Decoding};
use crate::error::TfheError;
use crate::parameters::ParameterSet;

/// An integer program that a parameter set holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) model: String,
    pub(crate) program: Program,
    pub(crate) set: &'static ParameterSet,
    pub(crate) provenance: serde_json::Value,
    /// For every tensor the bits of the message space that its elements are encoded in.
    pub(crate) encodings: Vec<u32>,
    /// For every output the bits of its message space.
    pub(crate) result_bits: Vec<u32>,
}

impl Plan {
    /// The plan of a program with a message space of `bits` bits.
    ///
    /// # Errors
    /// A program with a defect, and a layer that does not fit: whose sums take more values than the message space has, or whose
    /// weights make more noise than a table or a result stands.
    pub fn new(model: &str, program: Program, bits: u32) -> Result<Self, TfheError> {
        let set = ParameterSet::of_bits(bits)?;
        program.verify()?;
        let extents = program.extents();
        let result_bits: Vec<u32> =
            program.outputs.iter().map(|o| needed(&extents, &o.sums)).collect::<Result<_, _>>()?;
        let mut encodings = vec![0; program.tensors()];
        let consumers = program.layers.iter().map(|layer| (&layer.sums, set.bits));
        let results = program.outputs.iter().zip(&result_bits).map(|(output, &bits)| (&output.sums, bits));
        for (sums, bits) in consumers.chain(results) {
            sums.operands.iter().for_each(|&t| encodings[t] = bits.max(encodings[t]));
        }
        let plan =
            Self { model: model.into(), program, set, provenance: serde_json::Value::Null, encodings, result_bits };
        plan.check(&extents)?;
        Ok(plan)
    }

    /// The same plan with a record of how it came about.
    pub fn with_provenance(self, provenance: serde_json::Value) -> Self {
        Self { provenance, ..self }
    }

    fn check(&self, extents: &[(usize, u32)]) -> Result<(), TfheError> {
        let set = self.set;
        for layer in &self.program.layers {
            let bits = needed(extents, &layer.sums)?;
            if bits > set.bits {
                return Err(self.too_wide(&layer.node, bits, set.bits));
            }
            self.check_norm(&layer.node, &layer.sums, extents, (set.bits, set.norm))?;
        }
        for (output, &bits) in self.program.outputs.iter().zip(&self.result_bits) {
            let most = set.result_bits().max().unwrap_or(set.bits);
            if bits > most {
                return Err(self.too_wide(&output.node, bits, most));
            }
            self.check_norm(&output.node, &output.sums, extents, (bits, set.result_norm(bits)))?;
        }
        Ok(())
    }

    fn too_wide(&self, layer: &str, bits: u32, most: u32) -> TfheError {
        TfheError::DoesNotFit {
            layer: layer.into(),
            reason: format!("its sums take {bits} bits, the message space of this parameter set has {most} there"),
            repair: "take a larger message space (`--message-bits`), fewer values per activation, or smaller weights"
                .into(),
        }
    }

    fn check_norm(
        &self,
        layer: &str,
        sums: &Sums,
        extents: &[(usize, u32)],
        (bits, most): (u32, f64),
    ) -> Result<(), TfheError> {
        // What brings an operand to the message space of the sum multiplies its weight; what is fresh has next to no noise.
        let factors = sums.spread(|t| {
            let noise = if t < self.program.inputs.len() { self.set.fresh() } else { 1.0 };
            (extents[t].0, noise * 2f64.powi(self.shift(t, bits) as i32))
        });
        let square = |(c, w): (usize, i32)| (f64::from(w) * factors[c]).powi(2);
        let norm = (0..sums.rows()).map(|r| sums.row(r).map(square).sum::<f64>().sqrt()).fold(0.0, f64::max);
        if norm <= most {
            return Ok(());
        }
        Err(TfheError::DoesNotFit {
            layer: layer.into(),
            reason: format!("the norm of its weights is {norm:.1}, at most {most:.1} keeps the noise small enough"),
            repair: "take a larger message space (`--message-bits`), or smaller weights".into(),
        })
    }

    /// The power of two that brings a tensor from its encoding to a message space of `bits` bits.
    fn shift(&self, tensor: usize, bits: u32) -> u32 {
        self.encodings[tensor].saturating_sub(bits)
    }

    /// The same for every column.
    #[cfg(feature = "engine")]
    pub(crate) fn column_shifts(&self, sums: &Sums, bits: u32) -> Vec<u32> {
        let extents = self.program.extents();
        sums.spread(|t| (extents[t].0, self.shift(t, bits)))
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }
    /// The parameter set.
    pub fn parameters(&self) -> &'static ParameterSet {
        self.set
    }
    /// How the plan came about, as the compiler recorded it.
    pub fn provenance(&self) -> &serde_json::Value {
        &self.provenance
    }
    /// The inputs.
    pub fn inputs(&self) -> Vec<Port> {
        self.program.inputs.iter().map(|input| input.port.clone()).collect()
    }
    /// The outputs.
    pub fn outputs(&self) -> Vec<Port> {
        self.program.outputs.iter().map(|output| output.port.clone()).collect()
    }

    /// What a client needs of the plan: no weight and no table.
    ///
    /// # Errors
    /// When the plan cannot be written, as its digest is that of its file.
    pub fn client(&self) -> Result<ClientPlan, TfheError> {
        let extents = self.program.extents();
        let decodings = self.program.outputs.iter().zip(&self.result_bits).map(|(output, &bits)| {
            let tops = output.sums.spread(|t| extents[t]);
            let bounds = (0..output.sums.rows()).map(|r| output.sums.bounds(r, |c| tops[c]));
            let bounds: Vec<(i64, i64)> = bounds.collect::<Result<_, ProgramError>>()?;
            Ok(Decoding {
                port: output.port.clone(),
                bits,
                least: bounds.iter().map(|b| b.0).collect(),
                most: bounds.iter().map(|b| b.1).collect(),
                scale: output.scale.clone(),
                shift: output.shift.clone(),
            })
        });
        Ok(ClientPlan {
            plan: self.digest()?,
            model: self.model.clone(),
            set: self.set,
            inputs: self.program.inputs.clone(),
            input_bits: self.encodings[..self.program.inputs.len()].to_vec(),
            outputs: decodings.collect::<Result<_, TfheError>>()?,
        })
    }

    /// The digest of the plan's file, which keys and ciphertexts name.
    ///
    /// # Errors
    /// When the plan cannot be written.
    pub fn digest(&self) -> Result<Digest, TfheError> {
        Ok(fhec_container::Reader::from_bytes("<plan>", &self.to_bytes()?)?.digest())
    }
}

/// Bits of the widest sum.
fn needed(extents: &[(usize, u32)], sums: &Sums) -> Result<u32, TfheError> {
    let tops = sums.spread(|t| extents[t]);
    let mut widest = 0;
    for r in 0..sums.rows() {
        let (low, high) = sums.bounds(r, |c| tops[c])?;
        widest = high.abs_diff(low).max(widest);
    }
    Ok((u64::BITS - widest.leading_zeros()).max(1))
}
