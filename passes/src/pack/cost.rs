//! What a linear transform costs, and how its rotations split into baby and giant steps.

/// Costs of the parts of a linear transform. Unit: one rotation of a ciphertext on its own (a key switch with both of its
/// conversions). The defaults are ratios of the engine's kernels at N = 2^15 to 2^16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearCost {
    /// Decomposing a ciphertext once for all of its hoisted rotations.
    pub decompose: f64,
    /// One hoisted (baby-step) rotation: its time is about a quarter, the rest stands for its key and for holding the result.
    pub baby: f64,
    /// One giant-step rotation.
    pub giant: f64,
    /// One diagonal: encoding and multiply-accumulate.
    pub diagonal: f64,
    /// One rotation outside of a transform.
    pub rotation: f64,
    /// One level, in the same unit: what a network pays for a level more.
    pub level: f64,
}

impl Default for LinearCost {
    fn default() -> Self {
        Self { decompose: 0.5, baby: 0.35, giant: 1.0, diagonal: 0.05, rotation: 1.0, level: 12.0 }
    }
}

/// A diagonal's rotation and the giant-step part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RotationStep {
    pub(super) giant: i64,
    pub(super) rotation: i64,
}

/// Baby and giant steps for a set of rotations.
#[derive(Clone, Debug)]
pub(super) struct Split {
    /// One step per residue, in the order given.
    pub(super) steps: Vec<RotationStep>,
    pub(super) cost: f64,
}

/// A lower bound on the cost of any split of so many diagonals: baby steps times giant steps are at least as many.
pub(super) fn least_cost(diagonals: usize, cost: &LinearCost) -> f64 {
    let d = diagonals as f64;
    let rotations = 2.0 * (cost.baby * cost.giant * d).sqrt() - cost.baby - cost.giant;
    cost.diagonal * d + rotations.max(0.0)
}

/// The cheapest split of the rotations `residues` (distinct, below `modulus`, a power of two) among those that give a
/// contiguous range of bits to the giant step: low bits as signed babies (kernel taps), middle bits as giants, high bits as
/// babies again (channel blocks). A step's rotation equals its residue up to a multiple of `modulus`.
pub(super) fn split(residues: &[u32], modulus: usize, cost: &LinearCost) -> Split {
    let bits = modulus.trailing_zeros();
    let mut seen_baby = vec![0u32; 2 * modulus];
    let mut seen_giant = vec![0u32; modulus];
    let mut best: Option<(f64, u32, u32)> = None;
    let mut round = 0;
    for low in 0..=bits {
        for high in low..=bits {
            if low == high && low > 0 {
                continue;
            }
            round += 1;
            let (mut babies, mut giants) = (0, 0);
            for &r in residues {
                let (baby, giant) = parts(r, modulus, low, high);
                let slot = (baby + modulus as i64) as usize;
                if baby != 0 && std::mem::replace(&mut seen_baby[slot], round) != round {
                    babies += 1;
                }
                if giant != 0 && std::mem::replace(&mut seen_giant[giant as usize], round) != round {
                    giants += 1;
                }
            }
            let hoist = if babies > 0 { cost.decompose } else { 0.0 };
            let total = hoist + cost.baby * babies as f64 + cost.giant * giants as f64;
            if best.is_none_or(|b| total < b.0) {
                best = Some((total, low, high));
            }
        }
    }
    let (rotations, low, high) = best.unwrap_or((0.0, 0, 0));
    let steps = residues
        .iter()
        .map(|&r| {
            let (baby, giant) = parts(r, modulus, low, high);
            RotationStep { giant, rotation: baby + giant }
        })
        .collect();
    Split { steps, cost: rotations + cost.diagonal * residues.len() as f64 }
}

/// Baby and giant part of residue `r`: bits `low..high` of what is left after the signed low part are the giant.
fn parts(r: u32, modulus: usize, low: u32, high: u32) -> (i64, i64) {
    let (m, t) = (modulus as i64, 1i64 << low);
    let r = i64::from(r);
    let signed = (r + t / 2) % t - t / 2;
    let rest = (r - signed).rem_euclid(m);
    let giant = rest & ((1i64 << high) - 1) & !(t - 1);
    (signed + rest - giant, giant)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The split, its number of baby and of giant rotations.
    fn check(residues: &[u32], modulus: usize) -> (Split, usize, usize) {
        let s = split(residues, modulus, &LinearCost::default());
        for (step, &r) in s.steps.iter().zip(residues) {
            assert_eq!(step.rotation.rem_euclid(modulus as i64), i64::from(r));
        }
        let distinct = |part: fn(&RotationStep) -> i64| {
            s.steps.iter().map(part).filter(|&r| r != 0).collect::<std::collections::BTreeSet<_>>().len()
        };
        let (babies, giants) = (distinct(|s| s.rotation - s.giant), distinct(|s| s.giant));
        (s, babies, giants)
    }

    #[test]
    fn convolution_taps_are_babies_and_channels_giants() {
        let mut residues = Vec::new();
        for block in 0..16 {
            for dh in -1i64..=1 {
                for dw in -1..=1 {
                    residues.push((block * 1024 + dh * 32 + dw).rem_euclid(1 << 14) as u32);
                }
            }
        }
        let (s, babies, giants) = check(&residues, 1 << 14);
        assert_eq!((s.steps.len(), babies, giants), (144, 17, 7));
    }

    #[test]
    fn contiguous_rotations_split_near_the_root() {
        let (s, babies, giants) = check(&(0..128).collect::<Vec<_>>(), 128);
        assert!(babies + giants <= 24 && s.cost < 20.0, "{babies} {giants} {}", s.cost);
    }

    #[test]
    fn no_rotation_costs_no_key_switch() {
        let (s, babies, giants) = check(&[0], 1024);
        assert_eq!((babies, giants, s.cost), (0, 0, LinearCost::default().diagonal));
    }
}
