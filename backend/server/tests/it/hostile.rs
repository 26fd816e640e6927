//! What hostile and broken clients send.

use std::io::{Read, Write};
use std::time::Duration;

use super::support::{Place, Tenant, until};

/// Nothing of a refused upload is left.
fn is_clean(place: &Place) -> bool {
    std::fs::read_dir(place.path("state/incoming")).unwrap().count() == 0
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    // Keys: too large, empty, not what was announced, none of this plan, names that are paths.
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    assert_eq!(alice.announce(&hash(b"x"), 1001).is(413).code(), "too_large");
    assert_eq!(alice.announce(&hash(b"x"), 0).is(400).code(), "malformed");
    for name in ["../../etc", "", &"A".repeat(64), &"0".repeat(63)] {
        assert_eq!(alice.announce(name, 5).is(400).code(), "malformed");
    }
    let id = hash(b"keys a");
    alice.announce(&id, 6).is(201);
    assert_eq!(alice.append(&id, 0, b"keys b").is(422).code(), "unfit");
    assert_eq!(alice.get(&format!("/v1/keys/{id}")).is(200).json()["offset"], 0);
    assert_eq!(alice.append(&id, 0, b"keys a and far too much").is(413).code(), "too_large");
    let other = hash(b"else");
    alice.announce(&other, 4).is(201);
    assert!(alice.append(&other, 0, b"else").is(422).json()["detail"].as_str().unwrap().contains("no keys"));
    alice.get(&format!("/v1/keys/{other}")).is(404);
    assert_eq!(alice.ask("PATCH", &format!("/v1/keys/{id}"), &[], b"x").is(400).code(), "malformed");
    assert_eq!(
        alice.ask("POST", "/v1/keys", &[("content-type", "application/json")], b"{").is(400).code(),
        "malformed"
    );
    // Requests: none, of another key, of too many runs, too large with and without a length.
    let key = alice.upload("a");
    assert_eq!(alice.send(&key, "nonsense").is(422).code(), "unfit");
    let other = alice.send(&key, "request b 1 x").is(422).json();
    assert!(other["detail"].as_str().unwrap().contains("another secret key"), "{other}");
    assert_eq!(alice.send(&key, "request a 65 x").is(422).code(), "unfit");
    let large = "x".repeat(100 * 64 + 1);
    assert_eq!(alice.send(&key, &large).is(413).code(), "too_large");
    let head = format!(
        "POST /v1/jobs?key={key} HTTP/1.1\r\nhost: localhost\r\n{}\r\nconnection: close\r\n",
        alice.authorization()
    );
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert!(alice.raw(chunked.as_bytes()).starts_with("HTTP/1.1 413"));
    assert_eq!(alice.send("../x", "request a 1 x").is(404).code(), "not_found");
    alice.ask("POST", "/v1/jobs", &[], b"request a 1 x").is(400);
    for path in ["/v1/jobs/..%2f..%2fx", "/v1/jobs/%00", "/nothing", "/v1/keys/../jobs"] {
        assert!([404, 400].contains(&alice.get(path).status), "{path}");
    }
    // Not HTTP, and a head without an end.
    assert!(alice.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").starts_with("HTTP/1.1 400"));
    let endless = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(!alice.raw(endless.as_bytes()).starts_with("HTTP/1.1 2"));
    assert_eq!(alice.get("/v1/jobs").is(200).json(), serde_json::json!([]));
    until("nothing is left", || is_clean(&place));
    let job = alice.submit(&key, "request a 1 fine");
    assert_eq!(alice.wait(&job), "done");
}

/// A POST of a job that says it has so many bytes.
fn head(alice: &Tenant, key: &str, length: usize) -> String {
    let authorization = alice.authorization();
    format!(
        "POST /v1/jobs?key={key} HTTP/1.1\r\nhost: localhost\r\n{authorization}\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[test]
fn slow_and_broken_senders_are_cut_off() {
    let mut place = Place::new(1);
    place.limits.idle = Duration::from_millis(300);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    // A head that does not end, and a body that does not come.
    let mut slow_head = alice.connect();
    slow_head.write_all(b"GET /v1/jobs HTTP/1.1\r\nhost:").unwrap();
    let mut rest = Vec::new();
    let _ = slow_head.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "the connection ends without an answer of worth");
    let mut slow_body = alice.connect();
    slow_body.write_all(format!("{}request a ", head(&alice, &key, 13)).as_bytes()).unwrap();
    let mut answer = [0; 12];
    slow_body.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    // A byte now and then is not enough either.
    let mut trickle = alice.connect();
    trickle.write_all(head(&alice, &key, 5000).as_bytes()).unwrap();
    let mut sent = 0;
    while trickle.write_all(b"x").is_ok() && sent < 5000 {
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sent < 5000, "the service hung up");
    // Half a request and gone.
    drop({
        let mut broken = alice.connect();
        broken.write_all(format!("{}request", head(&alice, &key, 13)).as_bytes()).unwrap();
        broken
    });
    until("nothing is left", || is_clean(&place));
    assert_eq!(alice.get("/v1/jobs").is(200).json(), serde_json::json!([]));
    let job = alice.submit(&key, "request a 1 x");
    assert_eq!(alice.wait(&job), "done");
}

#[test]
fn connections_are_bounded() {
    let mut place = Place::new(1);
    place.limits.connections = 3;
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let idle: Vec<_> = (0..3).map(|_| alice.connect()).collect();
    until("the next is told to come later", || alice.raw(b"").starts_with("HTTP/1.1 503"));
    drop(idle);
    let fine =
        || alice.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 200");
    until("there is room again", fine);
}

#[test]
fn a_panic_and_a_failure_end_one_job() {
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    for (payload, says) in [("panic", "the engine failed"), ("fail", "it fails, as asked")] {
        let job = alice.submit(&key, &format!("request a 1 {payload}"));
        assert_eq!(alice.wait(&job), "failed");
        let refused = alice.get(&format!("/v1/jobs/{job}/result")).is(422);
        assert!(refused.json()["detail"].as_str().unwrap().contains(says), "{refused:?}");
        // Sent again it is tried again.
        assert_eq!(alice.send(&key, &format!("request a 1 {payload}")).is(202).json()["id"], *job);
        assert_eq!(alice.wait(&job), "failed");
    }
    let job = alice.submit(&key, "request a 1 x");
    assert_eq!(alice.wait(&job), "done");
}
