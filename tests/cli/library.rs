//! What a service does with the library: everything by bytes, one plan for many servers, and work that is told to stop.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fhec::{Client, ClientPlan, Compiler, ExecutorOptions, Model, Plan, Server, data};

use super::road::compiled;

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
