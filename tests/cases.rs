//! The small models of `../shared/cases`: each is compiled and simulated, or refused as it should be.
//!
//! `FHEC_CASES=name,name` runs these alone; the table of verdicts goes to stderr.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::material;

/// What a case must come to.
#[derive(Clone, Copy)]
enum Verdict {
    /// Compiles, and the exact simulation agrees up to this share of the largest expected value.
    Agrees(f64),
    /// Compiles; what is encrypted ends before the head, so that the results are not those expected.
    Compiles,
    /// Is refused in words among which are these.
    Refused(&'static [&'static str]),
}

use Verdict::{Agrees, Compiles, Refused};

/// Share of the largest expected value that the polynomials of a few activations may be off.
const POLYNOMIALS: Verdict = Agrees(0.1);

/// Cases with a verdict of their own; all others compile and agree.
const VERDICTS: &[(&str, Verdict)] = &[
    ("argmax_head", Compiles),
    ("attention_softmax", TWO_ENCRYPTED),
    ("cosine_two_inputs", TWO_ENCRYPTED),
    ("denormal_weights", Agrees(0.2)),
    ("dropout_training", Refused(&["`dropout_2`", "training mode", "model.eval()"])),
    ("few_calibration_samples", ESCAPES),
    ("lstm", Refused(&["`lstm_1`", "not supported", "unroll"])),
    ("nan_weight", Refused(&["`gemm_1`", "`w`", "NaN"])),
    ("nan_weight_linear", Refused(&["`gemm_1`", "`w`", "NaN"])),
    ("optional_if", ESCAPES),
    ("qdq_per_channel", Refused(&["`quantizelinear_1`", "encrypted", "float32 network before quantisation"])),
    ("softmax_head", Compiles),
    ("symbolic_hw", Refused(&["`x`", "`height`", "fixed size"])),
    ("torch/mha__dyn18b", TWO_ENCRYPTED),
    ("torch/mha__leg17", TWO_ENCRYPTED),
    ("two_encrypted_inputs", ESCAPES),
    ("unicode_names", ESCAPES),
    ("zero_extent_input", Refused(&["`x`", "extent of 0"])),
];

/// Inputs beyond the calibration: the polynomials escape, of which the simulation warns.
const ESCAPES: Verdict = Compiles;
const TWO_ENCRYPTED: Verdict = Refused(&["both operands of the matrix product depend on the input", "constant factor"]);

/// Time for one command.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn every_case_has_its_verdict() {
    let Some(root) = material::cases("every_case_has_its_verdict") else { return };
    let only = std::env::var("FHEC_CASES").ok();
    let mut names: Vec<String> = folders(&root, "");
    names.extend(folders(&root, "torch/"));
    names.retain(|name| only.as_ref().is_none_or(|only| only.split(',').any(|o| o == name)));
    names.sort();
    let rows = Mutex::new(vec![(String::new(), None); names.len()]);
    let next = Mutex::new(0..names.len());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(i) = { next.lock().unwrap().next() } {
                    let row = judge(&root, &names[i]);
                    rows.lock().unwrap()[i] = row;
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let mut table = String::new();
    for (name, (row, _)) in names.iter().zip(&rows) {
        let _ = writeln!(table, "{name:28} {row}");
    }
    let _ = std::io::stderr().write_all(table.as_bytes());
    let wrong: Vec<String> =
        names.iter().zip(&rows).filter_map(|(name, (_, wrong))| Some(format!("{name}: {}", wrong.as_ref()?))).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), names.len(), wrong.join("\n"));
}

fn folders(root: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(prefix)).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.path().join("model.onnx").is_file())
        .map(|entry| format!("{prefix}{}", entry.file_name().to_str().unwrap()))
        .collect()
}

