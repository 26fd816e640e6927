//! The command `fhec demo` compiles the digit network of this repository and classifies a digit it cannot see.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use fhec::ir::nn::eval;
use fhec::{Client, Compiled, Compiler, Error, Model, Server, Tensor, data};

use super::comparison::Comparison;
use super::{Resources, output, progress};

/// The network the demo compiles, part of the program. `cli/demo` links to `models`, for a package holds what is below it.
const MODEL: &[u8] = include_bytes!("../demo/mnist_cnn.onnx");
const CALIBRATION: &[u8] = include_bytes!("../demo/calibration.npz");
const DIGITS: &[u8] = include_bytes!("../demo/digits.npy");
const LABELS: &[u8] = include_bytes!("../demo/digits_labels.npy");

/// Compile the digit network of this repository and classify a digit it cannot see
#[derive(Args)]
pub struct Demo {
    /// Which of the digits in the program, from 0
    #[arg(long, default_value_t = 0)]
    digit: usize,
    #[command(flatten)]
    resources: Resources,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Prints a stage when it is done, with its time.
struct Stages {
    clock: Instant,
    quiet: bool,
    done: Vec<(&'static str, f64)>,
}

impl Stages {
    fn done(&mut self, stage: &'static str, what: &str) {
        let seconds = self.clock.elapsed().as_secs_f64();
        if !self.quiet {
            say!("{stage:<12} {:>9}   {what}", output::seconds(seconds));
        }
        self.done.push((stage, seconds));
        self.clock = Instant::now();
    }
}

pub fn run(c: &Demo) -> Result<(), Error> {
    let mut stages = Stages { clock: Instant::now(), quiet: c.json, done: Vec::new() };
    let model = Model::from_bytes("mnist_cnn", MODEL)?;
    let inputs = &model.module.inputs;
    let digits = data::samples_from_bytes("digits.npy", DIGITS, inputs)?;
    let labels = data::labels_from_bytes("digits_labels.npy", LABELS, digits.len(), &model.module.outputs)?;
    let (Some(digit), Some(&label)) = (digits.get(c.digit), labels.get(c.digit)) else {
        let last = digits.len().saturating_sub(1);
        return Err(Error::Usage {
            reason: format!("there is no digit {}", c.digit),
            repair: format!("take 0 to {last}"),
        });
    };
    if !c.json {
        say!("{}", drawing(&digit[0]));
    }
    let calibration = data::samples_from_bytes("calibration.npz", CALIBRATION, inputs)?;
    stages.done("read", "a network with ReLU, trained on MNIST");

    let spinner = progress::spinner("compile");
    let Compiled { plan, polynomial, .. } = Compiler::new().calibration(calibration).compile(&model)?;
    spinner.finish_and_clear();
    let plan = Arc::new(plan);
    let (spec, counts) = (plan.spec(), plan.counts());
    stages.done(
        "compile",
        &format!(
            "to N = 2^{}, {} levels, {} rotations, {} products, {}-bit security",
            spec.log_n,
            spec.levels,
            counts.rotations,
            counts.products,
            plan.security().bits
        ),
    );

    let bar = progress::bar("keygen", plan.keys().len() as u64);
    let mut client = Client::generate(&plan.client()?)?;
    let keys = client.evaluation_keys(|p| bar.set_position(p.done as u64))?;
    bar.finish_and_clear();
    let bytes: u64 = keys.infos().iter().map(|k| k.stored_bytes as u64).sum();
    stages.done("keygen", &format!("{} evaluation keys, {}, for the server", keys.infos().len(), output::bytes(bytes)));

    let encrypted = client.encrypt(std::slice::from_ref(digit))?;
    let request = encrypted.to_bytes(client.context())?;
    stages.done("encrypt", &format!("the digit, {}", output::bytes(request.len() as u64)));

    let server = Server::new(plan.clone(), client.context().clone(), keys, c.resources.options())?;
    let bar = progress::bar("evaluate", 1);
    let (results, _) = server.eval(&encrypted, &mut |at| progress::show(&bar, &at))?;
    bar.finish_and_clear();
    stages.done("evaluate", &format!("on ciphertexts only, {} threads", server.threads()));

    let logits = client.decrypt(&results)?.swap_remove(0);
    stages.done("decrypt", "the ten scores");

    let failed = |e: eval::EvalError| Error::Usage { reason: e.to_string(), repair: "report this".into() };
    let exact = eval::eval(&polynomial, digit).map_err(failed)?;
    let original = eval::eval(&model.module, digit).map_err(failed)?;
    let class = data::class(&logits).ok_or_else(|| Error::Results {
        reason: "a score that was decrypted is not finite".into(),
        repair: "report this".into(),
    })?;
    let error = Comparison::of(std::slice::from_ref(&logits), std::slice::from_ref(&exact)).max_error;
    let to_original = Comparison::of(std::slice::from_ref(&logits), std::slice::from_ref(&original)).max_error;
    if c.json {
        return output::json(&serde_json::json!({
            "class": class, "label": label, "max_error": error, "max_error_to_original": to_original,
            "logits": logits[0].data(), "seconds": stages.done.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
            "security_bits": plan.security().bits, "peak_memory_bytes": output::peak_memory(),
        }));
    }
    say!("\n{}", bars(logits[0].data()));
    say!("The server saw noise. The client reads: {class} (the label is {label}).");
    say!("error {error:.1e} against the polynomial network, {to_original:.2} against the original with ReLU");
    Ok(())
}

/// The digit in characters, two rows of pixels to a line.
fn drawing(image: &Tensor) -> String {
    const SHADES: &[u8] = b" .:-=+*#%@";
    let dims = &image.shape().0;
    let width = dims.last().copied().unwrap_or(1).max(1);
    let rows: Vec<&[f32]> = image.data().chunks(width).collect();
    let largest = image.data().iter().fold(f32::MIN_POSITIVE, |m, &x| m.max(x));
    let shade = |x: f32| {
        let index = (x.max(0.0) / largest * (SHADES.len() - 1) as f32).round() as usize;
        char::from(SHADES[index.min(SHADES.len() - 1)])
    };
    let line = |pair: &[&[f32]]| -> String {
        let mean = |i: usize| pair.iter().map(|row| row[i]).sum::<f32>() / pair.len() as f32;
        (0..width).map(|i| shade(mean(i))).collect::<String>().trim_end().to_string()
    };
    rows.chunks(2).map(line).collect::<Vec<_>>().join("\n")
}

/// One bar per score.
fn bars(scores: &[f32]) -> String {
    let (low, high) = scores.iter().fold((f32::MAX, f32::MIN), |(lo, hi), &x| (lo.min(x), hi.max(x)));
    let length = |x: f32| ((x - low) / (high - low).max(f32::MIN_POSITIVE) * 40.0).round() as usize;
    let line = |(i, &x): (usize, &f32)| format!("{i:>3} {x:>9.3} {}", "#".repeat(length(x)));
    scores.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}
