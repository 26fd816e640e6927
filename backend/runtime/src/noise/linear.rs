//! Linear transforms of several images take one pass over the diagonals. The diagonals take most of the time, because
//! they come from memory; so they serve all images while they are in the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, Mul};

use fhec_ir::ckks::exec::LinearMap;
use fhec_ir::cost::rotation_in;

use super::backend::{LANES, Lanes, each};

/// Slots of results that are kept in the first-level cache while the diagonals pass.
const TILE: usize = 32;

/// A number that diagonals multiply.
pub trait Element: Copy + Default + From<f32> + Mul<Output = Self> + AddAssign {}
impl Element for f32 {}
impl Element for f64 {}

/// A diagonal and the rotation of its operand to the left, in 0..n.
#[derive(Clone, Copy)]
struct DiagonalTerm<'a> {
    rotation: usize,
    giant: u32,
    baby: u32,
    diagonal: &'a [f32],
}

/// The terms of a linear transform over n slots whose diagonals are not zero, as the engine computes them.
pub struct DiagonalTerms<'a>(Vec<DiagonalTerm<'a>>);

impl<'a> DiagonalTerms<'a> {
    /// The terms of `map`.
    pub fn of(map: LinearMap<'a>) -> Self {
        let n = map.slots();
        let used = map.terms().filter(|(_, _, diagonal)| diagonal.iter().any(|&d| d != 0.0));
        let term = |(rotation, giant, diagonal): (i64, i64, &'a [f32])| DiagonalTerm {
            rotation: rotation_in(rotation, n) as usize,
            giant: rotation_in(giant, n),
            baby: rotation_in(rotation.wrapping_sub(giant), n),
            diagonal,
        };
        Self(used.map(term).collect())
    }

    /// y\[s\] = Σ diagonal\[s\] · x\[s + rotation\], summed in the order of the terms.
    pub fn apply<T: Element>(&self, x: &[Lanes<T>]) -> Vec<Lanes<T>> {
        let terms: Vec<_> = self.0.iter().map(|t| (t.rotation, t.diagonal)).collect();
        sum_of_products(x, &terms)
    }

    /// Per slot the sum of the squared factors of operands that baby steps have rotated.
    pub fn switched(&self, slots: usize) -> Vec<f32> {
        let mut sum = vec![0.0f32; slots];
        for term in self.0.iter().filter(|t| t.baby != 0) {
            sum.iter_mut().zip(term.diagonal).for_each(|(sum, d)| *sum += d * d);
        }
        sum
    }

    /// Per slot the sum of x\[s + rotation\]² over all terms: sums over the baby steps are shared by the giant steps.
    pub fn energy(&self, x: &[Lanes<f64>]) -> Vec<Lanes<f32>> {
        let squares: Vec<Lanes<f32>> = x.iter().map(|&x| each(x, |x| (x * x) as f32)).collect();
        let mut babies: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for term in &self.0 {
            babies.entry(term.giant).or_default().insert(term.baby);
        }
        let mut giants: BTreeMap<BTreeSet<u32>, Vec<u32>> = BTreeMap::new();
        babies.into_iter().for_each(|(giant, babies)| giants.entry(babies).or_default().push(giant));
        let ones = vec![1.0; x.len()];
        let mut energy = vec![[0.0; LANES]; x.len()];
        for (babies, giants) in giants {
            let rotated = |by: u32| (by as usize, ones.as_slice());
            let inner = sum_of_products(&squares, &babies.into_iter().map(rotated).collect::<Vec<_>>());
            let outer = sum_of_products(&inner, &giants.into_iter().map(rotated).collect::<Vec<_>>());
            for (sum, part) in energy.iter_mut().zip(outer) {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        energy
    }
}

fn sum_of_products<T: Element>(x: &[Lanes<T>], terms: &[(usize, &[f32])]) -> Vec<Lanes<T>> {
    let n = x.len();
    let mut y = vec![[T::default(); LANES]; n];
    // A tile of the rotated operand is one slice when its start is appended to the end.
    let operand = [x, &x[..TILE.min(n)]].concat();
    let mut used = Vec::with_capacity(terms.len());
    for (start, tile) in (0..n).step_by(TILE).zip(y.chunks_mut(TILE)) {
        let len = tile.len();
        used.clear();
        for &(rotation, diagonal) in terms {
            let diagonal = &diagonal[start..start + len];
            if diagonal.iter().any(|&d| d != 0.0) {
                let from = (start + rotation) % n;
                used.push((diagonal, &operand[from..from + len]));
            }
        }
        pulp::Arch::new().dispatch(Tile { y: tile, terms: &used });
    }
    y
}

/// Products that are added to a tile: diagonals and rotated operands.
struct Tile<'a, T> {
    y: &'a mut [Lanes<T>],
    terms: &'a [(&'a [f32], &'a [Lanes<T>])],
}

// What is called here is inlined, so that it is compiled for several instruction sets.
impl<T: Element> pulp::NullaryFnOnce for Tile<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let fours = self.terms.chunks_exact(4);
        let rest = fours.remainder();
        for four in fours {
            add_products::<T, 4>(self.y, [four[0], four[1], four[2], four[3]]);
        }
        for &one in rest {
            add_products(self.y, [one]);
        }
    }
}

/// Adds K products to a tile, one after the other.
#[inline(always)]
fn add_products<T: Element, const K: usize>(tile: &mut [Lanes<T>], terms: [(&[f32], &[Lanes<T>]); K]) {
    let len = tile.len();
    let terms = terms.map(|(d, x)| (&d[..len], &x[..len]));
    for (slot, y) in tile.iter_mut().enumerate() {
        let mut sum = *y;
        for (diagonal, x) in terms {
            let factor = T::from(diagonal[slot]);
            for (sum, &x) in sum.iter_mut().zip(&x[slot]) {
                *sum += factor * x;
            }
        }
        *y = sum;
    }
}
