//! From keys to a result, and what one tenant knows of another.

use super::support::Place;

#[test]
fn a_request_becomes_a_result() {
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let plan = alice.get("/v1/plan").is(200).json();
    assert_eq!((&plan["model"], &plan["key_bytes"]), (&"double".into(), &1000.into()), "{plan}");
    assert_eq!(alice.get("/v1/plan/client").is(200).body, b"client plan");
    let key = alice.upload("a");
    let job = alice.submit(&key, "request a 2 hello");
    assert_eq!(alice.wait(&job), "done");
    assert_eq!(alice.result(&job), "a: hello");
    let view = alice.get(&format!("/v1/jobs/{job}")).is(200).json();
    assert_eq!(
        (&view["images"], &view["result_bytes"], &view["attempts"]),
        (&2.into(), &8.into(), &1.into()),
        "{view}"
    );
    // The same request is the same job, another one is another.
    assert_eq!(alice.send(&key, "request a 2 hello").is(200).json()["id"], *job);
    assert_ne!(alice.submit(&key, "request a 2 other"), job);
    // From the middle on.
    let rest = alice.ask("GET", &format!("/v1/jobs/{job}/result"), &[("range", "bytes=3-")], b"").is(206);
    assert_eq!(rest.body, b"hello");
    alice.delete(&format!("/v1/jobs/{job}")).is(204);
    alice.get(&format!("/v1/jobs/{job}")).is(404);
    assert!(!place.path("state/tenants/tenant0/jobs").join(&job).exists());
}

#[test]
fn an_upload_of_keys_goes_on_where_it_broke_off() {
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let bytes = b"keys a and a tail";
    let id = blake3::hash(bytes).to_hex().to_string();
    let announced = alice.announce(&id, bytes.len()).is(201).json();
    assert_eq!((&announced["state"], &announced["offset"]), (&"uploading".into(), &0.into()));
    assert_eq!(alice.append(&id, 0, &bytes[..6]).is(200).json()["offset"], 6);
    // No job without the whole.
    assert_eq!(alice.send(&id, "request a 1 x").is(409).code(), "conflict");
    // A connection that breaks leaves what it brought.
    let head = format!(
        "PATCH /v1/keys/{id} HTTP/1.1\r\nhost: localhost\r\n{}\r\nupload-offset: 6\r\ncontent-length: 11\r\n\r\n and",
        alice.authorization()
    );
    {
        use std::io::Write;
        alice.connect().write_all(head.as_bytes()).unwrap();
    }
    super::support::until("the bytes are there", || alice.get(&format!("/v1/keys/{id}")).json()["offset"] == 10);
    super::support::until("the broken upload has ended", || alice.append(&id, 6, b"").status != 503);
    let wrong = alice.append(&id, 6, &bytes[6..]).is(409);
    assert_eq!((wrong.code().as_str(), &wrong.json()["offset"]), ("offset", &10.into()));
    assert_eq!(alice.announce(&id, bytes.len()).is(200).json()["offset"], 10, "announcing again tells");
    assert_eq!(alice.announce(&id, 5).is(409).code(), "conflict");
    assert_eq!(alice.append(&id, 10, &bytes[10..]).is(200).json()["state"], "ready");
    assert_eq!(alice.get("/v1/keys").is(200).json().as_array().unwrap().len(), 1);
    alice.delete(&format!("/v1/keys/{id}")).is(204);
    alice.get(&format!("/v1/keys/{id}")).is(404);
}

#[test]
fn a_tenant_sees_nothing_of_another_one() {
    let place = Place::new(2);
    let running = place.start();
    let (alice, bob) = (place.tenant(&running, 0), place.tenant(&running, 1));
    let key = alice.upload("a");
    let job = alice.submit(&key, "request a 1 private");
    assert_eq!(alice.wait(&job), "done");
    for path in [format!("/v1/keys/{key}"), format!("/v1/jobs/{job}")] {
        bob.get(&path).is(404);
        bob.delete(&path).is(404);
    }
    for path in ["result", "events"] {
        bob.get(&format!("/v1/jobs/{job}/{path}")).is(404);
    }
    bob.append(&key, 0, b"x").is(404);
    bob.send(&key, "request a 1 private").is(404);
    assert_eq!(bob.get("/v1/keys").is(200).json(), serde_json::json!([]));
    assert_eq!(bob.get("/v1/jobs").is(200).json(), serde_json::json!([]));
    // The same file is another one's own.
    assert_eq!(bob.upload("a"), key);
    let own = bob.submit(&key, "request a 1 private");
    assert_eq!(bob.wait(&own), "done");
    bob.delete(&format!("/v1/jobs/{own}")).is(204);
    assert_eq!(alice.result(&job), "a: private");
    for stranger in [alice.with_token(""), alice.with_token("fhec_0000"), alice.with_token(&place.tokens[0][..20])] {
        for path in ["/v1/plan", "/v1/keys", "/v1/jobs", "/v1/plan/client"] {
            assert_eq!(stranger.get(path).is(401).code(), "unauthorized");
        }
        stranger.get(&format!("/v1/jobs/{job}/result")).is(401);
        stranger.send(&key, "request a 1 x").is(401);
    }
    let metrics = String::from_utf8(alice.with_token("").get("/metrics").is(200).body).unwrap();
    for (name, value) in [("fhec_jobs_accepted_total", 2), ("fhec_jobs_waiting", 0)] {
        assert!(metrics.contains(&format!("\n{name} {value}\n")), "{name}: {metrics}");
    }
    assert!(metrics.contains("route=\"/v1/jobs/{job}/result\",status=\"401\""), "{metrics}");
    for secret in ["tenant0", &key, &job, &place.tokens[0]] {
        assert!(!metrics.contains(secret), "{secret}");
    }
}

#[test]
fn tokens_are_read_again_when_their_file_changes() {
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    alice.get("/v1/keys").is(200);
    let new = fhec_server::Tokens::generate("carol").unwrap();
    std::fs::write(place.path("tokens"), format!("# only carol\n{}\n", new.line)).unwrap();
    super::support::until("alice is out", || alice.get("/v1/keys").status == 401);
    alice.with_token(&new.token).get("/v1/keys").is(200);
}

#[test]
fn events_tell_of_every_state_and_of_progress() {
    let place = Place::new(1);
    let running = place.closed();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let job = alice.submit(&key, "request a 1 x");
    let waiting = alice.submit(&key, "request a 1 y");
    super::support::until("it runs", || alice.state(&job) == "running");
    assert_eq!(alice.state(&waiting), "queued");
    let (events, controls) = (alice.clone(), running.controls.clone());
    let follower = std::thread::spawn({
        let waiting = waiting.clone();
        move || events.events(&waiting)
    });
    super::support::until("progress is told", || {
        alice.get(&format!("/v1/jobs/{job}")).json()["progress"] == serde_json::json!({ "done": 1, "total": 2 })
    });
    controls.open();
    let told = follower.join().unwrap();
    assert_eq!(told.last().unwrap()["state"], "done", "{told:?}");
    assert!(told.iter().all(|event| event["id"] == *waiting));
    assert_eq!(alice.wait(&job), "done");
}
