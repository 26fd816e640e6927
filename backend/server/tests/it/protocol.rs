//! The description of the protocol, and the protocol.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::Place;

fn document() -> Value {
    serde_json::from_str(fhec_server::OPENAPI).unwrap()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let described = |(path, methods): (&String, &Value)| {
        let methods: Vec<_> = methods.as_object().unwrap().keys().cloned().collect();
        methods.into_iter().map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    let described: BTreeSet<_> = paths.iter().flat_map(described).collect();
    let routes: BTreeSet<_> = fhec_server::routes().into_iter().map(|(m, p)| (m.to_string(), p.to_string())).collect();
    assert_eq!(described, routes);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name() {
    let document = document();
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(Into::into));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap().values());
    let names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn what_is_answered_is_what_is_described() {
    let document = document();
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let key = alice.upload("a");
    let job = alice.submit(&key, "request a 1 x");
    alice.wait(&job);
    let described = |value: &Value, schema: &str| {
        let schema = &document["components"]["schemas"][schema];
        let properties = schema["properties"].as_object().unwrap();
        for field in value.as_object().unwrap().keys() {
            assert!(properties.contains_key(field), "{field} of {value}");
        }
        for field in schema["required"].as_array().unwrap() {
            assert!(!value[field.as_str().unwrap()].is_null(), "{field} of {value}");
        }
    };
    described(&alice.get("/v1/plan").json(), "Plan");
    described(&alice.get("/v1/keys").json()[0], "Keys");
    described(&alice.get(&format!("/v1/jobs/{job}")).json(), "Job");
    described(&alice.get("/v1/jobs/00").json(), "Problem");
    described(&alice.append(&key, 7, b"").is(409).json(), "Problem");
    assert_eq!(alice.get("/openapi.json").is(200).json(), document);
    alice.get("/healthz").is(200);
    alice.get("/readyz").is(200);
    for (method, path) in [("PUT", "/v1/jobs"), ("POST", "/v1/plan"), ("PATCH", "/v1/jobs/x")] {
        assert_eq!(alice.ask(method, path, &[], b"").is(405).code(), "method");
    }
}

#[test]
fn the_page_runs_no_script_but_its_own_and_tells_strangers_nothing_of_the_plan() {
    let place = Place::new(1);
    let running = place.start();
    let alice = place.tenant(&running, 0);
    let stranger = alice.with_token("no token");
    let mut assets = Vec::new();
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/report.js", "text/javascript"),
    ] {
        let answer =
            stranger.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
        let head = head.to_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        let policy = head.lines().find(|line| line.starts_with("content-security-policy:")).expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe-eval") && !policy.contains("script-src 'unsafe-inline'"), "{policy}");
        assert!(
            head.contains("referrer-policy: no-referrer") && head.contains("x-content-type-options: nosniff"),
            "{head}"
        );
        assert!(!content.contains("double"), "{path} names the model");
        assets.push(content.to_string());
    }
    // All that the page loads is served here, and nothing is inline.
    let page = &assets[0];
    for name in ["/page.css", "/page.js", "/report.js"] {
        assert!(page.contains(&format!("\"{name}\"")), "{name}");
    }
    assert!(!page.contains("://") && !page.contains("<style") && !page.contains(" onclick"), "{page}");
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/").count());
    // The token is in no address, and is stored nowhere.
    for word in ["localStorage", "sessionStorage", "cookie", "location", "innerHTML", "?token"] {
        assert!(!assets[2].contains(word), "{word}");
    }
    stranger.get("/v1/plan/report").is(401);
    let report = alice.raw(
        format!(
            "GET /v1/plan/report HTTP/1.1\r\nHost: localhost\r\n{}\r\nConnection: close\r\n\r\n",
            alice.authorization()
        )
        .as_bytes(),
    );
    assert!(report.contains("<section><h2>Layers</h2></section>"), "{report}");
}
