//! Small valid files of every kind.

use std::sync::{Arc, LazyLock};

use fhec_ckks::{
    Circuit, Context, Evaluator, KeyName, KeyRequest, KeySet, ParamSpec, Params, ciphertexts_to_bytes,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Digit, F64, Layout, Loc, Module, Port, Shape, Tensor};
use fhec_runtime::{Plan, Provenance};

/// The parameters that keys and ciphertexts are made under. With levels of bootstrapping, which programs never see but
/// files can name.
pub static CONTEXT: LazyLock<Arc<Context>> = LazyLock::new(|| {
    let circuit = Circuit {
        cts_levels: 1,
        stc_levels: 1,
        stc_bits: 42,
        mod_bits: 50,
        mod_scale_bits: 45,
        sum_scale_bits: 45,
        k: 13,
        degree: 6,
        double_angle: 0,
        arcsine_degree: 1,
        ratio_bits: 5,
        sparse_weight: 0,
    };
    let spec = ParamSpec {
        log_n: 5,
        first_bits: 50,
        scale_bits: 42,
        levels: 2,
        special: 2,
        special_bits: 50,
        bootstrap: Some(circuit.into()),
        insecure: true,
    };
    Context::new(Params::new(spec).expect("valid parameters")).expect("a context")
});

/// Files made under one secret.
pub struct Files {
    /// A seeded ciphertext, and one of three parts at level 0.
    pub ciphertexts: Vec<u8>,
    /// The secret.
    pub secret: Vec<u8>,
    /// Two keys.
    pub keys: Vec<u8>,
}

/// Keys and ciphertexts.
pub static FILES: LazyLock<Files> = LazyLock::new(|| {
    let ctx = &*CONTEXT;
    let mut random = Randomness::from_seed(&[1; 32]);
    let secret = SecretKey::generate(ctx, &mut random).expect("a secret");
    let fresh = secret.encrypt(ctx, &[1.0, 2.0], 2, &mut random).expect("a ciphertext");
    let eval = Evaluator::new(ctx.clone(), Arc::new(KeySet::new(ctx, secret.id()))).expect("an evaluator");
    let low = secret.encrypt(ctx, &[1.0, 2.0], 0, &mut random).expect("a ciphertext");
    let product = eval.mul(&low, &low).expect("a product");
    let label = serde_json::json!({ "shape": [2] });
    let ciphertexts = ciphertexts_to_bytes(ctx, &[fresh, product], label).expect("a file");
    let dir = tempfile::tempdir().expect("a folder");
    let (secret_path, keys_path) = (dir.path().join("secret"), dir.path().join("keys"));
    secret.write(ctx, &secret_path).expect("a file");
    let requests = [KeyName::Relin, KeyName::Rotation(3)].map(|name| KeyRequest { name, level: 1 });
    let mut generator = KeyGenerator::new(ctx, &secret, &mut random).expect("a generator");
    generator.write(&keys_path, &requests, |_| ()).expect("a file");
    let read = |path| std::fs::read(path).expect("a file that was just written");
    Files { ciphertexts, secret: read(secret_path), keys: read(keys_path) }
});

/// A program with most ops, as a plan at N = 2^5.
pub fn plan() -> Plan {
    const SLOTS: usize = 16;
    let port = |name: &str, len: usize, period: usize| {
        let digits = vec![Digit { dim: 1, divisor: 1, size: len, stride: 1 }];
        let layout = Layout { slots: SLOTS, ciphertexts: 1, period, offset: 0, digits, exponent: 0 };
        Port { name: name.into(), shape: Shape(vec![1, len]), layout: Some(layout), ..Default::default() }
    };
    let mut m: Module<Ckks> = Module::new("main");
    m.params = Some(fhec_ir::ParamSpec {
        log_n: 5,
        first_bits: 50,
        scale_bits: 42,
        levels: 3,
        special_bits: 50,
        special: 2,
        bootstrap: None,
        insecure: true,
    });
    let x = m.func.add_param(CtTy::at(3), Loc::onnx("image"));
    let diagonals = Tensor::new([2, SLOTS], (0..2 * SLOTS).map(|i| i as f32 / 32.0).collect::<Vec<_>>());
    let diagonals = m.consts.insert("diagonals", diagonals);
    let bias = m.consts.insert("bias", Tensor::new([SLOTS], vec![0.5; SLOTS]));
    let mut push = |op, operands: &[_]| m.push(op, operands.iter().copied(), Loc::onnx("layer")).expect("a valid op");
    let y = push(CkksOp::Linear { rotations: [1, 3].into(), giants: [0, 2].into(), diagonals, at: 3 }, &[x]);
    let y = push(CkksOp::Rescale {}, &[y]);
    let y = push(CkksOp::AddPlain { value: bias }, &[y]);
    let z = push(CkksOp::Mul {}, &[y, y]);
    let z = push(CkksOp::Relinearize {}, &[z]);
    let z = push(CkksOp::Rescale {}, &[z]);
    let z = push(CkksOp::AddScalar { value: F64(-1.0) }, &[z]);
    let r = push(CkksOp::Rotate { by: -2 }, &[z]);
    let z = push(CkksOp::Sub {}, &[z, r]);
    m.func.set_results([z]);
    m.inputs = vec![port("image", 10, SLOTS)];
    m.outputs = vec![port("logits", 4, SLOTS)];
    let provenance =
        Provenance { fhec: "0".into(), model: "tiny".into(), model_digest: "00".into(), ..Provenance::default() };
    Plan::new(m, provenance).expect("a valid plan")
}
