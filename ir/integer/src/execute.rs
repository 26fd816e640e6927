//! The executor in the clear: the integers of an encrypted run, bit for bit.

use fhec_ir::Tensor;
use zeroize::Zeroizing;

use crate::error::ProgramError;
use crate::program::Program;
use crate::sums::Sums;

/// The elements of a tensor of integers, wiped when dropped.
type Elements = Zeroizing<Vec<u32>>;

impl Program {
    /// The integers that stand for the elements of `inputs`, one tensor per input of the program.
    ///
    /// # Errors
    /// When number or shapes of the tensors are not those of the inputs.
    pub fn quantise(&self, inputs: &[Tensor]) -> Result<Vec<Elements>, ProgramError> {
        if inputs.len() != self.inputs.len() {
            let reason = format!("{} inputs were given, there are {}", inputs.len(), self.inputs.len());
            return Err(ProgramError::new("the program", reason));
        }
        let quantised = self.inputs.iter().zip(inputs).map(|(input, tensor)| {
            if *tensor.shape() != input.port.shape {
                let reason =
                    format!("a tensor of shape {} was given, its shape is {}", tensor.shape(), input.port.shape);
                return Err(ProgramError::new(format!("input `{}`", input.port.name), reason));
            }
            let elements = tensor.data().iter().map(|&x| input.quantiser.quantise(f64::from(x)));
            Ok(Zeroizing::new(elements.collect()))
        });
        quantised.collect()
    }

    /// The sums of every output on quantised inputs, one vector per output.
    ///
    /// The program must [verify](Program::verify), and each input have the elements of its port, none beyond its top.
    ///
    /// # Errors
    /// A sum that its table has no entry for: the inputs are not those of the program.
    pub fn evaluate(&self, inputs: &[Elements]) -> Result<Vec<Vec<i64>>, ProgramError> {
        self.evaluate_observed(inputs, |_, _| ())
    }

    /// As [`Program::evaluate`], and `observe` sees number and elements of every tensor.
    ///
    /// # Errors
    /// As [`Program::evaluate`].
    pub fn evaluate_observed(
        &self,
        inputs: &[Elements],
        mut observe: impl FnMut(usize, &[u32]),
    ) -> Result<Vec<Vec<i64>>, ProgramError> {
        let mut tensors: Vec<Elements> = inputs.to_vec();
        tensors.iter().enumerate().for_each(|(t, elements)| observe(t, elements));
        for layer in &self.layers {
            let sums = layer.sums.apply(&gathered(&layer.sums, &tensors));
            let looked_up = sums.iter().zip(&layer.tables.of).map(|(&sum, &of)| {
                layer.tables.tables[of as usize].at(sum).ok_or_else(|| {
                    ProgramError::new(format!("layer `{}`", layer.node), format!("the table has no entry for {sum}"))
                })
            });
            let elements: Elements = Zeroizing::new(looked_up.collect::<Result<_, _>>()?);
            observe(tensors.len(), &elements);
            tensors.push(elements);
        }
        Ok(self.outputs.iter().map(|output| output.sums.apply(&gathered(&output.sums, &tensors))).collect())
    }

    /// The tensors that sums of the outputs stand for.
    pub fn results(&self, sums: &[Vec<i64>]) -> Vec<Tensor> {
        self.outputs.iter().zip(sums).map(|(output, sums)| output.dequantise(sums)).collect()
    }

    /// Quantises, evaluates and gives the results.
    ///
    /// # Errors
    /// As [`Program::quantise`] and [`Program::evaluate`].
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ProgramError> {
        Ok(self.results(&self.evaluate(&self.quantise(inputs)?)?))
    }
}

/// The columns of `sums`: the elements of its operands, one after the other.
fn gathered(sums: &Sums, tensors: &[Elements]) -> Elements {
    Zeroizing::new(sums.operands.iter().flat_map(|&t| tensors[t].iter().copied()).collect())
}
