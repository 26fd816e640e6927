//! A program needs a list of evaluation keys, each for one or more levels.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ckks::{Bootstrapper, CkksError, KeyName, KeyRequest, KeySet, KeyShape, Params};
use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::LinearSteps;
use fhec_ir::{Ckks, Module, Node};
use serde::{Deserialize, Serialize};

/// The evaluation keys of a program. A key made for a high level is large and, used at a low one, slow; what is used at
/// several levels gets a further key for those at most half as high where that saves more than an eighth of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Levels of the relinearisation keys, the highest first.
    pub relinearization: Vec<u32>,
    /// Levels of the conjugation keys.
    pub conjugation: Vec<u32>,
    /// Levels of the keys of every rotation, by slots to the left.
    pub rotations: BTreeMap<u32, Vec<u32>>,
    /// Level of the key from the ephemeral sparse secret of bootstrapping; the one to it is at level 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_sparse: Option<u32>,
}

/// Levels at which each key is used.
type Uses = BTreeMap<KeyName, BTreeSet<u32>>;

/// The levels to make keys for, the highest first: that of the highest use, and again below half of the limbs of the last
/// where a smaller key, with its fewer special primes, saves more than an eighth of the work.
fn key_levels(uses: &BTreeSet<u32>, params: &Params) -> Vec<u32> {
    // The time of a key switch goes by the limbs that are multiplied with the key.
    let work = |level: u32, key: u32| KeyShape::new(params, level as usize, key as usize).digit_limbs();
    let mut levels: Vec<u32> = Vec::new();
    for &level in uses.iter().rev() {
        let worth = |last: u32| 2 * (level + 1) <= last + 1 && 8 * work(level, level) < 7 * work(level, last);
        if levels.last().is_none_or(|&last| worth(last)) {
            levels.push(level);
        }
    }
    levels
}

/// The keys that a run of `module` uses at which levels, in order; those of one step are in use together.
///
/// # Errors
/// A bootstrap that the parameters do not allow.
pub fn key_steps(module: &Module<Ckks>, params: &Params, slots: usize) -> Result<Vec<Vec<KeyRequest>>, CkksError> {
    let live = module.func.live();
    let nodes = module.func.iter().zip(&live).filter(|(_, live)| **live);
    let steps: Vec<_> = nodes.map(|((_, node), _)| steps_of(module, node, params, slots)).collect::<Result<_, _>>()?;
    Ok(steps.concat())
}

/// The key uses of one op.
fn steps_of(
    module: &Module<Ckks>,
    node: &Node<Ckks>,
    params: &Params,
    slots: usize,
) -> Result<Vec<Vec<KeyRequest>>, CkksError> {
    let request = |name: KeyName, level: u32| KeyRequest { name, level: level as usize };
    Ok(match &node.op {
        CkksOp::Relinearize {} => vec![vec![request(KeyName::Relin, node.ty.level)]],
        CkksOp::Conjugate {} => vec![vec![request(KeyName::Conj, node.ty.level)]],
        CkksOp::Rotate { by } => {
            let name = KeyName::rotation(*by, slots);
            name.into_iter().map(|name| vec![request(name, node.ty.level)]).collect()
        }
        CkksOp::Linear { rotations, giants, at, diagonals } => {
            let steps = LinearSteps::of(rotations, giants, module.consts.get(*diagonals), slots);
            let rotation = |&by: &u32| request(KeyName::Rotation(by), *at);
            // The baby rotations are made together, the giant ones one after the other.
            let babies = steps.babies.iter().map(rotation).collect();
            [babies].into_iter().chain(steps.giants.iter().map(|by| vec![rotation(by)])).collect()
        }
        CkksOp::Bootstrap { to } => Bootstrapper::key_steps(params, slots, *to as usize)?,
        _ => Vec::new(),
    })
}

