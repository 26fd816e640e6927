//! Encrypted runs give the integers of the clear ones; with another key they give an error, not a result.

use fhec_ir::Tensor;
use fhec_tfhe::{Client, Content, Encrypted, EvaluationKeys, Plan, Server, TfheError};

use crate::files::forgeries;
use crate::programs::small;

fn images(count: usize) -> Vec<Vec<Tensor>> {
    let pixel = |image: usize, at: usize| ((image * 7 + at * 5) % 11) as f32 / 10.0;
    (0..count).map(|i| vec![Tensor::new([1, 4], (0..4).map(|at| pixel(i, at)).collect::<Vec<_>>())]).collect()
}

#[test]
fn an_encrypted_run_gives_the_integers_of_the_clear_one() {
    for bits in [4, 6] {
        let plan = Plan::new("small", small(), bits).unwrap();
        let client = Client::generate(&plan.client().unwrap());
        let server = Server::new(&plan, client.evaluation_keys()).unwrap();
        let images = images(if bits == 4 { 12 } else { 1 });
        let inputs = client.encrypt(&images).unwrap();
        let results = server.eval(&inputs, &|| ()).unwrap();
        let clear: Vec<Vec<Vec<i64>>> = images
            .iter()
            .map(|image| plan.program().evaluate(&plan.program().quantise(image).unwrap()).unwrap())
            .collect();
        assert_eq!(client.decrypt_sums(&results).unwrap(), clear);
        let tensors: Vec<Vec<Tensor>> = images.iter().map(|image| plan.program().run(image).unwrap()).collect();
        assert_eq!(client.decrypt(&results).unwrap(), tensors);
    }
}

#[test]
fn another_key_is_refused_and_gives_noise() {
    let plan = Plan::new("small", small(), 4).unwrap();
    let client_plan = plan.client().unwrap();
    let (client, other) = (Client::generate(&client_plan), Client::generate(&client_plan));
    let images = images(8);
    let inputs = client.encrypt(&images).unwrap();
    let server = Server::new(&plan, client.evaluation_keys()).unwrap();
    assert!(matches!(server.eval(&other.encrypt(&images).unwrap(), &|| ()), Err(TfheError::Mismatch { .. })));
    let results = server.eval(&inputs, &|| ()).unwrap();
    assert!(matches!(other.decrypt(&results), Err(TfheError::Mismatch { .. })));
    assert!(client.decrypt(&inputs).is_err());
    // Under a forged name, the result is noise: some number lies where no sum can.
    let id = |client: &Client| {
        let bytes = client.encrypt(&images[..1]).unwrap().to_bytes().unwrap();
        let reader = fhec_container::Reader::from_bytes("x", &bytes).unwrap();
        reader.manifest::<serde_json::Value>().unwrap()["key"].clone()
    };
    let reader = fhec_container::Reader::from_bytes("x", &results.to_bytes().unwrap()).unwrap();
    let mut manifest: serde_json::Value = reader.manifest().unwrap();
    manifest["key"] = id(&other);
    let mut writer = fhec_container::Writer::in_memory(reader.kind(), reader.version()).unwrap();
    for info in reader.sections() {
        writer
            .section(&info.name, info.dtype, &reader.section(&info.name).unwrap(), fhec_container::Codec::Raw)
            .unwrap();
    }
    let forged = writer.into_bytes(&manifest).unwrap();
    let forged = Encrypted::from_bytes(&client_plan, Content::Outputs, "forged", &forged).unwrap();
    assert!(matches!(other.decrypt(&forged), Err(TfheError::Noise { .. })));
}

#[test]
fn keys_and_ciphertexts_come_back_from_files_and_forgeries_are_refused() {
    let plan = Plan::new("small", small(), 4).unwrap();
    let client_plan = plan.client().unwrap();
    let client = Client::generate(&client_plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.key");
    client.save(&path).unwrap();
    assert!(client.save(&path).is_err(), "a secret key was replaced");
    let read = Client::load(&client_plan, &path).unwrap();
    let keys = EvaluationKeys::from_bytes("k", &read.evaluation_keys().to_bytes().unwrap()).unwrap();
    let inputs = read.encrypt(&images(1)).unwrap();
    let inputs = Encrypted::from_bytes(&client_plan, Content::Inputs, "x", &inputs.to_bytes().unwrap()).unwrap();
    let results = Server::new(&plan, keys).unwrap().eval(&inputs, &|| ()).unwrap();
    let results = Encrypted::from_bytes(&client_plan, Content::Outputs, "y", &results.to_bytes().unwrap()).unwrap();
    assert_eq!(client.decrypt(&results).unwrap()[0], plan.program().run(&images(1)[0]).unwrap());
    assert!(Encrypted::from_bytes(&client_plan, Content::Outputs, "x", &inputs.to_bytes().unwrap()).is_err());

    for forged in forgeries(&std::fs::read(&path).unwrap()) {
        let _ = Client::from_bytes(&client_plan, "forged", &forged);
    }
    for forged in forgeries(&inputs.to_bytes().unwrap()) {
        let _ = Encrypted::from_bytes(&client_plan, Content::Inputs, "forged", &forged);
    }
}

#[test]
fn evaluation_keys_of_other_lengths_or_plans_are_refused() {
    let plan = Plan::new("small", small(), 4).unwrap();
    let client = Client::generate(&plan.client().unwrap());
    let bytes = client.evaluation_keys().to_bytes().unwrap();
    let reader = fhec_container::Reader::from_bytes("k", &bytes).unwrap();
    let manifest: serde_json::Value = reader.manifest().unwrap();
    let forge = |manifest: &serde_json::Value, short: &str| {
        let mut writer = fhec_container::Writer::in_memory(reader.kind(), reader.version()).unwrap();
        for info in reader.sections() {
            let mut content = reader.section(&info.name).unwrap().to_vec();
            if info.name == short {
                content.truncate(content.len() / 2);
            }
            writer.section(&info.name, info.dtype, &content, fhec_container::Codec::Raw).unwrap();
        }
        EvaluationKeys::from_bytes("forged", &writer.into_bytes(manifest).unwrap())
    };
    for section in ["key-switching", "key-switching/seed", "bootstrapping", "bootstrapping/seed"] {
        assert!(forge(&manifest, section).is_err(), "{section}");
    }
    for (field, value) in
        [("message_bits", 6.into()), ("message_bits", 5.into()), ("plan", "00".into()), ("key", "1".into())]
    {
        let mut changed = manifest.clone();
        changed[field] = value;
        assert!(forge(&changed, "").is_err(), "{field}");
    }
    let other = Plan::new("other", small(), 4).unwrap();
    assert!(Server::new(&other, client.evaluation_keys()).is_err());
}
