//! What was accepted outlives the service.

use std::path::Path;

use fhec_server::{Config, ServeError, Service};

use super::double::Double;
use super::support::{PLAN, Place, until};

/// Copies a folder: what a loss of power would leave of it now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to) } else { std::fs::copy(from, to).map(|_| ()).unwrap() }
    }
}

#[test]
fn a_restart_loses_nothing() {
    let place = Place::new(2);
    let running = place.closed();
    let (alice, bob) = (place.tenant(&running, 0), place.tenant(&running, 1));
    let (a, b) = (alice.upload("a"), bob.upload("b"));
    let jobs: Vec<_> = (0..3).map(|i| alice.submit(&a, &format!("request a 1 {i}"))).collect();
    let other = bob.submit(&b, "request b 1 z");
    until("the first runs", || alice.state(&jobs[0]) == "running");
    let half = blake3::hash(b"keys half").to_hex().to_string();
    alice.announce(&half, 9).is(201);
    alice.append(&half, 0, b"keys").is(200);
    // An end without warning: what is on the disk at this moment, running job and all.
    copy(&place.path("state"), &place.path("crashed"));
    drop(running);
    for (state, attempts) in [("state", 1), ("crashed", 2)] {
        let running = place.closed_in(state);
        let (alice, bob) = (place.tenant(&running, 0), place.tenant(&running, 1));
        assert_eq!(alice.get(&format!("/v1/keys/{half}")).is(200).json()["offset"], 4);
        assert_eq!(alice.append(&half, 4, b" half").is(200).json()["state"], "ready");
        running.controls.open();
        for (i, job) in jobs.iter().enumerate() {
            assert_eq!(alice.wait(job), "done");
            assert_eq!(alice.result(job), format!("a: {i}"));
        }
        let first = alice.get(&format!("/v1/jobs/{}", jobs[0])).json();
        assert_eq!(first["attempts"], attempts, "{first}");
        assert_eq!(bob.wait(&other), "done");
        assert_eq!(bob.result(&other), "b: z");
        assert_eq!(bob.get("/v1/jobs").json().as_array().unwrap().len(), 1);
        // Sent again, for want of an answer say, they are what they were.
        assert_eq!(alice.send(&a, "request a 1 0").is(200).json()["id"], *jobs[0]);
        drop(running);
        let again = place.closed_in(state);
        assert_eq!(place.tenant(&again, 0).result(&jobs[2]), "a: 2");
    }
}

#[test]
fn a_job_that_ends_the_process_each_time_fails_in_the_end() {
    let place = Place::new(1);
    let running = place.closed();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let job = alice.submit(&key, "request a 1 x");
    until("it runs", || alice.state(&job) == "running");
    let mut state = "state".to_string();
    for i in 1..=3 {
        let next = format!("crashed{i}");
        copy(&place.path(&state), &place.path(&next));
        let running = place.closed_in(&next);
        let alice = place.tenant(&running, 0);
        let expected = if i < 3 { "running" } else { "failed" };
        until(expected, || alice.state(&job) == expected);
        state = next;
        if i == 3 {
            let view = alice.get(&format!("/v1/jobs/{job}")).json();
            assert!(view["error"]["detail"].as_str().unwrap().contains("ended 3 times"), "{view}");
        } else {
            copy(&place.path(&state), &place.path("kept"));
            drop(running);
            std::fs::remove_dir_all(place.path(&state)).unwrap();
            std::fs::rename(place.path("kept"), place.path(&state)).unwrap();
        }
    }
}

#[test]
fn a_service_that_stops_lets_the_running_job_end() {
    let mut place = Place::new(1);
    place.limits.grace = std::time::Duration::from_secs(60);
    let running = place.closed();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let (first, second) = (alice.submit(&key, "request a 1 0"), alice.submit(&key, "request a 1 1"));
    until("it runs", || alice.state(&first) == "running");
    let stopper = running.service.stopper();
    let follower = std::thread::spawn({
        let (alice, first) = (alice.clone(), first.clone());
        move || alice.wait(&first)
    });
    let keeps_open = std::thread::spawn({
        let (alice, second) = (alice.clone(), second.clone());
        move || alice.wait(&second)
    });
    until("both follow", || {
        let metrics = String::from_utf8(alice.get("/metrics").body).unwrap();
        metrics.contains("route=\"/v1/jobs/{job}/events\",status=\"200\"} 2\n")
    });
    stopper.stop();
    assert_eq!(keeps_open.join().unwrap(), "queued", "who waits for a job that waits is let go");
    running.controls.open();
    assert_eq!(follower.join().unwrap(), "done");
    running.service.wait();
    let again = place.start();
    let alice = place.tenant(&again, 0);
    assert_eq!((alice.result(&first), alice.wait(&second)), ("a: 0".into(), "done".into()));
}

#[test]
fn folders_of_others_are_refused() {
    let place = Place::new(0);
    let running = place.start();
    let start = |plan: &str, config: Config| Service::start(Double::new(plan).0, config).err();
    assert!(matches!(start(PLAN, place.config("state")), Some(ServeError::InUse { .. })));
    drop(running);
    let other = start("fedcba9876543210", place.config("state")).unwrap();
    assert!(matches!(&other, ServeError::OtherPlan { .. }) && other.to_string().contains("0123456789ab"), "{other}");
    std::fs::create_dir(place.path("mine")).unwrap();
    std::fs::write(place.path("mine/thesis.txt"), "years of work").unwrap();
    assert!(matches!(start(PLAN, place.config("mine")), Some(ServeError::NotOurs { .. })));
    assert_eq!(std::fs::read_dir(place.path("mine")).unwrap().count(), 1, "nothing was put there");
    std::fs::write(place.path("state/service.json"), "{}").unwrap();
    assert!(matches!(start(PLAN, place.config("state")), Some(ServeError::State { .. })));
    // Others reach it, and nothing says who may do what.
    let open = Config { listen: ([0, 0, 0, 0], 0).into(), ..place.config("open") };
    assert!(matches!(start(PLAN, open.clone()), Some(ServeError::Open { .. })));
    assert!(start(PLAN, Config { without_tokens: true, ..open }).is_none());
}
