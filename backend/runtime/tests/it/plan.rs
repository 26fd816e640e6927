//! Plan files.

use fhec_ckks::MAX_FAILURE;
use fhec_container::{Codec, Dtype, Reader, Writer};
use fhec_ir::Tensor;
use fhec_ir::ckks::CkksOp;
use fhec_ir::text::print_module;
use fhec_runtime::{
    KeyList, PLAN_KIND, PLAN_VERSION, Plan, Provenance, RuntimeError, peak_ciphertext_bytes, run_clear,
};
use proptest::prelude::*;

use crate::programs::{Program, SLOTS, compact_spec, every_op, image, provenance};

#[test]
fn a_plan_comes_back_as_it_was() {
    let plan = every_op();
    let bytes = plan.to_bytes().unwrap();
    assert_eq!(every_op().to_bytes().unwrap(), bytes, "the same program gives the same bytes");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.fhe");
    let digest = plan.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let back = Plan::load(&path).unwrap();
    assert_eq!(back.digest().unwrap(), digest);
    assert_eq!(back.to_bytes().unwrap(), bytes);
    assert_eq!(print_module(back.module()), print_module(plan.module()));
    assert_eq!(run_clear(&back, &[image(1)]).unwrap(), run_clear(&plan, &[image(1)]).unwrap());
    assert_eq!(back.provenance(), &provenance());
    let other = Provenance { model: "other".into(), ..provenance() };
    let other = Plan::new(plan.module().clone(), other).unwrap();
    assert_ne!(other.digest().unwrap(), digest);
}

#[test]
fn the_key_list_has_the_levels_of_every_use() {
    let plan = every_op();
    // Linear at 5: giants 8 and -8 = 56, babies 1, 9-8 = 1, -3+8 = 5; linear at 1: 5 and 6; rotation by -2 = 62 at 2.
    // The second use of 5, at a level with a third of the limbs, would be no faster with a key of its own.
    let rotations = [(1, &[5][..]), (5, &[5]), (6, &[1]), (8, &[5]), (56, &[5]), (62, &[2])];
    let rotations = rotations.map(|(by, levels)| (by, levels.to_vec())).into();
    let relinearization = vec![4];
    assert_eq!(plan.keys(), &KeyList { relinearization, rotations, ..KeyList::default() });
    let counts = plan.counts();
    assert_eq!((counts.rotations, counts.key_switches, counts.products, counts.plain_products), (7, 9, 2, 7));
    assert_eq!(counts.ops["rescale"], 4);
    assert_eq!(plan.depth(), 5);
}

#[test]
fn the_peak_counts_what_lives_together() {
    let (mut p, x) = Program::new(1);
    let y = p.chebyshev2(x);
    let plan = p.plan(y);
    // At the product: the input (2 parts, 2 limbs) and the product (3 parts, 2 limbs); then the product and its
    // relinearisation (2 parts).
    assert_eq!(peak_ciphertext_bytes(plan.module(), 2048), (4 + 6) * 2048 * 8);
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let plan = every_op();
    let error = run_clear(&plan, &[]).unwrap_err();
    assert_eq!(error.to_string(), "input `image`: 0 tensors were given for 1 inputs");
    let error = run_clear(&plan, &[Tensor::full([1, 21], 0.0)]).unwrap_err();
    assert_eq!(error.to_string(), "input `image`: the tensor is 1x21, the plan takes 1x20");
    let error = run_clear(&plan, &[Tensor::full([1, 20], f32::NAN)]).unwrap_err();
    assert_eq!(error.to_string(), "input `image`: element 0 is NaN");
    assert!(run_clear(&plan, &[image(0).reshaped([20])]).is_ok(), "the batch dimension may be left out");
}

/// The plan's file with its program text edited and every hash made right again.
fn forged(edit: impl Fn(&str) -> String) -> Vec<u8> {
    forged_from(&every_op(), edit)
}

fn forged_from(plan: &Plan, edit: impl Fn(&str) -> String) -> Vec<u8> {
    let bytes = plan.to_bytes().unwrap();
    let reader = Reader::from_bytes("x", &bytes).unwrap();
    let mut writer = Writer::in_memory(PLAN_KIND, PLAN_VERSION).unwrap();
    for s in reader.sections() {
        let section = reader.section(&s.name).unwrap();
        if s.dtype == Dtype::Text {
            writer.section(&s.name, s.dtype, edit(section.as_str().unwrap()).as_bytes(), Codec::Zstd).unwrap();
        } else {
            writer.section(&s.name, s.dtype, &section, Codec::Zstd).unwrap();
        }
    }
    writer.into_bytes(&reader.manifest::<serde_json::Value>().unwrap()).unwrap()
}

