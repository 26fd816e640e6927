//! Results with noise against results without.

use fhec::{Tensor, data};

/// How the decrypted results compare with the program in the clear.
pub struct Comparison {
    /// The largest difference.
    pub max_error: f64,
    /// Images whose largest element is the same one.
    pub same_argmax: usize,
}

impl Comparison {
    /// Compares results image by image.
    pub fn of(results: &[Vec<Tensor>], exact: &[Vec<Tensor>]) -> Self {
        let pairs = || results.iter().flatten().zip(exact.iter().flatten());
        let difference = |(a, b): (&Tensor, &Tensor)| {
            let differences = a.data().iter().zip(b.data()).map(|(a, b)| f64::from((a - b).abs()));
            differences.fold(0.0, f64::max)
        };
        let first = |tensors: &Vec<Tensor>| tensors.first().map(|t| data::argmax(t.data()));
        Self {
            max_error: pairs().map(difference).fold(0.0, f64::max),
            same_argmax: results.iter().zip(exact).filter(|(a, b)| first(a) == first(b)).count(),
        }
    }
}
