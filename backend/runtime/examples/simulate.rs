//! Measures how fast the simulation is on a program of ResNet-20's size: 20 linear transforms of 144 diagonals over
//! 2^14 slots, 19 polynomials of degree 15, a bootstrap before each.
//!
//! `cargo run --release -p fhec-runtime --example simulate -- [images] [threads]`

use std::time::Instant;

use fhec_ckks::{Circuit, Params};
use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Digit, F64, Layout, Loc, Module, Port, Shape, Tensor, Value};
use fhec_runtime::{Plan, Provenance, Simulator};

const SLOTS: usize = 1 << 14;
const LAYERS: usize = 20;
const TOP: u32 = 6;

/// Numbers in [-1, 1] without a pattern.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

struct Program(Module<Ckks>);

impl Program {
    fn push<const N: usize>(&mut self, op: CkksOp, operands: [Value; N]) -> Value {
        self.0.push(op, operands, Loc::onnx("layer")).expect("the program is well-typed")
    }
    fn to(&mut self, x: Value, level: u32) -> Value {
        if self.0.func.ty(x).level == level { x } else { self.push(CkksOp::LevelDrop { to: level }, [x]) }
    }
    fn product(&mut self, a: Value, b: Value) -> Value {
        let level = self.0.func.ty(a).level.min(self.0.func.ty(b).level);
        let (a, b) = (self.to(a, level), self.to(b, level));
        let y = self.push(CkksOp::Mul {}, [a, b]);
        let y = self.push(CkksOp::Relinearize {}, [y]);
        self.push(CkksOp::Rescale {}, [y])
    }
    /// 2ab - c
    fn chebyshev(&mut self, a: Value, b: Value, c: Option<Value>) -> Value {
        let y = self.product(a, b);
        let y = self.push(CkksOp::MulInt { by: 2 }, [y]);
        match c {
            None => self.push(CkksOp::AddScalar { value: F64(-1.0) }, [y]),
            Some(c) => {
                let c = self.to(c, self.0.func.ty(y).level);
                self.push(CkksOp::Sub {}, [y, c])
            }
        }
    }
    /// A polynomial of degree 15 as four of degree 3 in the Chebyshev basis, joined by T_4 and T_8.
    fn polynomial(&mut self, t1: Value) -> Value {
        let t2 = self.chebyshev(t1, t1, None);
        let t3 = self.chebyshev(t1, t2, Some(t1));
        let t4 = self.chebyshev(t2, t2, None);
        let t8 = self.chebyshev(t4, t4, None);
        let level = self.0.func.ty(t3).level;
        let part = |p: &mut Self, i: usize| {
            let term = |p: &mut Self, j: usize, t: Value| {
                let value = F64(0.2 / (1 + i + j) as f64);
                p.push(CkksOp::MulScalar { value, at: level }, [t])
            };
            let mut sum = term(p, 0, t1);
            for (j, t) in [(1, t2), (2, t3)] {
                let term = term(p, j, t);
                sum = p.push(CkksOp::Add {}, [sum, term]);
            }
            let sum = p.push(CkksOp::Rescale {}, [sum]);
            p.push(CkksOp::AddScalar { value: F64(0.01) }, [sum])
        };
        let join = |p: &mut Self, high: Value, t: Value, low: Value| {
            let y = p.product(high, t);
            let low = p.to(low, p.0.func.ty(y).level);
            p.push(CkksOp::Add {}, [y, low])
        };
        let parts: [Value; 4] = std::array::from_fn(|i| part(self, i));
        let low = join(self, parts[1], t4, parts[0]);
        let high = join(self, parts[3], t4, parts[2]);
        join(self, high, t8, low)
    }
    fn linear(&mut self, x: Value, layer: usize) -> Value {
        let rotations: Vec<i64> = (0..144).map(|i| 7 * (i % 9) + 128 * (i / 9)).collect();
        let giants: Vec<i64> = (0..144).map(|i| 128 * (i / 9)).collect();
        let data: Vec<f32> = numbers(layer as u32, 144 * SLOTS).iter().map(|x| x / 48.0).collect();
        let diagonals = self.0.consts.insert(&format!("diagonals{layer}"), Tensor::new([144, SLOTS], data));
        let at = self.0.func.ty(x).level;
        let y = self.push(CkksOp::Linear { rotations, giants, diagonals, at }, [x]);
        self.push(CkksOp::Rescale {}, [y])
    }
}

fn plan() -> Plan {
    let mut p = Program(Module::new("main"));
    let params = Params::with_bootstrap(TOP, 42, Circuit::compact(42)).expect("the levels fit");
    p.0.params = Some(params.spec().clone());
    let mut x = p.0.func.add_param(CtTy::at(1), Loc::onnx("image"));
    x = p.linear(x, 0);
    for layer in 1..LAYERS {
        x = p.push(CkksOp::Bootstrap { to: TOP }, [x]);
        x = p.polynomial(x);
        x = p.linear(x, layer);
    }
    p.0.func.set_results([x]);
    let port = |name: &str, len: usize| {
        let digits = vec![Digit { dim: 1, divisor: 1, size: len, stride: 1 }];
        let layout = Layout { slots: SLOTS, ciphertexts: 1, period: SLOTS, offset: 0, digits, exponent: 0 };
        Port { name: name.into(), shape: Shape(vec![1, len]), layout: Some(layout), ..Default::default() }
    };
    p.0.inputs = vec![port("image", 3072)];
    p.0.outputs = vec![port("logits", 10)];
    Plan::new(p.0, Provenance::default()).expect("the program is a plan")
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse().expect("a number"));
    let images = arguments.next().unwrap_or(256);
    let threads = arguments.next().unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let plan = plan();
    let images: Vec<_> = (0..images).map(|i| vec![Tensor::new([1, 3072], numbers(i as u32, 3072))]).collect();
    println!("{} ops, {} images, {threads} threads", plan.module().func.len(), images.len());
    for (name, simulator) in [("exact", Simulator::exact(&plan)), ("noise", Simulator::new(&plan, 1))] {
        let started = Instant::now();
        let done = simulator.run_many(&images, threads, &|_| ()).expect("the images fit");
        let seconds = started.elapsed().as_secs_f64();
        let escapes = done.report.layers.len();
        println!("{name}: {:.1} images/s, {escapes} layers with escapes", images.len() as f64 / seconds);
    }
}
