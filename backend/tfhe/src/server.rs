//! Evaluation, without any secret key.

use fhec_integer::{Layer, Sums, Table};
use rayon::prelude::*;
use tfhe::core_crypto::commons::math::random::{CompressionSeed, Seed};
use tfhe::core_crypto::prelude::{
    CiphertextModulus, DecompositionBaseLog, DecompositionLevelCount, GlweCiphertext, GlweDimension, LweCiphertext,
    LweDimension, PolynomialSize, SeededLweBootstrapKey, SeededLweCiphertextList, SeededLweKeyswitchKey,
};
use tfhe::shortint::atomic_pattern::compressed::{
    CompressedAtomicPatternServerKey, CompressedStandardAtomicPatternServerKey,
};
use tfhe::shortint::ciphertext::{Ciphertext, Degree, MaxDegree, NoiseLevel};
use tfhe::shortint::parameters::v1_8::{
    V1_8_PARAM_MESSAGE_1_CARRY_1_KS_PBS_TUNIFORM_2M128, V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128,
    V1_8_PARAM_MESSAGE_3_CARRY_3_KS_PBS_TUNIFORM_2M128, V1_8_PARAM_MESSAGE_4_CARRY_4_KS_PBS_TUNIFORM_2M128,
};
use tfhe::shortint::server_key::{
    CompressedModulusSwitchConfiguration, CompressedServerKey, LookupTableOwned, ServerKey,
    ShortintCompressedBootstrappingKey,
};
use tfhe::shortint::{AtomicPatternKind, ClassicPBSParameters, PBSOrder};

use crate::ciphertexts::{Content, Elements, Encrypted};
use crate::error::TfheError;
use crate::evaluation_keys::EvaluationKeys;
use crate::parameters::{ParameterSet, delta};
use crate::plan::Plan;
use crate::seeded::Seeded;

/// The parameters of the crate `tfhe` that a set stands for.
pub(crate) fn classic(set: &ParameterSet) -> ClassicPBSParameters {
    match set.bits {
        2 => V1_8_PARAM_MESSAGE_1_CARRY_1_KS_PBS_TUNIFORM_2M128,
        4 => V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128,
        6 => V1_8_PARAM_MESSAGE_3_CARRY_3_KS_PBS_TUNIFORM_2M128,
        _ => V1_8_PARAM_MESSAGE_4_CARRY_4_KS_PBS_TUNIFORM_2M128,
    }
}

/// Evaluates a plan with the keys of a client.
pub struct Server<'p> {
    plan: &'p Plan,
    key: u128,
    digest: fhec_ir::Digest,
    keys: ServerKey,
}

impl<'p> Server<'p> {
    /// A server for `plan`. The keys are unpacked, which takes seconds and as much memory as
    /// [`ParameterSet::key_memory`] says.
    ///
    /// # Errors
    /// Keys that were made for another plan.
    pub fn new(plan: &'p Plan, keys: EvaluationKeys) -> Result<Self, TfheError> {
        let digest = plan.digest()?;
        if keys.plan != digest || keys.set != plan.set {
            return Err(TfheError::Mismatch {
                what: "the evaluation keys".into(),
                reason: "they were made for another plan".into(),
                repair: "give the keys that `fhec keygen` made for this plan or its client plan".into(),
            });
        }
        Ok(Self { plan, key: keys.key, digest, keys: unpacked(keys) })
    }

    /// Evaluates the plan on every image; `progress` is told of each table looked up, from several threads.
    ///
    /// # Errors
    /// Inputs under another key or for another plan.
    pub fn eval(&self, inputs: &Encrypted, progress: &(dyn Fn() + Sync)) -> Result<Encrypted, TfheError> {
        if inputs.key != self.key || inputs.plan != self.digest || inputs.content != Content::Inputs {
            return Err(TfheError::Mismatch {
                what: "the inputs".into(),
                reason: "they were encrypted for another plan, or under another key than that of the evaluation keys"
                    .into(),
                repair: "give the evaluation keys of the client that encrypted the inputs".into(),
            });
        }
        let images = inputs.images.iter().map(|image| self.image(image, progress)).collect();
        Ok(Encrypted { content: Content::Outputs, images, ..inputs.clone() })
    }

