//! The JSON of every command is compared with `docs/json.md`: every field is documented, and every documented field is
//! there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{write_images, write_residual, write_softmax};
use super::pipeline::compiled;
use super::{Place, repository};

/// What the document says of a field and of those inside it.
#[derive(Clone, Default)]
struct Field {
    /// The field may be left out.
    optional: bool,
    /// What is inside is not described.
    opaque: bool,
    /// By name; `[]` for the elements of an array, `*` for the fields of an object whose names are data.
    inside: BTreeMap<String, Field>,
}

impl Field {
    fn at(&mut self, path: &str) -> &mut Self {
        let path = path.replace("[]", ".[]");
        path.split('.')
            .filter(|part| !part.is_empty())
            .fold(self, |field, part| field.inside.entry(part.into()).or_default())
    }

    /// Whether the field may be left out: because the document says so, or says so of everything inside.
    fn may_be_absent(&self) -> bool {
        self.optional || (!self.inside.is_empty() && self.inside.values().all(Self::may_be_absent))
    }

    /// Adds to `wrong` what of `value` is not described and what is described and missing.
    fn compare(&self, path: &str, value: &Value, wrong: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) if !self.opaque && !fields.is_empty() => {
                for (name, value) in fields {
                    match self.inside.get(name).or_else(|| self.inside.get("*")) {
                        Some(field) => field.compare(&format!("{path}.{name}"), value, wrong),
                        None => drop(wrong.insert(format!("{path}.{name} is not in docs/json.md"))),
                    }
                }
                let wanted = self.inside.iter().filter(|(name, field)| !field.may_be_absent() && *name != "*");
                for (name, _) in wanted.filter(|(name, _)| !fields.contains_key(*name)) {
                    wrong.insert(format!("{path}.{name} is in docs/json.md only"));
                }
            }
            Value::Array(elements) if !self.opaque && !elements.is_empty() => match self.inside.get("[]") {
                Some(field) => elements.iter().for_each(|e| field.compare(&format!("{path}[]"), e, wrong)),
                None => drop(wrong.insert(format!("{path}[] is not in docs/json.md"))),
            },
            _ => {}
        }
    }
}

/// The document: the fields by section.
struct Document(BTreeMap<String, Vec<(String, String, String)>>);

impl Document {
    fn read() -> Self {
        let text = std::fs::read_to_string(repository("docs/json.md")).unwrap();
        let mut sections: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut section = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title.trim_matches('`').to_string();
            }
            let Some(row) = line.strip_prefix("| `").and_then(|row| row.strip_suffix(" |")) else { continue };
            let cells: Vec<&str> = row.splitn(3, " | ").collect();
            let [path, when, meaning] = cells[..] else { panic!("three columns: {line}") };
            let row = (path.trim_end_matches('`').to_string(), when.trim().to_string(), meaning.to_string());
            sections.entry(section.clone()).or_default().push(row);
        }
        Self(sections)
    }

    /// Adds the rows of a section. A meaning that begins with a link to a section stands for the fields of that one.
    fn add(&self, section: &str, to: &mut Field) {
        let rows = self.0.get(section).unwrap_or_else(|| panic!("docs/json.md has no section {section}"));
        for (path, when, meaning) in rows {
            let field = to.at(path);
            field.optional = !when.is_empty();
            field.opaque = meaning.starts_with("Opaque");
            if let Some((shape, _)) = meaning.strip_prefix('[').and_then(|rest| rest.split_once("](#")) {
                self.add(shape, field);
            }
        }
    }

    /// What is wrong with an object that `command` printed.
    fn compare(&self, command: &str, object: &Value, wrong: &mut BTreeSet<String>) {
        let mut fields = Field::default();
        self.add("Every object", &mut fields);
        self.add(command, &mut fields);
        fields.compare(command, object, wrong);
    }
}

/// Refuses fields of what `command` printed that are not documented, and documented ones that are not there.
#[cfg(all(feature = "serve", feature = "remote", unix))]
#[track_caller]
pub fn expect_documented(command: &str, object: &Value) {
    let mut wrong = BTreeSet::new();
    Document::read().compare(command, object, &mut wrong);
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}

/// Commands with few and with all of their options.
const COMMANDS: &[&str] = &[
    "compile tiny.onnx -o plan.fhe --calibration calibration.npy",
    "compile tiny.onnx -o again.fhe --explain --composite 15,15,27 --calibration calibration.npy \
     --validation x.npy --labels labels.npy",
    "compile tiny.onnx -o precise.fhe --calibration calibration.npy --precision 8",
    "prepare residual.onnx -o student.onnx --recipe recipe.json --skips auto --activations quadratic \
     --calibration residual.npy",
    "prepare residual.onnx -o pruned.onnx --recipe pruned.json --prune 0.3 --activations quadratic",
    "prepare residual.onnx --table",
    "search residual.onnx -o found --calibration many.npy --population 2 --generations 1",
    "export-client plan.fhe -o client.fhe",
    "inspect plan.fhe",
    "inspect plan.fhe --program",
    "keygen plan.fhe --secret client.key --evaluation server.key",
    "encrypt plan.fhe --secret client.key --input x.npy -o x.ct",
    "eval plan.fhe --evaluation server.key --input x.ct -o y.ct",
    "decrypt plan.fhe --secret client.key --input y.ct -o y.npy",
    "decrypt plan.fhe --secret client.key --input y.ct -o y2.npy --top 2 --names names.txt",
    "decrypt plan.fhe --secret client.key --input y.ct -o y3.npy --publish 4 --queries 10",
    "run plan.fhe --input x.npy -o r.npy",
    "run plan.fhe --input x.npy -o r2.npy --labels labels.npy",
    "compile softmax.onnx -o softmax.fhe --calibration calibration.npy",
    "inspect softmax.fhe",
    "run softmax.fhe --input x.npy -o r4.npy --apply-head",
    "simulate plan.fhe --input x.npy",
    "simulate plan.fhe --input large.npy --labels labels.npy --per-op",
    "report plan.fhe -o report.html",
    "opt program.fhir --pass fold",
    "opt program.fhir --pass fold -o folded.fhir",
    "opt program.fhir --pass fold --explain",
    "opt program.fhir --guess-ranges -o opt.fhe",
    "opt program.fhir --guess-ranges -o explained.fhe --explain",
    "opt --list",
    "bench --log-n 13 --limbs 2 --digits 1 --repetitions 1 --no-bootstrap",
    "calibrate --log-n 11",
    "demo",
    "man -o man",
    "token alice --tokens tokens",
];

