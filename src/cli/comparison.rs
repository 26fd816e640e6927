//! Results with noise against results without.

use fhec::ir::{Port, ValueRange, largest_magnitude};
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

fn differences(a: &Tensor, b: &Tensor) -> impl Iterator<Item = f64> {
    a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) - f64::from(b))
}

/// An output of an image that encryption has changed into something else: an error that is large beside the range which the
/// port's elements have on calibration data, or else over all images.
pub fn broken(ports: &[Port], results: &[Vec<Tensor>], exact: &[Vec<Tensor>]) -> Option<String> {
    ports.iter().enumerate().find_map(|(at, port)| {
        let of_port =
            |images: &'_ [Vec<Tensor>]| images.iter().filter_map(move |i| i.get(at)).cloned().collect::<Vec<_>>();
        let (results, exact) = (of_port(results), of_port(exact));
        let all = || exact.iter().flat_map(|t| t.data()).map(|&x| f64::from(x));
        let range = port.range.or_else(|| ValueRange::of(all()))?;
        let width = range.high.0 - range.low.0;
        results.iter().zip(&exact).enumerate().find_map(|(image, (a, b))| {
            let error = largest_magnitude(differences(a, b));
            (!error.is_finite() || error > ValueRange::FAR * width).then(|| {
                format!(
                    "output `{}` of image {image} is {error:.1e} off what the program gives in the clear",
                    port.name
                )
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use fhec::ir::{F64, Shape};

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

    #[test]
    fn an_error_as_large_as_the_results_is_found() {
        let port = |range| Port { name: "y".into(), shape: Shape(vec![1, 2]), layout: None, range };
        let known = port(Some(ValueRange { low: F64(-1.0), high: F64(1.0) }));
        let exact = images(&[[0.5, 0.0], [0.0, -0.5]]);
        assert_eq!(broken(std::slice::from_ref(&known), &exact, &exact), None);
        let wrapped = broken(&[known], &images(&[[0.5, 0.1], [0.0, 7.5]]), &exact).unwrap();
        assert!(wrapped.contains("output `y` of image 1 is 8.0e0 off"), "{wrapped}");
        // Without a range, that of the results in the clear counts.
        let many = images(&(0..20).map(|i| [i as f32, -1.0]).collect::<Vec<_>>());
        let shifted = |by: f32| images(&(0..20).map(|i| [i as f32 + by, -1.0]).collect::<Vec<_>>());
        assert_eq!(broken(&[port(None)], &shifted(5.0), &many), None);
        assert!(broken(&[port(None)], &shifted(11.0), &many).is_some());
    }
}
