//! Files of an attacker cost little to read, whatever they claim, and are refused with a message.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fhec::Tensor;
use fhec::ir::text::{Blobs, parse_module, to_hex};
use fhec::ir::{Ckks, Module};
use fhec::runtime::{Plan, Provenance};
use serde_json::{Value, json};

use super::Place;
use super::forge::{Forge, Section, repeated};
use super::pipeline::compiled;

/// Most memory that reading a hostile file may take, in bytes.
const MEMORY: u64 = 300 << 20;
/// Most seconds of computation.
const SECONDS: f64 = 2.0;
const GIB: u64 = 1 << 30;

/// Runs `fhec` and expects an error, within bounds on memory and time; its message.
#[track_caller]
fn refused(place: &Place, what: &str, args: &[&str]) -> String {
    let (code, message) = measured(place, what, args);
    assert_eq!(code, Some(1), "{what}: {args:?}: {message}");
    message.split_whitespace().filter(|w| !["│", "×", "╰─▶", "├─▶"].contains(w)).collect::<Vec<_>>().join(" ")
}

/// Runs `fhec` within bounds on memory and time; its exit code and what it says on standard error.
#[track_caller]
fn measured(place: &Place, what: &str, args: &[&str]) -> (Option<i32>, String) {
    let log = place.path("stderr");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fhec"));
    command.args(args).current_dir(place.path("")).stdout(Stdio::null()).stdin(Stdio::null());
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let (id, started) = (child.id(), Instant::now());
    let (mut peak, mut seconds) = (0, 0.0);
    let status = loop {
        // The system forgets both when the process ends, so they are read until then.
        peak = memory(id).unwrap_or(0).max(peak);
        seconds = computed(id).unwrap_or(0.0).max(seconds);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if peak > 4 * MEMORY || started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: {args:?} took {} MiB and {seconds:.1} s, and was stopped", peak >> 20);
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let message = std::fs::read_to_string(&log).unwrap();
    println!("{what}: {}: {} MiB, {seconds:.2} s", args[0], peak >> 20);
    assert!(!message.contains("panicked"), "{what}: {message}");
    assert!(message.len() < 64 << 10, "{what}: a message of {} bytes", message.len());
    assert!(peak < MEMORY, "{what}: {args:?} took {} MiB", peak >> 20);
    assert!(seconds < SECONDS, "{what}: {args:?} took {seconds} s");
    (status.code(), message)
}

/// The most memory that a process has held.
fn memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Seconds that a process has computed on all threads; the system counts hundredths.
fn computed(id: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// A plan for a program in text.
fn plan(text: &str) -> Vec<u8> {
    let module: Module<Ckks> = parse_module("hostile", text, &Blobs::default()).unwrap();
    Plan::new(module, Provenance::default()).unwrap().to_bytes().unwrap()
}

/// The first line of a program: parameters that are no bait.
const PARAMS: &str = "params {log_n = 13, first_bits = 45, scale_bits = 35, levels = 3, special_bits = 45, special = 1, \
                      insecure = false}\n";

/// A port of `slots` slots.
fn port(kind: &str, slots: usize) -> String {
    format!(
        "{kind} \"x\" : tensor<1x4> layout {{slots = {slots}, ciphertexts = 1, period = {slots}, offset = 0, digits = [{{dim = 1, \
         divisor = 1, size = 4, stride = 1}}]}}\n"
    )
}

/// A program of these constants and ops from `%0` at level 3.
fn program(slots: usize, constants: &str, ops: &str, result: &str) -> String {
    let ports = [port("input", slots), port("output", slots)].concat();
    format!("{PARAMS}{constants}{ports}\nfunc @main(%0: ct<3>) -> ct<{result} {{\n{ops}}}\n")
}

/// A plan of honest parameters in which the program is replaced.
fn with_program(text: &str) -> Forge {
    let mut forge = Forge::of(&plan(&program(4096, "", "  return %0\n", "3>")));
    forge.set_program(text);
    forge
}

/// A constant of an honest plan, by section name and shape.
fn constant(forge: &Forge) -> (String, Vec<u64>) {
    let (name, shape) = forge.manifest["constants"].as_object().unwrap().iter().next().unwrap();
    (format!("constant/{name}"), serde_json::from_value(shape.clone()).unwrap())
}

/// Plans that neither `inspect` nor `keygen` may pay for, with words of the message.
fn hostile_plans(place: &Place) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let honest = || Forge::of(&std::fs::read(place.path("plan.fhe")).unwrap());
    let edited = |edit: &dyn Fn(&mut Forge)| {
        let mut forge = honest();
        edit(&mut forge);
        forge.seal()
    };
    let name = constant(&honest()).0;
    let key = name.strip_prefix("constant/").unwrap();
    let bomb = edited(&|f| {
        f.manifest["constants"][key] = json!([6 << 10, 256 << 10]);
        f.put(Section::bomb(&name, "f32", 0, 6 * GIB));
    });
    assert!(bomb.len() < 302 << 10, "{}", bomb.len());
    let many = edited(&|f| {
        for byte in 1..=4 {
            let tensor = Tensor::full([6 << 20], f32::from_bits(u32::from_ne_bytes([byte; 4])));
            let name = to_hex(&fhec::ir::digest(&tensor));
            f.manifest["constants"][&name] = json!([6 << 20]);
            f.put(Section::bomb(&format!("constant/{name}"), "f32", byte, 24 << 20));
        }
    });
    let text = edited(&|f| f.put(Section::bomb("program", "text", b' ', 3 * GIB)));
    let tokens = edited(&|f| {
        let list = "1,".repeat(8 << 20);
        let text = format!("{PARAMS}const @a : tensor<8388608> = [{list}1]\n");
        let packed = zstd::bulk::compress(text.as_bytes(), 1).unwrap();
        f.put(Section { name: "program".into(), dtype: "text", codec: "zstd", stored: packed, len: text.len() as u64 });
    });
    let short = edited(&|f| f.put(Section::bomb(&name, "f32", 0, 6 * GIB)));
    let longer = edited(&|f| {
        let stored = repeated(0, 6 * GIB, 0x68);
        let len = f.section(&name).len;
        f.put(Section { name: name.clone(), dtype: "f32", codec: "zstd", stored, len });
    });
    let window = edited(&|f| {
        let len = f.section(&name).len;
        f.put(Section { name: name.clone(), dtype: "f32", codec: "zstd", stored: repeated(0, len, 0xa8), len });
    });
    let overflow = edited(&|f| f.manifest["constants"][key] = json!([1u64 << 33, 1u64 << 33]));
    let report = edited(&|f| f.manifest["provenance"]["report"] = json!(vec![json!({ "": 0 }); 500_000]));
    let manifest = edited(&|f| f.manifest_text = Some(" ".repeat(30 << 20)));
    let sections = edited(&|f| (0..120_000).for_each(|i| f.sections.push(Section::raw(&i.to_string(), "u8", &[]))));
    let filled = with_program(&program(4096, "const @a : tensor<1073741824> = zeros\n", "  return %0\n", "3>")).seal();
    let layout = port("input", 4096);
    let wide = layout.replace("ciphertexts = 1, ", "ciphertexts = 100000, ").replace("slots = 4096", "slots = 1048576");
    let params: Vec<String> = (0..20_000).map(|i| format!("%{i}: ct<3>")).collect();
    let wide = format!(
        "{PARAMS}{wide}{}\nfunc @main({}) -> ct<3> {{\n  return %0\n}}\n",
        port("output", 1 << 20),
        params.join(", ")
    );
    let wide = with_program(&wide).seal();
    let digit = "{dim = 1, divisor = 1, size = 1, stride = 0}, ";
    let digits = layout.replace("digits = [", &format!("digits = [{}", digit.repeat(10_000)));
    let digits =
        format!("{PARAMS}{digits}{}\nfunc @main(%0: ct<3>) -> ct<3> {{\n  return %0\n}}\n", port("output", 4096));
    let digits = with_program(&digits).seal();
    let steps: Vec<String> = (0..2048).map(|i| i.to_string()).collect();
    let babies = format!(
        "  %1 = ckks.linear %0 {{rotations = [{}], giants = [{}], diagonals = @d, at = 3}} : ct<3, sd=2>\n  %2 = ckks.rescale %1 : ct<2>\n  return %2\n",
        steps.join(", "),
        ["0"; 2048].join(", ")
    );
    let babies = with_program(&program(4096, "const @d : tensor<2048x4096> = full(1.0)\n", &babies, "2>")).seal();
    let mut violations = String::new();
    (1..6000).for_each(|i| writeln!(violations, "  %{i} = ckks.rotate %0 {{by = 1}} : ct<2>").unwrap());
    let violations = with_program(&program(4096, "", &format!("{violations}  return %1\n"), "2>")).seal();
    let deep = edited(&|f| f.manifest_text = Some("[".repeat(100_000)));
    let levels = edited(&|f| {
        f.manifest["params"]["spec"]["levels"] = json!(4_000_000_000u32);
    });
    vec![
        ("a constant of 6 GiB", bomb, "--max-size"),
        ("four constants of 24 MiB", many, "--max-size"),
        ("a program of 3 GiB of blanks", text, "--max-size"),
        ("a list of 8 million numbers", tokens, "--max-size"),
        ("a constant longer than its shape", short, "are needed"),
        ("a constant that unpacks to more than it says", longer, "decompresses to more"),
        ("a window of 2 GiB", window, "decompressed"),
        ("a shape that overflows", overflow, "shape"),
        ("half a million objects in the report", report, "report"),
        ("a manifest of 30 MiB", manifest, "manifest"),
        ("120,000 sections", sections, "index"),
        ("zeros of 4 GiB", filled, "filled"),
        ("20,000 inputs of a million slots", wide, "more than the 4096"),
        ("10,000 digits", digits, "digits"),
        ("2,048 baby steps", babies, "baby"),
        ("6,000 wrong types", violations, "the first of 6000 errors"),
        ("brackets", deep, "manifest"),
        ("4 billion levels", levels, "levels"),
    ]
}

#[test]
fn plans_of_an_attacker_cost_little() {
    let p = compiled();
    for (what, bytes, words) in hostile_plans(&p) {
        std::fs::write(p.path("hostile.fhe"), bytes).unwrap();
        let message = refused(&p, what, &["inspect", "hostile.fhe"]);
        assert!(message.contains(words), "{what}: {message}");
        let keygen = ["keygen", "hostile.fhe", "--secret", "h.key", "--evaluation", "h.ev"];
        assert!(refused(&p, what, &keygen).contains(words), "{what}");
        assert!(!p.path("h.key").exists() && !p.path("h.ev").exists(), "{what}");
    }
}

#[test]
fn a_valid_program_that_asks_for_much_is_inspected_in_time() {
    let p = Place::new();
    let (zeros, mut ops) = (vec!["0"; 512].join(", "), String::new());
    for i in 1..=120 {
        let attributes = format!("{{rotations = [{zeros}], giants = [{zeros}], diagonals = @d, at = 3}}");
        writeln!(ops, "  %{i} = ckks.linear %0 {attributes} : ct<3, sd=2>").unwrap();
    }
    for i in 1..120 {
        let sum = if i == 1 { 1 } else { 119 + i };
        writeln!(ops, "  %{} = ckks.add %{sum}, %{} : ct<3, sd=2>", 120 + i, i + 1).unwrap();
    }
    ops.push_str("  %240 = ckks.rescale %239 : ct<2>\n  return %240\n");
    let text = program(4096, "const @d : tensor<512x4096> = zeros\n", &ops, "2>");
    std::fs::write(p.path("zeros.fhe"), plan(&text)).unwrap();
    let (code, message) = measured(&p, "120 transforms of zeros", &["inspect", "zeros.fhe"]);
    assert_eq!(code, Some(0), "{message}");
}

/// A client plan with as many keys as its parameters have rotations.
fn greedy_client_plan(place: &Place) -> Vec<u8> {
    let mut forge = Forge::of(&std::fs::read(place.path("client.fhe")).unwrap());
    let slots = 1 << (forge.manifest["params"]["spec"]["log_n"].as_u64().unwrap() - 1);
    let levels = forge.manifest["params"]["spec"]["levels"].clone();
    let rotations: serde_json::Map<String, Value> =
        (1..slots).map(|by: u64| (by.to_string(), json!([levels]))).collect();
    forge.manifest["keys"]["rotations"] = Value::Object(rotations);
    forge.seal()
}

#[test]
fn keys_are_bounded_before_the_first_is_made() {
    let p = compiled();
    p.ok(&["export-client", "plan.fhe", "-o", "client.fhe"]);
    std::fs::write(p.path("greedy.fhe"), greedy_client_plan(&p)).unwrap();
    let keygen = |plan| ["keygen", plan, "--secret", "h.key", "--evaluation", "h.ev"];
    let greedy = [&keygen("greedy.fhe")[..], &["--max-size", "1G"]].concat();
    let message = refused(&p, "a key for every rotation", &greedy);
    assert!(message.contains("the bound is 1.00 GiB") && message.contains("--max-size"), "{message}");
    let tight = [&keygen("client.fhe")[..], &["--max-size", "1M"]].concat();
    assert!(refused(&p, "a bound of 1 MiB", &tight).contains("the bound is 1.0 MiB"));
    assert!(!p.path("h.key").exists() && !p.path("h.ev").exists());
    for (what, edit, words) in client_plan_edits() {
        let mut forge = Forge::of(&std::fs::read(p.path("client.fhe")).unwrap());
        edit(&mut forge.manifest);
        std::fs::write(p.path("edited.fhe"), forge.seal()).unwrap();
        let message = refused(&p, what, &keygen("edited.fhe"));
        assert!(message.contains(words), "{what}: {message}");
    }
}

type Edit = (&'static str, fn(&mut Value), &'static str);

fn client_plan_edits() -> [Edit; 13] {
    [
        ("a rotation by 0", |m| m["keys"]["rotations"]["0"] = json!([1]), "no rotation by 0"),
        ("a key above the top", |m| m["keys"]["relinearization"] = json!([4_000_000_000u32]), "levels of the key"),
        ("a key listed twice", |m| m["keys"]["conjugation"] = json!([1, 1]), "levels of the key"),
        ("a sparse secret of none", |m| m["keys"]["from_sparse"] = json!(1), "sparse secret"),
        ("an input above the top", |m| m["inputs"][0]["levels"] = json!([200]), "above the top level"),
        ("more levels than ciphertexts", |m| m["inputs"][0]["levels"] = json!([1, 1]), "its layout spans"),
        ("no outputs", |m| m["outputs"] = json!([]), "needs inputs and outputs"),
        ("an error of no output", |m| m["result_errors"] = json!([1e-6, 1e-6]), "the errors of 2 outputs and has 1"),
        ("an error of zero", |m| m["result_errors"] = json!([0.0]), "no error of an output"),
        ("an error below zero", |m| m["result_errors"] = json!([-1e-6]), "no error of an output"),
        ("2^20 slots", |m| m["inputs"][0]["port"]["layout"]["slots"] = json!(1 << 20), "slots"),
        ("a digest that is none", |m| m["plan"] = json!("00"), "digest"),
        ("a billion ciphertexts", |m| m["inputs"][0]["port"]["layout"]["ciphertexts"] = json!(1 << 30), "layout spans"),
    ]
}

/// An honest request taken apart.
fn request(place: &Place) -> Forge {
    Forge::of(&std::fs::read(place.path("x.ct")).unwrap())
}

fn hostile_requests(place: &Place) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let edited = |edit: &dyn Fn(&mut Forge)| {
        let mut forge = request(place);
        edit(&mut forge);
        forge.seal()
    };
    let bomb = edited(&|f| f.put(Section::bomb("0", "u8", 0, 4 * GIB - (1 << 30))));
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let packed = edited(&|f| {
        let len = f.section("0").len;
        f.put(Section::bomb("0", "u8", 0, len));
    });
    let entry = request(place).manifest["ciphertexts"][0].clone();
    let entries = edited(&|f| {
        f.manifest["ciphertexts"] = json!(vec![entry.clone(); 60_000]);
        f.manifest["extra"]["images"] = json!(60_000);
    });
    let fewer = edited(&|f| {
        f.manifest["ciphertexts"] = json!(vec![entry.clone(); 30_000]);
        f.manifest["extra"]["images"] = json!(30_000);
    });
    vec![
        ("a ciphertext of 3 GiB", bomb, "compressed"),
        ("a compressed ciphertext of the right length", packed, "compressed"),
        ("60,000 ciphertexts", entries, "too much for one file"),
        ("30,000 ciphertexts of which 3 are there", fewer, "is missing"),
        ("2^60 images", edited(&|f| f.manifest["extra"]["images"] = json!(1u64 << 60)), "images"),
        (
            "level 4 billion",
            edited(&|f| f.manifest["ciphertexts"][0]["level"] = json!(4_000_000_000u64)),
            "no ciphertext",
        ),
        ("a low level", edited(&|f| f.manifest["ciphertexts"][0]["level"] = json!(0)), "are needed"),
        (
            "a scale degree of 2",
            edited(&|f| {
                f.manifest["ciphertexts"][0]["sd"] = json!(2);
                f.manifest["ciphertexts"][0]["seeded"] = json!(false);
            }),
            "are needed",
        ),
        ("a billion slots", edited(&|f| f.manifest["ciphertexts"][0]["slots"] = json!(1 << 30)), "slots"),
        ("a label of 7 MiB", edited(&|f| f.manifest["extra"]["plan"] = json!("0".repeat(7 << 20))), "label"),
        ("a residue beyond its prime", edited(&|f| f.section("0").stored[..64].fill(0xff)), "not below its prime"),
    ]
}

