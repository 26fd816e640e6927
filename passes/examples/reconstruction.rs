//! Accuracy of a CIFAR-10 network with polynomials, with and without reconstruction of its layers.
//!
//! ```text
//! python3 ../shared/material/unpack.py DATA
//! cargo run --release -p fhec-passes --example reconstruction -- MODEL.onnx DATA 15/15 7c/15 plain:15/15
//! ```
//!
//! Each further argument is one row: degree inside of blocks / after sums (and the first one) [/ of the last activation], `c`
//! for one polynomial per channel; `plain:` leaves out reconstruction. `key=value` arguments before a row change what follows:
//! `test` (images), `held` (training images in place of test images), `calibration` (images), `margin`, `uniform`, `lambda`, `positions`.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::Pass;
use fhec_passes::activations::rebuild::{ReconstructOptions, reconstruct};
use fhec_passes::activations::{ApproximateActivations, Choices};
use fhec_passes::approx::{Choice, Margin};
use fhec_passes::fold::Fold;
use rayon::prelude::*;

/// Images as the network takes them, and their labels.
struct Images {
    inputs: Vec<Vec<Tensor>>,
    labels: Vec<usize>,
}

/// The first `count` records of a CIFAR-10 file: a label, then 3,072 bytes.
fn images(file: &Path, count: usize, raw: bool) -> Result<Images, Box<dyn Error>> {
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let bytes = std::fs::read(file)?;
    let records = bytes.chunks_exact(3073).take(count);
    let pixel = |(j, &p): (usize, &u8)| {
        let (channel, p) = (j / 1024, f32::from(p));
        if raw { p } else { (p / 255.0 - mean[channel]) / deviation[channel] }
    };
    let input = |r: &[u8]| vec![Tensor::new([1, 3, 32, 32], r[1..].iter().enumerate().map(pixel).collect::<Vec<_>>())];
    Ok(Images { inputs: records.clone().map(input).collect(), labels: records.map(|r| usize::from(r[0])).collect() })
}

/// `count` training images from the 40,000th on, which no calibration here reaches: for the choice of settings.
fn held(file: &Path, count: usize, raw: bool) -> Result<Images, Box<dyn Error>> {
    const FIRST: usize = 40_000;
    let mut all = images(file, FIRST + count, raw)?;
    Ok(Images { inputs: all.inputs.split_off(FIRST), labels: all.labels.split_off(FIRST) })
}

/// Correct labels, and per polynomial the images with a value outside of its interval.
fn measure(module: &Module<Nn>, images: &Images) -> Result<(usize, Vec<usize>), Box<dyn Error>> {
    let func = &module.func;
    let polynomials: Vec<(Value, f64, f64)> = func
        .iter()
        .filter_map(|(_, n)| match &n.op {
            NnOp::Polynomial { lo, hi, .. } => Some((n.operands[0], lo.0, hi.0)),
            _ => None,
        })
        .collect();
    let one = |(x, &label): (&Vec<Tensor>, &usize)| -> Result<(usize, Vec<usize>), eval::EvalError> {
        let mut escaped = vec![0; polynomials.len()];
        let outputs = eval::eval_observed(module, x, |value, t| {
            for ((_, lo, hi), escaped) in polynomials.iter().zip(&mut escaped).filter(|((v, ..), _)| *v == value) {
                *escaped = usize::from(t.data().iter().any(|&x| f64::from(x) < *lo || f64::from(x) > *hi));
            }
        })?;
        let top = outputs[0].data().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
        Ok((usize::from(top == Some(label)), escaped))
    };
    let all: Vec<_> = images.inputs.par_iter().zip(&images.labels).map(one).collect::<Result<_, _>>()?;
    let mut sum = (0, vec![0; polynomials.len()]);
    for (hit, escaped) in all {
        sum.0 += hit;
        sum.1.iter_mut().zip(escaped).for_each(|(a, b)| *a += b);
    }
    Ok(sum)
}