    fn image(&self, inputs: &[Elements], progress: &(dyn Fn() + Sync)) -> Vec<Elements> {
        let mut tensors: Vec<Vec<u64>> = inputs.iter().map(|elements| self.whole(elements)).collect();
        for (at, layer) in self.plan.program().layers.iter().enumerate() {
            let encoding = self.plan.encodings[inputs.len() + at];
            let looked_up = self.layer(layer, encoding, &tensors, progress);
            tensors.push(looked_up);
        }
        let outputs = self.plan.program().outputs.iter().zip(&self.plan.result_bits);
        outputs.map(|(output, &bits)| Elements::Whole(self.sums(&output.sums, bits, &tensors))).collect()
    }

    /// Ciphertexts with their masks.
    fn whole(&self, elements: &Elements) -> Vec<u64> {
        match elements {
            Elements::Whole(words) => words.clone(),
            Elements::Seeded(Seeded { seed, bodies }) => SeededLweCiphertextList::from_container(
                bodies.clone(),
                LweDimension(self.plan.set.mask()).to_lwe_size(),
                CompressionSeed::from(Seed(*seed)),
                CiphertextModulus::new_native(),
            )
            .par_decompress_into_lwe_ciphertext_list()
            .into_container(),
        }
    }

    /// The tables of a layer, looked up at its sums.
    fn layer(&self, layer: &Layer, encoding: u32, tensors: &[Vec<u64>], progress: &(dyn Fn() + Sync)) -> Vec<u64> {
        let set = self.plan.set;
        let accumulators: Vec<LookupTableOwned> =
            layer.tables.tables.par_iter().map(|table| accumulator(set, table, encoding)).collect();
        let operands = Operands::of(self.plan, &layer.sums, set.bits, tensors);
        let rows: Vec<Vec<u64>> = (0..layer.sums.rows())
            .into_par_iter()
            .map(|row| {
                let of = layer.tables.of[row] as usize;
                let sum = operands.sum(&layer.sums, row, layer.tables.tables[of].least, delta(set.bits));
                let looked_up = self.look_up(sum, &accumulators[of]);
                progress();
                looked_up
            })
            .collect();
        rows.concat()
    }

    fn look_up(&self, sum: Vec<u64>, table: &LookupTableOwned) -> Vec<u64> {
        let classic = classic(self.plan.set);
        let mut ciphertext = Ciphertext::new(
            LweCiphertext::from_container(sum, CiphertextModulus::new_native()),
            Degree::new(classic.message_modulus.0 * classic.carry_modulus.0 - 1),
            NoiseLevel::NOMINAL,
            classic.message_modulus,
            classic.carry_modulus,
            AtomicPatternKind::Standard(PBSOrder::KeyswitchBootstrap),
        );
        self.keys.apply_lookup_table_assign(&mut ciphertext, table);
        ciphertext.ct.into_container()
    }

    /// The sums of an output.
    fn sums(&self, sums: &Sums, bits: u32, tensors: &[Vec<u64>]) -> Vec<u64> {
        let operands = Operands::of(self.plan, sums, bits, tensors);
        let tops = self.plan.program().column_tops(sums);
        // The plan has checked that the bounds exist.
        let least = |row| sums.bounds(row, |c| tops[c]).map_or(0, |bounds| bounds.0);
        let rows: Vec<Vec<u64>> =
            (0..sums.rows()).into_par_iter().map(|row| operands.sum(sums, row, least(row), delta(bits))).collect();
        rows.concat()
    }
}

/// The ciphertexts that sums read.
struct Operands<'a> {
    ciphertexts: Vec<&'a [u64]>,
    /// For every column, the power of two that brings it to the encoding of the sum.
    shifts: Vec<u32>,
    words: usize,
}

impl<'a> Operands<'a> {
    fn of(plan: &Plan, sums: &Sums, bits: u32, tensors: &'a [Vec<u64>]) -> Self {
        let words = plan.set.ciphertext_words();
        let ciphertexts = sums.operands.iter().flat_map(|&t| tensors[t].chunks_exact(words)).collect();
        Self { ciphertexts, shifts: plan.column_shifts(sums, bits), words }
    }
    /// The ciphertext of a sum, less `least`, which is encoded in steps of `delta`.
    fn sum(&self, sums: &Sums, row: usize, least: i64, delta: u64) -> Vec<u64> {
        let mut out = vec![0u64; self.words];
        for (column, weight) in sums.row(row) {
            // Two's complement: a negative weight is its residue modulo 2^64.
            let factor = (i64::from(weight) as u64) << self.shifts[column];
            let words = out.iter_mut().zip(self.ciphertexts[column]);
            words.for_each(|(sum, &x)| *sum = sum.wrapping_add(x.wrapping_mul(factor)));
        }
        let body = self.words - 1;
        out[body] = out[body].wrapping_sub((least as u64).wrapping_mul(delta));
        out
    }
}

