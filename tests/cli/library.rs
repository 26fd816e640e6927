//! What a service does with the library: everything by bytes, one plan for many servers, and work that is told to stop.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fhec::ir::cost::LatencyTable;
use fhec::ir::nn::NnOp;
use fhec::ir::{Module, Nn, ParamSpec};
use fhec::passes::{Pass, PassError};
use fhec::{
    Client, ClientPlan, CompileProgress, Compiler, Encrypted, Engine, ExecutorOptions, Model, Plan, Server, Target,
    data,
};

use super::model::write_images;
use super::pipeline::compiled;

#[test]
fn clients_and_servers_exchange_bytes_and_share_a_plan() {
    let p = compiled();
    let plan = Arc::new(Plan::from_bytes("plan", &std::fs::read(p.path("plan.fhe")).unwrap()).unwrap());
    let for_clients = plan.client().unwrap().to_bytes().unwrap();
    let images = data::read_samples(&p.path("x.npy"), &plan.image_inputs()).unwrap();
    for _ in 0..2 {
        let client_plan = ClientPlan::from_bytes("client plan", &for_clients).unwrap();
        let mut client = Client::generate(&client_plan).unwrap();
        let stopped = client.evaluation_key_bytes(|_| ControlFlow::Break(())).unwrap_err();
        assert!(stopped.is_cancelled(), "{stopped:?}");
        let keys = client.evaluation_key_bytes(|_| ()).unwrap();
        let server = Server::from_bytes(plan.clone(), "keys", &keys, ExecutorOptions::default()).unwrap();
        let request = client.encrypt(&images).unwrap();
        let stopped = server.eval(&request, &mut |_| ControlFlow::Break(())).unwrap_err();
        assert!(stopped.is_cancelled(), "{stopped:?}");
        let answer = server.eval_bytes("request", &request.to_bytes(client.context()).unwrap()).unwrap();
        let answer = fhec::Encrypted::from_bytes(client.plan(), client.context(), "answer", &answer).unwrap();
        let results = client.decrypt(&answer).unwrap();
        for (result, image) in results.iter().zip(&images) {
            let exact = fhec::run_clear(&plan, image).unwrap();
            let pairs = result[0].data().iter().zip(exact[0].data());
            pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-2, "{a} {b}"));
        }
    }
    let damaged = for_clients[..for_clients.len() - 1].to_vec();
    assert!(Server::from_bytes(plan, "keys", &damaged, ExecutorOptions::default()).is_err());
}

#[test]
fn a_compilation_stops_when_it_is_told() {
    let p = compiled();
    let model = Model::load(p.path("tiny.onnx")).unwrap();
    let stopped = Compiler::new().cancelled_by(Arc::new(AtomicBool::new(true))).compile(&model).unwrap_err();
    assert!(stopped.is_cancelled(), "{stopped:?}");
}

/// Doubles what the network gives.
struct Doubled;

impl Pass<Nn> for Doubled {
    fn name(&self) -> &'static str {
        "double-results"
    }

    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        let mut out = module.clone();
        let value = out.func.results()[0];
        let node = out.func.node(value).clone();
        let twice = out.func.push_unchecked(NnOp::Add {}, [value, value].into_iter().collect(), node.ty, node.loc);
        out.func.set_results([twice]);
        Ok(out)
    }
}

/// Gives an operation fewer operands than it has.
struct Broken;

impl Pass<Nn> for Broken {
    fn name(&self) -> &'static str {
        "drop-operand"
    }

    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        let mut out = module.clone();
        let value = out.func.results()[0];
        let node = out.func.node(value).clone();
        let odd = out.func.push_unchecked(NnOp::Add {}, [value].into_iter().collect(), node.ty, node.loc);
        out.func.set_results([odd]);
        Ok(out)
    }
}