#[test]
fn requests_and_keys_of_an_attacker_cost_little() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    for (what, bytes, words) in hostile_requests(&p) {
        std::fs::write(p.path("hostile.ct"), bytes).unwrap();
        let eval = ["eval", "plan.fhe", "--evaluation", "server.key", "--input", "hostile.ct", "-o", "y.ct"];
        let message = refused(&p, what, &eval);
        assert!(message.contains(words), "{what}: {message}");
        let decrypt = ["decrypt", "plan.fhe", "--secret", "client.key", "--input", "hostile.ct", "-o", "y.npy"];
        refused(&p, what, &decrypt);
    }
    let mut keys = Forge::of(&std::fs::read(p.path("server.key")).unwrap());
    let first = keys.manifest["keys"][0].clone();
    keys.manifest["keys"] = json!(vec![first; 40_000]);
    std::fs::write(p.path("hostile.key"), keys.seal()).unwrap();
    let eval = ["eval", "plan.fhe", "--evaluation", "hostile.key", "--input", "x.ct", "-o", "y.ct"];
    assert!(refused(&p, "40,000 times the same key", &eval).contains("listed twice"));
    let mut keys = Forge::of(&std::fs::read(p.path("server.key")).unwrap());
    let name = keys.sections[0].name.clone();
    keys.put(Section::bomb(&name, "u8", 0, 4 * GIB));
    std::fs::write(p.path("hostile.key"), keys.seal()).unwrap();
    assert!(refused(&p, "a key of 4 GiB", &eval).contains("wrong size"));
    let mut secret = Forge::of(&std::fs::read(p.path("client.key")).unwrap());
    secret.put(Section::bomb("seed", "u8", 0, 4 * GIB));
    std::fs::write(p.path("hostile.key"), secret.seal()).unwrap();
    let encrypt = ["encrypt", "plan.fhe", "--secret", "hostile.key", "--input", "x.npy", "-o", "z.ct"];
    assert!(refused(&p, "a secret key of 4 GiB", &encrypt).contains("compressed"));
}