const PROGRAM: &str = "\
input \"x\" : tensor<1x4>
output \"y\" : tensor<1x4>

func @main(%0: tensor<1x4> loc(\"x\")) -> tensor<1x4> {
  %1 = nn.activation %0 {function = sigmoid} : tensor<1x4> loc(\"act\")
  return %1
}
";

fn prepared() -> Place {
    let p = compiled();
    std::fs::remove_file(p.path("plan.fhe")).unwrap();
    std::fs::write(p.path("names.txt"), "cat\ndog\nbird\n").unwrap();
    std::fs::write(p.path("program.fhir"), PROGRAM).unwrap();
    write_softmax(&p.path("softmax.onnx"));
    write_residual(&p.path("residual.onnx"));
    write_images(&p.path("residual.npy"), 3, 32);
    write_images(&p.path("many.npy"), 3, 128);
    let port = |name: &str, shape: &[usize]| fhec::ir::Port {
        name: name.into(),
        shape: fhec::ir::Shape(shape.to_vec()),
        ..Default::default()
    };
    let labels: Vec<_> = (0..3).map(|class| vec![fhec::Tensor::new([1, 1], vec![class as f32])]).collect();
    fhec::data::write_samples(p.path("labels.npy"), &[port("labels", &[1, 1])], &labels).unwrap();
    let large: Vec<_> = (0..3).map(|_| vec![fhec::Tensor::full([1, 1, 8, 8], 20.0)]).collect();
    fhec::data::write_samples(p.path("large.npy"), &[port("x", &[1, 1, 8, 8])], &large).unwrap();
    write_images(&p.path("x.npy"), 7, 3);
    p
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    let (p, document) = (prepared(), Document::read());
    let mut wrong = BTreeSet::new();
    for command in COMMANDS {
        let args: Vec<&str> = command.split_whitespace().collect();
        let object = p.json(&args);
        assert_eq!((&object["schema"], &object["command"]), (&1.into(), &args[0].into()), "{command}");
        assert_eq!(object["fhec"], env!("CARGO_PKG_VERSION"), "{command}");
        document.compare(args[0], &object, &mut wrong);
    }
    let (run, inspect) =
        (p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "r3.npy"]), p.json(&["inspect", "plan.fhe"]));
    std::fs::write(p.path("run.json"), run.to_string()).unwrap();
    let report = p.json(&["report", "plan.fhe", "-o", "with.html", "--run", "run.json"]);
    document.compare("report", &report, &mut wrong);
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
    assert_eq!(inspect["security_bits"], 128);
}

#[test]
fn times_are_in_seconds() {
    let text = std::fs::read_to_string(repository("docs/json.md")).unwrap();
    let fields = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let other: Vec<&str> =
        fields.filter(|f| ["_us", "_ms", "micros", "millis"].iter().any(|unit| f.contains(unit))).collect();
    assert!(other.is_empty(), "{other:?}");
}

#[test]
fn errors_are_objects_too() {
    let (p, document) = (compiled(), Document::read());
    let mut wrong = BTreeSet::new();
    let mut error = |args: &[&str], exit_code: i32| -> Value {
        let output = p.fhec(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(exit_code), "{args:?}");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert_eq!(object["exit_code"], exit_code, "{object}");
        assert!(!output.stderr.is_empty(), "people are told too");
        document.compare("Errors", &object, &mut wrong);
        object
    };
    let missing = error(&["inspect", "nothing.fhe"], 1);
    assert_eq!((&missing["command"], &missing["error"]["code"]), (&"inspect".into(), &"file".into()), "{missing}");
    assert_eq!(missing["error"]["file"], "nothing.fhe");
    assert!(missing["error"]["help"].as_str().unwrap().contains("path"), "{missing}");
    std::fs::write(p.path("bad.fhir"), PROGRAM.replace("sigmoid", "nonsense")).unwrap();
    let text = error(&["opt", "bad.fhir"], 1);
    assert_eq!((&text["error"]["code"], &text["error"]["file"]), (&"program".into(), &"bad.fhir".into()), "{text}");
    assert!(text["error"]["details"][0]["message"].is_string(), "{text}");
    let system = error(&["calibrate", "--log-n", "11", "--latency", "x"], 2);
    assert_eq!(system["error"]["code"], "command_line");
    assert!(system["error"]["message"].as_str().unwrap().contains("--latency"), "{system}");
    let typo = error(&["keygn", "plan.fhe"], 2);
    assert!(typo["command"].is_null() && typo["error"]["help"].as_str().unwrap().contains("keygen"), "{typo}");
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}