#[test]
fn programs_edited_behind_the_hashes_are_refused() {
    let error = |edit: fn(&str) -> String| Plan::from_bytes("p.fhe", &forged(edit)).unwrap_err().to_string();
    assert!(Plan::from_bytes("p.fhe", &forged(str::to_string)).is_ok());
    assert!(error(|t| t.replace("ckks.neg", "ckks.nonsense")).contains("cannot be read"));
    assert!(error(|t| t.replace("levels = 5", "levels = 6")).contains("different parameters"));
    assert!(error(|t| t.replace("{by = -2}", "{by = -4}")).contains("key list"));
    let lied = error(|t| t.replacen(": ct<4> loc", ": ct<3> loc", 1));
    assert!(lied.contains("ct<3>") || lied.contains("cannot be read"), "{lied}");
}

/// So many bootstraps, one after the other, under a secret for which `k` just suffices.
fn bootstraps(count: usize) -> Result<Plan, RuntimeError> {
    let whole = 1 << 9;
    let spec = (32..64).find_map(|sparse_weight| {
        let mut spec = compact_spec();
        let bootstrap = spec.bootstrap.as_mut().unwrap();
        (bootstrap.circuit.sparse_weight, bootstrap.circuit.k) = (sparse_weight, 15);
        let params = fhec_ckks::Params::new(spec.clone()).ok()?;
        params.bootstrap_failure(1, whole).filter(|&log2| log2 > MAX_FAILURE - 4.0).map(|_| spec)
    });
    let (mut p, mut x) = Program::with(spec.unwrap(), 1);
    for _ in 0..count {
        x = p.push(CkksOp::Bootstrap { to: 3 }, [x]);
    }
    p.try_plan(x)
}

#[test]
fn a_run_whose_bootstraps_fail_too_often_is_refused() {
    let plan = bootstraps(4).unwrap();
    let log2 = plan.bootstrap_failure().unwrap();
    assert!(log2 < MAX_FAILURE, "{log2}");
    assert_eq!(every_op().bootstrap_failure(), None);
    // Every doubling costs a bit.
    assert!((bootstraps(8).unwrap().bootstrap_failure().unwrap() - log2 - 1.0).abs() < 1e-9);
    let many = 1usize << (MAX_FAILURE - log2 + 3.0) as u32;
    let refused = bootstraps(many).unwrap_err();
    let RuntimeError::Failure { bootstraps: found, slots, log2, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*found as usize, *slots), (many, SLOTS));
    assert!(*log2 > MAX_FAILURE && refused.to_string().contains("the limit is 2^-60"), "{refused}");
    // A file that says so is refused when it is loaded.
    let line = |n: usize, operand: usize| format!("%{n} = ckks.bootstrap %{operand} ");
    let lengthened = forged_from(&plan, |text| {
        let last = text.lines().find(|l| l.trim_start().starts_with(&line(4, 3))).unwrap();
        let rest = &last.trim_start()[line(4, 3).len()..];
        let more: Vec<String> = (4..=many).map(|n| format!("  {}{rest}", line(n, n - 1))).collect();
        text.replace(last, &more.join("\n")).replace("return %4", &format!("return %{many}"))
    });
    let error = Plan::from_bytes("p.fhe", &lengthened).unwrap_err();
    assert!(matches!(&error, RuntimeError::Failure { file, .. } if file == "p.fhe"), "{error}");
}

#[test]
fn a_newer_plan_is_refused_with_its_version() {
    let mut bytes = every_op().to_bytes().unwrap();
    bytes[12] += 1;
    assert!(Plan::from_bytes("p.fhe", &bytes).is_err(), "the hash no longer matches");
    let writer = Writer::in_memory(PLAN_KIND, PLAN_VERSION + 1).unwrap();
    let newer = writer.into_bytes(&()).unwrap();
    let error = Plan::from_bytes("p.fhe", &newer).unwrap_err();
    let versions = format!("format version {}, this program reads version {PLAN_VERSION}", PLAN_VERSION + 1);
    assert!(error.to_string().contains(&versions), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_is_an_error(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = every_op().to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Plan::from_bytes("p.fhe", &bytes).is_err());
    }
}
