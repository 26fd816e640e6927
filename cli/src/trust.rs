//! Decides what commands do about inputs and results unlike those of the calibration data: inputs a little outside are
//! a warning; inputs and results far outside are an error unless `--force` is given.

use std::path::Path;

use fhec::ir::{Port, ValueRange, largest_magnitude};
use fhec::{Error, RangeCheck, Tensor};

use super::comparison::differences;
use super::output;

/// Compares the inputs in `file` with the ranges of the plan's inputs, and warns of what lies outside.
///
/// # Errors
/// When inputs lie far outside and they are not forced.
pub fn inputs(file: &Path, ports: &[Port], images: &[Vec<Tensor>], force: bool) -> Result<Vec<RangeCheck>, Error> {
    let checks = RangeCheck::of(ports, images);
    let file = file.display().to_string();
    checks.iter().filter_map(|check| check.warning(&file, images.len())).for_each(output::warning);
    if !force {
        RangeCheck::admit_inputs(&checks, &file)?;
    }
    Ok(checks)
}

/// Compares results with the ranges of the plan's outputs.
///
/// # Errors
/// When one is not finite or lies far outside and they are not forced.
pub fn results(ports: &[Port], images: &[Vec<Tensor>], force: bool) -> Result<Vec<RangeCheck>, Error> {
    let checks = RangeCheck::of(ports, images);
    RangeCheck::distrust(&checks).map_or(Ok(()), |found| untrusted(found, force))?;
    Ok(checks)
}

/// Refuses results for a reason, or warns of it where they are forced.
///
/// # Errors
/// When they are not forced.
pub fn untrusted(reason: String, force: bool) -> Result<(), Error> {
    if force {
        output::warning(reason);
        return Ok(());
    }
    let repair = "the input may be unlike the calibration data: `fhec simulate` on it names the layers whose values are \
                  out of range; `--force` writes the results as they are";
    Err(Error::Results { reason, repair: repair.into() })
}

/// An output of an image that encryption has changed into something else: an error that is large beside the range which the
/// port's elements have on calibration data, or else over all images.
pub fn broken<'a>(ports: &[Port], results: &'a [Vec<Tensor>], exact: &'a [Vec<Tensor>]) -> Option<String> {
    ports.iter().enumerate().find_map(|(at, port)| {
        let pair = |(a, b): (&'a Vec<Tensor>, &'a Vec<Tensor>)| Some((a.get(at)?, b.get(at)?));
        let pairs: Vec<(&Tensor, &Tensor)> = results.iter().zip(exact).filter_map(pair).collect();
        let in_the_clear = pairs.iter().flat_map(|(_, b)| b.data()).map(|&x| f64::from(x));
        let range = port.range.or_else(|| ValueRange::of(in_the_clear).filter(|r| r.low != r.high))?;
        let width = range.high.0 - range.low.0;
        pairs.into_iter().enumerate().find_map(|(image, (a, b))| {
            let error = largest_magnitude(differences(a, b));
            let name = &port.name;
            (!error.is_finite() || error > ValueRange::FAR * width).then(|| {
                format!("output `{name}` of image {image} is {error:.1e} off what the program gives in the clear")
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
    fn an_error_as_large_as_the_results_is_found() {
        let port = |range| Port { name: "y".into(), shape: Shape(vec![1, 2]), range, ..Default::default() };
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