/// `7c` as degree and whether per channel.
fn choice(text: &str) -> Result<Choice, Box<dyn Error>> {
    let choice = if text.ends_with('c') { Choice::least_squares_per_channel } else { Choice::least_squares };
    Ok(choice(text.trim_end_matches('c').parse()?))
}

/// The choice of every activation from a row's description.
fn choices(module: &Module<Nn>, row: &str) -> Result<Choices, Box<dyn Error>> {
    let parts = row.split('/').map(choice).collect::<Result<Vec<_>, _>>()?;
    let func = &module.func;
    let activations: Vec<_> = func.iter().filter(|(_, n)| matches!(n.op, NnOp::Activation { .. })).collect();
    let of = |(i, (value, node)): (usize, &(Value, &fhec_ir::Node<Nn>))| {
        let after_sum = i == 0 || matches!(func.node(node.operands[0]).op, NnOp::Add {});
        let last = i + 1 == activations.len();
        let part = if last { 2 } else { usize::from(after_sum) };
        (*value, parts[part.min(parts.len() - 1)].clone())
    };
    Ok(activations.iter().enumerate().map(of).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: reconstruction MODEL.onnx DATA [key=value] ROW...";
    let (model, data) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let raw = model.contains("resnet8");
    let module = Fold::default().run(&fhec_frontend::import_file(&model)?)?;
    let mut options = ReconstructOptions::default();
    let mut test = images(&Path::new(&data).join("cifar10_test.bin"), 10_000, raw)?;
    let mut calibration = images(&Path::new(&data).join("cifar10_train.bin"), 1024, raw)?;
    println!("{:<28} {:>7} {:>8} {:>9} {:>9}", "row", "top-1", "escapes", "compile s", "test s");
    for argument in arguments {
        if let Some((key, value)) = argument.split_once('=') {
            match key {
                "test" => test = images(&Path::new(&data).join("cifar10_test.bin"), value.parse()?, raw)?,
                "held" => test = held(&Path::new(&data).join("cifar10_train.bin"), value.parse()?, raw)?,
                "calibration" => {
                    calibration = images(&Path::new(&data).join("cifar10_train.bin"), value.parse()?, raw)?;
                }
                "margin" => options.approximate.margin = Margin::Factor(value.parse()?),
                "uniform" => options.uniform_share = value.parse()?,
                "lambda" => options.lambda = value.parse()?,
                "positions" => options.positions = value.parse()?,
                _ => return Err(usage.into()),
            }
            println!("{argument}");
            continue;
        }
        let clock = Instant::now();
        let polynomial = if argument == "original" {
            module.clone()
        } else if let Some(row) = argument.strip_prefix("plain:") {
            let choices = choices(&module, row)?;
            ApproximateActivations::calibrated_with(
                &module,
                &calibration.inputs,
                options.approximate.clone(),
                &choices,
            )?
            .module
        } else {
            let options = ReconstructOptions { choices: choices(&module, &argument)?, ..options.clone() };
            let out = reconstruct(&module, &calibration.inputs, &options, &mut |_, _, _| ())?;
            if std::env::var_os("LAYERS").is_some() {
                for (l, a) in out.layers.iter().zip(out.activations.iter().map(Some).chain(std::iter::repeat(None))) {
                    let a = a.map(|a| {
                        format!("{} ±{:.2} rms {:.4} max {:.3}", a.node, a.interval.1, a.rms_error, a.max_error)
                    });
                    println!("  {:<48} {:.3e} -> {:.3e}  {}", l.node, l.mse_before, l.mse_after, a.unwrap_or_default());
                }
            }
            out.module
        };
        let compiled = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let (hits, escaped) = measure(&polynomial, &test)?;
        let top = 100.0 * hits as f64 / test.labels.len() as f64;
        let tested = clock.elapsed().as_secs_f64();
        println!(
            "{argument:<28} {top:>7.2} {:>8} {compiled:>9.1} {tested:>9.1}  {escaped:?}",
            escaped.iter().sum::<usize>()
        );
    }
    Ok(())
}
