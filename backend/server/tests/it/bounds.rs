//! What tenants may use: the queue, the disk, memory, keys, streams.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::support::{Place, until};

#[test]
fn a_full_queue_says_when_to_come_back_and_one_tenant_does_not_fill_it() {
    let mut place = Place::new(3);
    (place.limits.queue, place.limits.queue_per_tenant) = (3, 2);
    let running = place.closed();
    let [alice, bob, carol] = [0, 1, 2].map(|i| place.tenant(&running, i));
    let [a, b, c] = [(&alice, "a"), (&bob, "b"), (&carol, "c")].map(|(tenant, secret)| tenant.upload(secret));
    let first = alice.submit(&a, "request a 1 0");
    until("the first runs", || alice.state(&first) == "running");
    let mut jobs: Vec<_> = (1..3).map(|i| (&alice, alice.submit(&a, &format!("request a 1 {i}")))).collect();
    let full = alice.send(&a, "request a 1 3").is(429);
    assert_eq!(full.code(), "tenant_full");
    assert!(full.retry_after.is_some_and(|seconds| seconds > 0));
    jobs.push((&bob, bob.submit(&b, "request b 1 0")));
    let full = carol.send(&c, "request c 1 0").is(503);
    assert_eq!(full.code(), "full");
    assert!(full.retry_after.is_some_and(|seconds| seconds > 0));
    // What is known already needs no place of its own, and waits with the rest.
    running.controls.open();
    jobs.push((&alice, first));
    for (tenant, job) in &jobs {
        assert_eq!(tenant.wait(job), "done");
    }
    let job = carol.submit(&c, "request c 1 0");
    assert_eq!(carol.wait(&job), "done");
}

#[test]
fn tenants_take_turns() {
    let mut place = Place::new(2);
    place.limits.queue_per_tenant = 10;
    let running = place.closed();
    let (alice, bob) = (place.tenant(&running, 0), place.tenant(&running, 1));
    let (a, b) = (alice.upload("a"), bob.upload("b"));
    let many: Vec<_> = (0..8).map(|i| alice.submit(&a, &format!("request a 1 {i}"))).collect();
    let one = bob.submit(&b, "request b 1 x");
    running.controls.open();
    assert_eq!(bob.wait(&one), "done");
    let finished = |tenant: &super::support::Tenant, job: &str| {
        tenant.wait(job);
        tenant.get(&format!("/v1/jobs/{job}")).json()["finished"].as_u64().unwrap()
    };
    let own = finished(&bob, &one);
    let before = many.iter().filter(|job| finished(&alice, job) < own).count();
    assert!(before <= 2, "{before} of the other tenant's jobs came first");
}

#[test]
fn evaluators_are_unloaded_within_the_bound_of_memory() {
    let mut place = Place::new(3);
    place.limits.workers = 2;
    let running = place.start();
    let tenants = [0, 1, 2].map(|i| place.tenant(&running, i));
    let keys: Vec<_> =
        tenants.iter().zip(["a", "b", "c"]).map(|(tenant, secret)| (tenant, secret, tenant.upload(secret))).collect();
    let mut jobs = Vec::new();
    for i in 0..10 {
        for (tenant, secret, key) in &keys {
            jobs.push((*tenant, tenant.submit(key, &format!("request {secret} 1 {i}")), format!("{secret}: {i}")));
        }
    }
    for (tenant, job, result) in &jobs {
        assert_eq!(tenant.wait(job), "done");
        assert_eq!(tenant.result(job), *result);
    }
    assert_eq!(running.controls.most_loaded.load(Ordering::SeqCst), 2, "the bound is two evaluators");
    let metrics = String::from_utf8(tenants[0].get("/metrics").body).unwrap();
    let evicted = metrics.lines().find_map(|line| line.strip_prefix("fhec_evaluators_evicted_total ")).unwrap();
    assert!(evicted.parse::<u32>().unwrap() > 0, "{metrics}");
}