impl KeyList {
    /// The keys that the ops of `module` use, whose vectors have `slots` slots.
    ///
    /// # Errors
    /// A bootstrap that the parameters do not allow.
    pub fn of(module: &Module<Ckks>, params: &Params, slots: usize) -> Result<Self, CkksError> {
        let mut uses = Uses::new();
        // Bootstraps to one level use the same keys.
        let mut restored = BTreeSet::new();
        let live = module.func.live();
        for ((_, node), _) in module.func.iter().zip(&live).filter(|(_, live)| **live) {
            let requests = match &node.op {
                // Inside a bootstrap a key serves all lower levels too.
                CkksOp::Bootstrap { to } if !restored.insert(*to) => continue,
                CkksOp::Bootstrap { to } => Bootstrapper::keys(params, slots, *to as usize)?,
                _ => steps_of(module, node, params, slots)?.concat(),
            };
            for request in requests {
                uses.entry(request.name).or_default().insert(request.level as u32);
            }
        }
        let mut keys = Self::default();
        for (name, uses) in &uses {
            let levels = key_levels(uses, params);
            match name {
                KeyName::Relin => keys.relinearization = levels,
                KeyName::Conj => keys.conjugation = levels,
                KeyName::Rotation(by) => drop(keys.rotations.insert(*by, levels)),
                KeyName::FromSparse => keys.from_sparse = levels.first().copied(),
                KeyName::ToSparse => {}
            }
        }
        Ok(keys)
    }
    /// The levels that keys of this name are made for, the highest first.
    pub fn levels_of(&self, name: KeyName) -> &[u32] {
        match name {
            KeyName::Relin => &self.relinearization,
            KeyName::Conj => &self.conjugation,
            KeyName::Rotation(by) => self.rotations.get(&by).map_or(&[], Vec::as_slice),
            KeyName::FromSparse => self.from_sparse.as_slice(),
            KeyName::ToSparse => {
                if self.from_sparse.is_some() {
                    &[0]
                } else {
                    &[]
                }
            }
        }
    }
    /// Levels of all keys.
    pub fn levels(&self) -> impl Iterator<Item = u32> {
        self.requests().into_iter().map(|r| r.level as u32)
    }
    /// What the client has to generate.
    pub fn requests(&self) -> Vec<KeyRequest> {
        let request = |name: KeyName, level: u32| KeyRequest { name, level: level as usize };
        let relin = self.relinearization.iter().map(|&l| request(KeyName::Relin, l));
        let conj = self.conjugation.iter().map(|&l| request(KeyName::Conj, l));
        let sparse = self.from_sparse.into_iter();
        let sparse = sparse.flat_map(|l| [request(KeyName::ToSparse, 0), request(KeyName::FromSparse, l)]);
        let rotations = self.rotations.iter();
        let rotations =
            rotations.flat_map(|(&by, levels)| levels.iter().map(move |&l| request(KeyName::Rotation(by), l)));
        relin.chain(conj).chain(sparse).chain(rotations).collect()
    }
    /// Refuses keys that do not cover the list.
    ///
    /// # Errors
    /// The first key that is missing, or made for a lower level than it is used at.
    pub fn check_covered(&self, keys: &KeySet) -> Result<(), CkksError> {
        let infos = keys.infos();
        for wanted in self.requests() {
            let levels = infos.iter().filter(|info| info.name == wanted.name).map(|info| info.level);
            let have = levels.max().ok_or(CkksError::MissingKey(wanted.name))?;
            if have < wanted.level {
                return Err(CkksError::KeyLevel { name: wanted.name, have, need: wanted.level });
            }
        }
        Ok(())
    }
    /// Bytes of all keys in a file.
    pub fn stored_bytes(&self, params: &Params) -> u64 {
        self.levels().map(|level| params.stored_key_bytes(level as usize) as u64).fold(0, u64::saturating_add)
    }
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.requests().len()
    }
    /// Whether no key is needed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_ckks::ParamSpec;

    #[test]
    fn a_smaller_key_is_made_where_it_saves_more_than_an_eighth_of_the_work() {
        // Up to seven limbs per digit.
        let spec = ParamSpec {
            log_n: 10,
            first_bits: 50,
            scale_bits: 40,
            levels: 24,
            special: 7,
            special_bits: 50,
            bootstrap: None,
            insecure: true,
        };
        let params = Params::new(spec).expect("small parameters");
        let levels = |uses: &[u32]| key_levels(&uses.iter().copied().collect(), &params);
        // Two digits of 9 limbs: 2 (9 + 7) limbs with seven special primes, 2 (9 + 5) with five; of 8, 2 (8 + 7) and
        // 2 (8 + 4). One of 6: 13 and 12; of 2, after the key for level 7: 6 and 4.
        assert_eq!(levels(&[24, 8, 5]), [24]);
        assert_eq!(levels(&[24, 7, 1]), [24, 7, 1]);
        assert_eq!(levels(&[24, 23, 12, 11, 6, 5, 4, 1, 0]), [24, 4, 1, 0]);
        assert_eq!(levels(&[7]), [7]);
        assert_eq!(levels(&[7, 6, 5, 4]), [7]);
    }
}