/// The test polynomial of a table whose values are encoded in a message space of `encoding` bits.
fn accumulator(set: &ParameterSet, table: &Table, encoding: u32) -> LookupTableOwned {
    let size = set.polynomial_size;
    let mut words = vec![0u64; (set.glwe_dimension + 1) * size];
    let body = &mut words[set.glwe_dimension * size..];
    // A message covers so many coefficients, half of them before its own place: there noise carries it.
    let width = size >> set.bits;
    for (message, slots) in body.chunks_exact_mut(width).enumerate() {
        // Sums beyond the entries do not occur.
        let value = table.entries.get(message).copied().unwrap_or_default();
        slots.fill(u64::from(value) * delta(encoding));
    }
    body[..width / 2].iter_mut().for_each(|x| *x = x.wrapping_neg());
    body.rotate_left(width / 2);
    let acc = GlweCiphertext::from_container(words, PolynomialSize(size), CiphertextModulus::new_native());
    LookupTableOwned { acc, degree: Degree::new(u64::from(table.top())) }
}

fn unpacked(keys: EvaluationKeys) -> ServerKey {
    let EvaluationKeys { set, key_switching, bootstrapping, .. } = keys;
    let classic = classic(set);
    let modulus = CiphertextModulus::new_native();
    let key_switching = SeededLweKeyswitchKey::from_container(
        key_switching.bodies,
        DecompositionBaseLog(set.ks_base_log),
        DecompositionLevelCount(set.ks_level),
        LweDimension(set.lwe_dimension).to_lwe_size(),
        CompressionSeed::from(Seed(key_switching.seed)),
        modulus,
    );
    let bsk = SeededLweBootstrapKey::from_container(
        bootstrapping.bodies,
        GlweDimension(set.glwe_dimension).to_glwe_size(),
        PolynomialSize(set.polynomial_size),
        DecompositionBaseLog(set.pbs_base_log),
        DecompositionLevelCount(set.pbs_level),
        CompressionSeed::from(Seed(bootstrapping.seed)),
        modulus,
    );
    let bootstrapping = ShortintCompressedBootstrappingKey::Classic {
        bsk,
        modulus_switch_noise_reduction_key: CompressedModulusSwitchConfiguration::CenteredMeanNoiseReduction,
    };
    let standard = CompressedStandardAtomicPatternServerKey::from_raw_parts(
        key_switching,
        bootstrapping,
        PBSOrder::KeyswitchBootstrap,
    );
    CompressedServerKey::from_raw_parts(
        CompressedAtomicPatternServerKey::Standard(standard),
        classic.message_modulus,
        classic.carry_modulus,
        MaxDegree::new(classic.message_modulus.0 * classic.carry_modulus.0 - 1),
        classic.max_noise_level,
    )
    .decompress()
}

#[cfg(test)]
mod tests {
    use tfhe::core_crypto::commons::noise_formulas::lwe_programmable_bootstrap::pbs_variance_132_bits_security_tuniform_fft_mul;

    use super::*;
    use crate::parameters::SETS;

    #[test]
    fn the_sets_are_those_of_the_crate() {
        for set in &SETS {
            let c = classic(set);
            assert_eq!(c.message_modulus.0 * c.carry_modulus.0, 1 << set.bits);
            assert_eq!((c.lwe_dimension.0, c.glwe_dimension.0), (set.lwe_dimension, set.glwe_dimension));
            assert_eq!(c.polynomial_size.0, set.polynomial_size);
            assert_eq!((c.pbs_level.0, c.pbs_base_log.0), (set.pbs_level, set.pbs_base_log));
            assert_eq!((c.ks_level.0, c.ks_base_log.0), (set.ks_level, set.ks_base_log));
            assert_eq!(c.max_noise_level.get() as f64, set.norm);
            assert!(c.log2_p_fail < -128.0);
            let variance = pbs_variance_132_bits_security_tuniform_fft_mul(
                c.lwe_dimension,
                c.glwe_dimension,
                c.polynomial_size,
                c.pbs_base_log,
                c.pbs_level,
                53.0,
                2f64.powi(64),
            );
            let log2 = variance.0.log2() / 2.0;
            assert!(log2 < set.log2_deviation && log2 > set.log2_deviation - 0.02, "{log2}");
        }
    }
}