#[test]
fn a_round_loads_as_many_evaluators_as_memory_lacks_and_gives_every_tenant_a_turn() {
    const ROUNDS: usize = 6;
    for (tenants, loads) in [(2, 2), (3, 3 + (ROUNDS - 1)), (4, 4 + 2 * (ROUNDS - 1))] {
        let place = Place::new(tenants);
        let running = place.closed();
        let mut jobs = Vec::new();
        for i in 0..tenants {
            let (tenant, secret) = (place.tenant(&running, i), format!("s{i}"));
            let key = tenant.upload(&secret);
            jobs.extend((0..ROUNDS).map(|j| tenant.submit(&key, &format!("request {secret} 1 {j}"))));
            until("the first job runs", || {
                tenant.state(&jobs[i * ROUNDS]) == if i == 0 { "running" } else { "queued" }
            });
        }
        running.controls.open();
        for (i, job) in jobs.iter().enumerate() {
            assert_eq!(place.tenant(&running, i / ROUNDS).wait(job), "done");
        }
        let computed = running.controls.computed.lock().unwrap().clone();
        for round in computed.chunks(tenants) {
            let distinct: std::collections::BTreeSet<_> = round.iter().collect();
            assert_eq!(distinct.len(), tenants, "everybody has one turn: {computed:?}");
        }
        assert_eq!(running.controls.loads.load(Ordering::SeqCst), loads, "{tenants} tenants: {computed:?}");
    }
}

#[test]
fn keys_and_streams_are_bounded_for_every_tenant() {
    let mut place = Place::new(1);
    (place.limits.keys_per_tenant, place.limits.streams_per_tenant) = (1, 0);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    assert_eq!(alice.announce(&"0".repeat(64), 5).is(429).code(), "tenant_full");
    let job = alice.submit(&key, "request a 1 x");
    assert_eq!(alice.get(&format!("/v1/jobs/{job}/events")).is(429).code(), "tenant_full");
    until("it is done all the same", || alice.state(&job) == "done");
    alice.delete(&format!("/v1/keys/{key}")).is(204);
    alice.announce(&"0".repeat(64), 5).is(201);
}

#[test]
fn the_disk_is_bounded_and_fetched_results_make_room() {
    let mut place = Place::new(1);
    // Keys of 15 bytes; a request of 13 and its result of at most 100.
    place.limits.disk = 15 + 113 + 7;
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let first = alice.submit(&key, "request a 1 x");
    assert_eq!(alice.wait(&first), "done");
    let second = alice.submit(&key, "request a 1 y");
    assert_eq!(alice.wait(&second), "done");
    // Two results of 4 bytes are there, which nobody has fetched: they stay.
    let full = alice.send(&key, "request a 1 z").is(507);
    assert!(full.code() == "disk" && full.retry_after.is_some());
    assert_eq!(alice.result(&first), "a: x");
    let third = alice.submit(&key, "request a 1 z");
    assert_eq!(alice.wait(&third), "done");
    alice.get(&format!("/v1/jobs/{first}")).is(404);
    assert_eq!((alice.result(&second), alice.result(&third)), ("a: y".into(), "a: z".into()));
}

#[test]
fn results_and_unfinished_uploads_are_kept_for_a_bounded_time() {
    let mut place = Place::new(1);
    place.limits.keep = Duration::from_millis(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let job = alice.submit(&key, "request a 1 x");
    alice.announce(&"0".repeat(64), 5).is(201);
    until("the job is gone", || alice.get(&format!("/v1/jobs/{job}")).status == 404);
    until("the upload is gone", || alice.get(&format!("/v1/keys/{}", "0".repeat(64))).status == 404);
    alice.get(&format!("/v1/keys/{key}")).is(200);
}

#[test]
fn jobs_are_called_off_while_they_wait_and_while_they_run() {
    let place = Place::new(1);
    let running = place.closed();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let jobs: Vec<_> = (0..3).map(|i| alice.submit(&key, &format!("request a 1 {i}"))).collect();
    until("the first runs", || alice.state(&jobs[0]) == "running");
    assert_eq!(alice.delete(&format!("/v1/keys/{key}")).is(409).code(), "conflict");
    for job in &jobs[..2] {
        alice.delete(&format!("/v1/jobs/{job}")).is(202);
        assert_eq!(alice.wait(job), "cancelled");
        assert_eq!(alice.get(&format!("/v1/jobs/{job}/result")).is(409).code(), "conflict");
    }
    running.controls.open();
    assert_eq!(alice.wait(&jobs[2]), "done");
    assert_eq!(alice.submit(&key, "request a 1 0"), jobs[0], "what was called off can be sent again");
    assert_eq!(alice.wait(&jobs[0]), "done");
}
