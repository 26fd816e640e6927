//! `fhec compile --scheme tfhe`.

use std::time::Instant;

use fhec::tfhe::{CompileOptions, compile};
use fhec::{Error, Model, data};

use super::super::compile::Compile;
use super::super::files::Files;
use super::super::shaping::PlaceOption;
use super::super::{output, progress};
use super::{Summary, refuse};

/// Quantises and compiles a model.
pub fn run(c: &Compile) -> Result<(), Error> {
    let s = &c.shaping;
    refuse(&[
        ("--guess-ranges", s.guess_ranges),
        ("--degree", s.degree.is_some()),
        ("--composite", s.composite.is_some()),
        ("--place", s.place != PlaceOption::Joint),
        ("--no-reconstruct", s.no_reconstruct),
        ("--max-latency", s.max_latency.is_some()),
        ("--max-error", s.max_error.is_some()),
        ("--max-keys", s.max_keys.is_some()),
        ("--max-memory", s.max_memory.is_some()),
        ("--latency", s.latency.is_some()),
        ("--margin", s.margin.is_some()),
        ("--batch", s.batch != 1),
        ("--precision", s.precision.is_some()),
        ("--forms", c.forms.is_some()),
        ("--dump-passes", c.dump_passes.is_some()),
        ("--explain", c.explain),
        ("--pareto", c.pareto.is_some()),
    ])?;
    let Some(calibration) = &s.calibration else {
        return Err(Error::Usage {
            reason: "a network is quantised by calibration, and there are no calibration data".into(),
            repair: "give some hundred inputs of the training set with `--calibration`".into(),
        });
    };
    let files = s.reads(Files::new(c.overwrite, c.json).reads("the model", [&c.model])?)?;
    let mut files = files.reads("the validation data", &c.validation)?.reads("the labels", &c.labels)?;
    let to = files.writes("--output", &c.output)?;
    let client = c.client.as_ref().map(|path| files.writes("--client", path)).transpose()?;
    let started = Instant::now();
    let spinner = progress::spinner("compile");
    spinner.set_message("reading the model and calibration data");
    let model = Model::load(&c.model)?;
    let samples = data::read_samples(calibration, &model.module.inputs)?;
    spinner.set_message("quantising");
    let options = CompileOptions { message_bits: c.message_bits, min_agreement: s.min_agreement.map(|p| p / 100.0) };
    let compiled = compile(&model, &samples, options)?;
    let accuracy = match (&c.validation, &c.labels) {
        (Some(inputs), Some(labels)) => {
            let inputs = data::read_samples(inputs, &compiled.plan.inputs())?;
            let labels = data::read_labels(labels, inputs.len(), &compiled.plan.outputs())?;
            let results = super::server::in_the_clear(&compiled.plan, &inputs)?;
            Some(data::count_right(&results, &labels) as f64 / inputs.len().max(1) as f64)
        }
        _ => None,
    };
    compiled.plan.save(&to)?;
    if let Some(client) = client {
        compiled.plan.client()?.save(client)?;
    }
    spinner.finish_and_clear();
    compiled.warnings.iter().for_each(output::warning);
    let (summary, seconds) = (Summary::of(&compiled.plan)?, started.elapsed().as_secs_f64());
    if c.json {
        return output::json(&serde_json::json!({
            "plan": c.output, "plan_bytes": output::written_bytes(&to), "seconds": seconds, "summary": summary,
            "layers": compiled.layers, "agreement": compiled.agreement, "held_back": compiled.held_back,
            "accuracy": accuracy, "notes": compiled.notes, "security_bits": 128,
        }));
    }
    let rows: Vec<Vec<String>> = compiled
        .layers
        .iter()
        .map(|layer| {
            let values = layer.values.map_or("-".into(), |values| values.to_string());
            let [sums, products, kept] = [layer.sums, layer.products, layer.kept].map(|n| n.to_string());
            let (bits, lost) = (layer.sum_bits.to_string(), format!("{:.1} %", 100.0 * layer.error));
            vec![layer.node.clone(), sums, products, kept, bits, values, lost]
        })
        .collect();
    output::table(&["layer", "sums", "products", "kept", "bits", "values", "lost"], &rows);
    say!();
    summary.print();
    say!(
        "agreement   {:.1} % with the network as it was given, on {} held-back calibration inputs",
        100.0 * compiled.agreement,
        compiled.held_back
    );
    if let Some(accuracy) = accuracy {
        say!("accuracy    {:.2} % of the validation inputs", 100.0 * accuracy);
    }
    compiled.notes.iter().for_each(|note| say!("note: {note}"));
    say!(
        "\n{} ({}), compiled in {}",
        c.output.display(),
        output::size_of(output::written_bytes(&to)),
        output::seconds(seconds)
    );
    Ok(())
}