/// What a case came to, in one line, and why that is wrong, if it is.
fn judge(root: &Path, name: &str) -> (String, Option<String>) {
    let verdict = VERDICTS.iter().find(|(n, _)| *n == name).map_or(POLYNOMIALS, |(_, verdict)| *verdict);
    let found = run(&root.join(name));
    let row = match &found {
        Ok((error, largest)) => format!("compiled, error {error:.2e} of {largest:.2e}"),
        Err(message) => format!("refused: {message}"),
    };
    let wrong = match (verdict, &found) {
        (Compiles, Ok(_)) => None,
        (Agrees(share), Ok((error, largest))) => (error.is_nan() || *error > share * largest).then(|| row.clone()),
        (Refused(words), Err(message)) => {
            let missing = words.iter().find(|word| !message.contains(**word));
            missing.map(|word| format!("the message lacks `{word}`: {message}"))
        }
        _ => Some(row.clone()),
    };
    (row, wrong)
}

/// The largest error of the exact simulation and the largest expected value, or the message of the command that failed.
fn run(case: &Path) -> Result<(f64, f64), String> {
    let place = tempfile::tempdir().unwrap();
    let file =
        |stem: &str| ["npy", "npz"].map(|ext| case.join(stem).with_extension(ext)).into_iter().find(|p| p.is_file());
    let (model, plan) = (case.join("model.onnx"), place.path().join("plan.fhe"));
    let calibration = file("calibration");
    let mut compile = vec![model.as_os_str(), "-o".as_ref(), plan.as_os_str()];
    if let Some(calibration) = &calibration {
        compile.extend(["--calibration".as_ref(), calibration.as_os_str()]);
    }
    command(&compile)?;
    let (input, expected) = (file("input").unwrap(), file("expected").unwrap());
    let output = place.path().join("output").with_extension(expected.extension().unwrap());
    command(&[
        "simulate".as_ref(),
        plan.as_os_str(),
        "--exact".as_ref(),
        "--input".as_ref(),
        input.as_os_str(),
        "-o".as_ref(),
        output.as_os_str(),
    ])?;
    let (found, expected) = (arrays(&output), arrays(&expected));
    let same_sizes = found.iter().map(Vec::len).eq(expected.iter().map(Vec::len));
    let (found, expected) = (found.concat(), expected.concat());
    let errors = found.iter().zip(&expected).map(|(x, y)| (x - y).abs());
    // Results before a head that is left to the client have another size.
    let error = if same_sizes { fhec::ir::largest_magnitude(errors) } else { f64::NAN };
    Ok((error, fhec::ir::largest_magnitude(expected.iter().copied())))
}

/// Runs `fhec` for at most [`LIMIT`]; the text of its message where it fails.
fn command(args: &[&std::ffi::OsStr]) -> Result<(), String> {
    let mut stderr = tempfile::tempfile().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fhec"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(format!("no end within {} s", LIMIT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut text = String::new();
    std::io::Seek::rewind(&mut stderr).unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
    if status.success() {
        return Ok(());
    }
    assert!(!text.contains("panicked"), "{text}");
    Err(text.split_whitespace().filter(|w| !["│", "×", "╰─▶", "├─▶"].contains(w)).collect::<Vec<_>>().join(" "))
}

/// The arrays of a NumPy file, by rising name.
fn arrays(path: &PathBuf) -> Vec<Vec<f64>> {
    let read = |npy: npyz::NpyFile<&mut dyn std::io::Read>| -> Vec<f64> {
        let kind = npy.dtype().descr();
        match kind.trim_matches('\'') {
            "<f4" => npy.data::<f32>().unwrap().map(|x| f64::from(x.unwrap())).collect(),
            "<f8" => npy.data::<f64>().unwrap().map(|x| x.unwrap()).collect(),
            "<i8" => npy.data::<i64>().unwrap().map(|x| x.unwrap() as f64).collect(),
            "<f2" => npy.data::<npyz::half::f16>().unwrap().map(|x| f64::from(x.unwrap())).collect(),
            other => panic!("{}: elements of type {other}", path.display()),
        }
    };
    let mut file = File::open(path).unwrap();
    if path.extension().is_some_and(|e| e == "npy") {
        return vec![read(npyz::NpyFile::new(&mut file as &mut dyn std::io::Read).unwrap())];
    }
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort();
    let mut out = Vec::new();
    for name in names {
        let mut entry = archive.by_name(&name).unwrap();
        out.push(read(npyz::NpyFile::new(&mut entry as &mut dyn std::io::Read).unwrap()));
    }
    out
}
