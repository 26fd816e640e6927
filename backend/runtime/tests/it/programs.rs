//! Small programs that use every op the executors have.

use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Digit, F64, Layout, Loc, Module, ParamSpec, Port, Shape, Tensor, Value};
use fhec_runtime::{Plan, Provenance, RuntimeError};

pub const SLOTS: usize = 64;

pub fn spec() -> ParamSpec {
    ParamSpec {
        log_n: 11,
        first_bits: 49,
        scale_bits: 40,
        levels: 5,
        special_bits: 49,
        special: 2,
        bootstrap: None,
        insecure: true,
    }
}

/// Parameters with bootstrapping at the least ring degree that holds its transforms.
pub fn bootstrap_spec() -> ParamSpec {
    bootstrapping(fhec_ckks::Circuit {
        cts_levels: 3,
        stc_levels: 2,
        stc_bits: 42,
        mod_bits: 50,
        mod_scale_bits: 55,
        sum_scale_bits: 55,
        k: 15,
        degree: 30,
        double_angle: 3,
        arcsine_degree: 7,
        ratio_bits: 5,
        sparse_weight: 32,
    })
}

/// The same with the circuit that plans use, one level shorter as its ring is smaller.
pub fn compact_spec() -> ParamSpec {
    bootstrapping(fhec_ckks::Circuit { stc_levels: 2, ..fhec_ckks::Circuit::compact(42) })
}

fn bootstrapping(circuit: fhec_ckks::Circuit) -> ParamSpec {
    ParamSpec {
        log_n: 10,
        first_bits: 50,
        scale_bits: 42,
        levels: 4,
        special: 5,
        special_bits: 50,
        bootstrap: Some(circuit.into()),
        insecure: true,
    }
}

fn port(name: &str, len: usize, period: usize) -> Port {
    let digits = vec![Digit { dim: 1, divisor: 1, size: len, stride: 1 }];
    let layout = Layout { slots: SLOTS, ciphertexts: 1, period, offset: 0, digits, exponent: 0 };
    Port { name: name.into(), shape: Shape(vec![1, len]), layout: Some(layout), ..Default::default() }
}

/// Builds a module op by op.
pub struct Program(pub Module<Ckks>);

impl Program {
    pub fn new(level: u32) -> (Self, Value) {
        Self::with(spec(), level)
    }
    pub fn with(spec: ParamSpec, level: u32) -> (Self, Value) {
        let mut m = Module::new("main");
        m.params = Some(spec);
        let x = m.func.add_param(CtTy::at(level), Loc::onnx("image"));
        (Self(m), x)
    }
    pub fn push<const N: usize>(&mut self, op: CkksOp, operands: [Value; N]) -> Value {
        self.0.push(op, operands, Loc::onnx("layer")).unwrap()
    }
    pub fn rescale(&mut self, x: Value) -> Value {
        self.push(CkksOp::Rescale {}, [x])
    }
    /// 2x² - 1
    pub fn chebyshev2(&mut self, x: Value) -> Value {
        let y = self.push(CkksOp::Mul {}, [x, x]);
        let y = self.push(CkksOp::Relinearize {}, [y]);
        let y = self.rescale(y);
        let y = self.push(CkksOp::MulInt { by: 2 }, [y]);
        self.push(CkksOp::AddScalar { value: F64(-1.0) }, [y])
    }
    pub fn linear(&mut self, x: Value, rotations: &[i64], giants: &[i64], at: u32) -> Value {
        let data: Vec<f32> = (0..rotations.len() * SLOTS).map(|i| ((i * 37 % 101) as f32 - 50.0) / 250.0).collect();
        let diagonals = self.0.consts.insert("diagonals", Tensor::new([rotations.len(), SLOTS], data));
        let op = CkksOp::Linear { rotations: rotations.into(), giants: giants.into(), diagonals, at };
        let y = self.push(op, [x]);
        self.rescale(y)
    }
    pub fn plan(self, result: Value) -> Plan {
        self.try_plan(result).unwrap()
    }
    pub fn try_plan(mut self, result: Value) -> Result<Plan, RuntimeError> {
        self.0.func.set_results([result]);
        self.0.inputs = vec![port("image", 20, 32)];
        self.0.outputs = vec![port("logits", 10, SLOTS)];
        Plan::new(self.0, provenance())
    }
}

pub fn provenance() -> Provenance {
    Provenance { fhec: "0.1.0".into(), model: "tiny".into(), model_digest: "00".into(), ..Provenance::default() }
}

/// One of each op but conjugation and bootstrap.
pub fn every_op() -> Plan {
    let (mut p, x) = Program::new(5);
    let a = p.linear(x, &[0, 1, 9, -3], &[0, 0, 8, -8], 5);
    let bias: Vec<f32> = (0..SLOTS).map(|i| i as f32 / 640.0).collect();
    let bias = p.0.consts.insert("bias", Tensor::new([SLOTS], bias));
    let a = p.push(CkksOp::AddPlain { value: bias }, [a]);
    let t = p.chebyshev2(a);
    let a3 = p.push(CkksOp::LevelDrop { to: 3 }, [a]);
    let cross = p.push(CkksOp::Mul {}, [a3, t]);
    let cross = p.push(CkksOp::Relinearize {}, [cross]);
    let scaled = p.push(CkksOp::MulScalar { value: F64(0.75), at: 3 }, [a]);
    let sum = p.push(CkksOp::Add {}, [cross, scaled]);
    let masked = p.push(CkksOp::MulPlain { value: bias, at: 3 }, [t]);
    let sum = p.push(CkksOp::Sub {}, [sum, masked]);
    let y = p.rescale(sum);
    let r = p.push(CkksOp::Rotate { by: -2 }, [y]);
    let r = p.push(CkksOp::Neg {}, [r]);
    let y = p.push(CkksOp::Add {}, [y, r]);
    let y = p.linear(y, &[5, 6], &[0, 0], 1);
    p.plan(y)
}

/// Transforms and a square around bootstraps to two different levels.
pub fn bootstrapped() -> Plan {
    let (mut p, x) = Program::with(bootstrap_spec(), 1);
    let y = p.linear(x, &[0, 1, 9, -3], &[0, 0, 8, -8], 1);
    let y = p.push(CkksOp::Bootstrap { to: 3 }, [y]);
    let y = p.chebyshev2(y);
    let y = p.linear(y, &[0, 2], &[0, 0], 2);
    let y = p.push(CkksOp::Bootstrap { to: 2 }, [y]);
    let y = p.push(CkksOp::MulInt { by: 16 }, [y]);
    p.plan(y)
}

/// A bootstrap of the input plus a constant vector, by the circuit that plans use.
pub fn constant_bootstrapped(constant: f32) -> Plan {
    let (mut p, x) = Program::with(compact_spec(), 1);
    let constant = p.0.consts.insert("constant", Tensor::full([SLOTS], constant));
    let y = p.push(CkksOp::AddPlain { value: constant }, [x]);
    let y = p.push(CkksOp::Bootstrap { to: 3 }, [y]);
    p.plan(y)
}

pub fn image(seed: usize) -> Tensor {
    let data: Vec<f32> = (0..20).map(|i| (((i + 3 * seed) * 29 % 41) as f32 - 20.0) / 20.0).collect();
    Tensor::new([1, 20], data)
}