#[test]
fn a_pass_of_the_user_runs_within_a_compilation_and_progress_is_told() {
    let p = compiled();
    let model = Model::load(p.path("tiny.onnx")).unwrap();
    write_images(&p.path("more.npy"), 100, 160);
    let calibration = data::read_samples(&p.path("more.npy"), &model.module.inputs).unwrap();
    let heard: Arc<Mutex<Vec<(String, usize, usize)>>> = Arc::default();
    let compiler = {
        let heard = heard.clone();
        let listener = move |at: CompileProgress<'_>| {
            heard.lock().unwrap().push((at.stage.to_string(), at.done, at.total));
        };
        Compiler::new().calibration(calibration.clone()).progress(listener)
    };
    let given = compiler.compile(&model).unwrap();
    let mut seen = Vec::new();
    let doubled = compiler.clone().pass(Doubled);
    let doubled = doubled.compile_observed(&model, &mut |pass, _, _| seen.push(pass.to_string())).unwrap();
    assert!(seen.iter().any(|pass| pass == "double-results"), "{seen:?}");
    assert_eq!(doubled.plan.provenance().options["passes"], "double-results");
    for image in &calibration[..3] {
        let [once, twice] = [&given, &doubled].map(|c| fhec::run_clear(&c.plan, image).unwrap());
        for (a, b) in once[0].data().iter().zip(twice[0].data()) {
            assert!((2.0 * a - b).abs() < 0.1 * b.abs() + 0.05, "{a} {b}");
        }
    }
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|(_, done, total)| done <= total), "{heard:?}");
    for stage in ["choose-polynomials", "reconstruct"] {
        assert!(heard.iter().any(|(told, ..)| told == stage), "{heard:?}");
    }
    let refused = compiler.pass(Broken).compile(&model).unwrap_err();
    assert!(refused.to_string().contains("drop-operand") && !refused.issues().is_empty(), "{refused:?}");
}

/// The engine of this project, which counts how often it is asked for times and does not bootstrap.
#[derive(Debug)]
struct Leveled {
    engine: Engine,
    asked: Arc<AtomicUsize>,
}

impl Target for Leveled {
    fn bootstrapping(&self, _: u32) -> Option<ParamSpec> {
        None
    }

    fn costs(&self, spec: &ParamSpec, slots: usize) -> Option<LatencyTable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.engine.costs(spec, slots)
    }
}

#[test]
fn a_target_of_the_user_is_asked_for_its_times() {
    let p = compiled();
    let model = Model::load(p.path("tiny.onnx")).unwrap();
    write_images(&p.path("more.npy"), 100, 160);
    let calibration = data::read_samples(&p.path("more.npy"), &model.module.inputs).unwrap();
    let asked = Arc::<AtomicUsize>::default();
    let target = Leveled { engine: Engine::default(), asked: asked.clone() };
    let plan = Compiler::new().calibration(calibration).engine(target).compile(&model).unwrap().plan;
    assert!(asked.load(Ordering::Relaxed) > 0 && plan.spec().bootstrap.is_none());
}

#[test]
fn requests_are_computed_in_parts() {
    let p = compiled();
    let plan = Arc::new(Plan::load(p.path("plan.fhe")).unwrap());
    let for_clients = plan.client().unwrap();
    let images = data::read_samples(&p.path("x.npy"), &plan.image_inputs()).unwrap();
    let mut client = Client::generate(&for_clients).unwrap();
    let keys = client.evaluation_keys(|_| ()).unwrap();
    let server = Server::new(plan, client.context().clone(), keys, ExecutorOptions::default()).unwrap();
    let request = client.encrypt(&images).unwrap();
    let whole = client.decrypt(&server.eval(&request, &mut |_| ()).unwrap().0).unwrap();
    let parts = request.clone().split(&for_clients, 2).unwrap();
    assert_eq!(parts.iter().map(Encrypted::images).collect::<Vec<_>>(), [2, 1]);
    let results: Vec<Encrypted> = parts.iter().map(|part| server.eval(part, &mut |_| ()).unwrap().0).collect();
    let joined = Encrypted::join(&for_clients, results.clone()).unwrap();
    assert_eq!((joined.images(), joined.request()), (3, request.request()));
    assert_eq!(client.decrypt(&joined).unwrap(), whole);
    let other = client.encrypt(&images).unwrap();
    let mixed = vec![results[0].clone(), server.eval(&other, &mut |_| ()).unwrap().0];
    for wrong in [vec![], mixed, vec![results[0].clone(), parts[1].clone()]] {
        let refused = Encrypted::join(&for_clients, wrong).unwrap_err();
        assert_eq!(refused.kind(), "ciphertexts", "{refused:?}");
    }
}
