//! Compares results with noise with results without.

use fhec::ir::largest_magnitude;
use fhec::{Tensor, data};

/// How the decrypted results compare with the program in the clear.
pub struct Comparison {
    /// The largest difference; NaN or infinite where one of the two is not finite.
    pub max_error: f64,
    /// Images whose largest element is the same one. Where an element is not finite there is none.
    pub same_argmax: usize,
}

impl Comparison {
    /// Compares results image by image.
    pub fn of(results: &[Vec<Tensor>], exact: &[Vec<Tensor>]) -> Self {
        let pairs = results.iter().flatten().zip(exact.iter().flatten());
        let same = |(a, b): &(&Vec<Tensor>, &Vec<Tensor>)| {
            let class = data::class(a);
            class.is_some() && class == data::class(b)
        };
        Self {
            max_error: largest_magnitude(pairs.flat_map(|(a, b)| differences(a, b))),
            same_argmax: results.iter().zip(exact).filter(same).count(),
        }
    }

    /// The comparison in words.
    pub fn line(&self, images: usize) -> String {
        let error = match self.max_error.is_finite() {
            true => format!("largest error {:.1e}", self.max_error),
            false => "not all are finite".to_string(),
        };
        format!("{error}, same class for {} of {images}", self.same_argmax)
    }
}

/// The differences of the elements of two tensors.
pub fn differences(a: &Tensor, b: &Tensor) -> impl Iterator<Item = f64> {
    a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) - f64::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(data: &[[f32; 2]]) -> Vec<Vec<Tensor>> {
        data.iter().map(|x| vec![Tensor::new([1, 2], *x)]).collect()
    }

    #[test]
    fn what_is_not_finite_is_no_small_error() {
        let one = images(&[[1.0, 2.0]]);
        let same = Comparison::of(&one, &images(&[[1.0, 2.5]]));
        assert_eq!((same.max_error, same.same_argmax), (0.5, 1));
        for broken in [f32::NAN, f32::INFINITY] {
            let broken = images(&[[1.0, broken]]);
            for (a, b) in [(&one, &broken), (&broken, &one), (&broken, &broken)] {
                let compared = Comparison::of(a, b);
                assert!(!compared.max_error.is_finite() && compared.same_argmax == 0, "{}", compared.line(1));
                assert!(compared.line(1).starts_with("not all are finite"), "{}", compared.line(1));
            }
        }
    }
}
