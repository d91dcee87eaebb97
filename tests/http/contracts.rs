//! Contracts by name: what differs from the defaults, clause by clause. `docs/HTTP.md` names these
//! tests.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{Method, StatusCode},
};
use idempotent_fn::http::{Contract, IdempotencyKey};
use serde_json::{Value, json};

use crate::{
    common::until,
    support::{Reply, Server, by_user, gated, memory, number, serve_counted, shared},
};

const UUID_V7: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The answer to a request that comes while the first one with its key runs.
async fn while_one_runs(contract: Contract, key: &'static str) -> Reply {
    let (server, runs, gate) = gated(shared().contract(contract)).await;
    let first = tokio::spawn(server.post("/").key(key).send());
    until(|| runs.count() == 1).await;
    let reply = server.post("/").key(key).send().await;
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert!(server.post("/").key(key).send().await.is_replay());
    assert_eq!(runs.count(), 1);
    reply
}

async fn numbered(contract: Contract) -> Server {
    serve_counted(shared().contract(contract), number).await.0
}

fn json_of(reply: &Reply) -> Value {
    assert_eq!(reply.text("content-type"), Some("application/json"));
    reply.json()
}

/// The statuses that a retry gets again, out of 200 to 599.
async fn replayed(contract: Contract) -> Vec<u16> {
    let status = |request: &Request| request.uri().path()[1..].parse().unwrap();
    let handler = move |_, request: Request| {
        let status = StatusCode::from_u16(status(&request)).unwrap();
        async move { status }
    };
    let (server, _) = serve_counted(shared().contract(contract), handler).await;
    let mut replayed = Vec::new();
    for status in (200..=431).chain([451, 499]).chain(500..=511) {
        // One that is a UUID of version 7 as well.
        let key = format!("01890a5d-ac96-774b-bcce-b30209900{status}");
        let post = || server.post(&format!("/{status}")).key(&key).send();
        let (first, again) = (post().await, post().await);
        assert_eq!((first.status, again.status), (status, status));
        if again.is_replay() {
            replayed.push(status);
        }
    }
    replayed
}

#[tokio::test]
async fn ietf_a_concurrent_request_is_refused_at_once() {
    let reply = while_one_runs(Contract::Ietf07, "k").await;
    assert_eq!((reply.status, &*reply.problem()), (409, "in-flight"));
    assert!(reply.text("retry-after").is_some());
}

/// What is set after a contract overrules it.
#[tokio::test]
async fn options_after_a_contract_overrule_it() {
    let layer = shared().contract(Contract::Ietf07);
    let (server, runs, gate) = gated(layer.wait(Duration::from_secs(60))).await;
    let first = tokio::spawn(server.post("/").key("k").send());
    until(|| runs.count() == 1).await;
    let second = tokio::spawn(server.post("/").key("k").send());
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert!(second.await.unwrap().is_replay());
}

#[tokio::test]
async fn checkout_each_post_needs_a_key() {
    let server = numbered(Contract::AgenticCheckout).await;
    let reply = server.post("/checkout_sessions").send().await;
    assert_eq!(reply.status, 400);
    let body = json_of(&reply);
    assert_eq!(body["type"], "invalid_request");
    assert_eq!(body["code"], "idempotency_key_required");
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key")
    );
    assert_eq!(server.request("GET", "/").send().await.status, 200);
    let key = "x".repeat(256);
    assert_eq!(server.post("/").key(key).send().await.status, 400);
    let key = "x".repeat(255);
    assert_eq!(server.post("/").key(key).send().await.status, 200);
}

#[tokio::test]
async fn checkout_a_key_belongs_to_its_identity_and_path() {
    let layer = by_user().store(memory());
    let layer = layer.contract(Contract::AgenticCheckout);
    let (server, runs) = serve_counted(layer.clone(), number).await;
    let post = |path, user| server.post(path).key("k").user(user).json("{}").send();
    for (path, user, run) in [
        ("/checkout_sessions", "ann", "1"),
        ("/checkout_sessions/1/complete", "ann", "2"),
        ("/checkout_sessions", "bob", "3"),
        ("/checkout_sessions", "ann", "1"),
        ("/checkout_sessions/1/complete", "ann", "2"),
    ] {
        assert_eq!(post(path, user).await.body(), run);
    }
    assert_eq!(runs.count(), 3);
    // Operators name the path too; without one they are told.
    let key = IdempotencyKey::new("k").unwrap();
    let at = layer.operation_at("/checkout_sessions", "bob", &key);
    assert!(at.inspect().await.unwrap().is_some());
    let elsewhere = layer.operation_at("/other", "bob", &key);
    assert!(elsewhere.inspect().await.unwrap().is_none());
    assert!(layer.operation("bob", &key).inspect().await.is_err());
}

#[tokio::test]
async fn checkout_bodies_are_compared_by_their_json() {
    let server = numbered(Contract::AgenticCheckout).await;
    let post = |body: &str| server.post("/").key("k").json(body);
    let first = r#"{"items":[{"id":"a","quantity":1},{"id":"b"}],"note":"x"}"#;
    post(first).send().await;
    for same in [
        r#"{ "note": "x", "items": [ {"quantity": 1.0, "id": "a"}, {"id": "b"} ] }"#,
        first,
    ] {
        assert!(post(same).send().await.is_replay(), "{same}");
    }
    // Headers and the type of the body play no part.
    let other = server.post("/").key("k").header("If-Match", "\"1\"");
    assert!(other.body(first).send().await.is_replay());
    for other in [
        r#"{"items":[{"id":"b"},{"id":"a","quantity":1}],"note":"x"}"#,
        r#"{"items":[{"id":"a","quantity":1},{"id":"b"}],"note":null}"#,
        r#"{"items":[{"id":"a","quantity":1},{"id":"b"}]}"#,
        r#"{"items":[{"id":"a","quantity":1},{"id":"b"}],"note":"x","extension":1}"#,
    ] {
        let reply = post(other).send().await;
        assert_eq!(reply.status, 422, "{other}");
        let body = json_of(&reply);
        assert_eq!(body["type"], "invalid_request");
        assert_eq!(body["code"], "idempotency_conflict");
    }
}

#[tokio::test]
async fn checkout_a_replay_has_the_first_status_and_the_marker() {
    let created = |run: u64, _: Request| async move { (StatusCode::CREATED, run.to_string()) };
    let layer = shared().contract(Contract::AgenticCheckout);
    let (server, runs) = serve_counted(layer, created).await;
    for is_replay in [false, true] {
        let reply = server.post("/").key("\"k\"").json("{}").send().await;
        assert_eq!((reply.status, reply.body()), (201, "1"));
        assert_eq!(reply.is_replay(), is_replay);
        // Section 3.1: the key is repeated as it was sent.
        assert_eq!(reply.text("idempotency-key"), Some("\"k\""));
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn checkout_in_flight_is_refused_at_once() {
    let reply = while_one_runs(Contract::AgenticCheckout, "k").await;
    assert_eq!(reply.status, 409);
    let body = json_of(&reply);
    assert_eq!(body["type"], "invalid_request");
    assert_eq!(body["code"], "idempotency_in_flight");
    assert_eq!(reply.text("retry-after"), Some("1"));
}

#[tokio::test]
async fn checkout_everything_but_a_failure_is_replayed() {
    let replayed = replayed(Contract::AgenticCheckout).await;
    let is_kept = |status: &u16| *status < 500 && ![401, 408, 425, 429].contains(status);
    let all = (200..=431).chain([451, 499]).chain(500..=511);
    assert_eq!(replayed, all.filter(is_kept).collect::<Vec<_>>());
}

#[tokio::test]
async fn iceberg_keys_are_uuids_of_version_7() {
    let server = numbered(Contract::IcebergRest).await;
    let upper = UUID_V7.to_uppercase();
    for key in [UUID_V7, &upper, &format!("\"{UUID_V7}\"")] {
        assert_eq!(server.post("/").key(key).send().await.status, 200);
    }
    for key in [
        "550e8400-e29b-41d4-a716-446655440000",
        "01890a5dac96774bbcceb302099a8057",
        "01890a5d-ac96-774b-ccce-b302099a8057",
        "01890a5d-ac96-774b-bcce-b302099a805g",
        "01890a5d-ac96-774b-bcce-b302099a80571",
        "k",
    ] {
        let reply = server.post("/").key(key).send().await;
        assert_eq!(reply.status, 400, "{key}");
        let error = &json_of(&reply)["error"];
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!(400), &json!("BadRequestException"))
        );
        assert!(error["message"].as_str().unwrap().len() > 20);
    }
    // It is optional.
    assert_eq!(server.post("/").send().await.status, 200);
}

#[tokio::test]
async fn iceberg_drops_have_keys_too() {
    let server = numbered(Contract::IcebergRest).await;
    for method in ["DELETE", "POST"] {
        let path = format!("/v1/namespaces/{method}");
        let key = UUID_V7.replace("8057", if method == "POST" { "8058" } else { "8057" });
        let send = || server.request(method, &path).key(&key).send();
        assert!(!send().await.is_replay());
        assert!(send().await.is_replay());
    }
}

#[tokio::test]
async fn iceberg_outcomes_are_final_and_failures_are_not() {
    let replayed = replayed(Contract::IcebergRest).await;
    let is_kept =
        |status: &u16| *status < 500 && ![401, 403, 407, 408, 419, 425, 429].contains(status);
    let all = (200..=431).chain([451, 499]).chain(500..=511);
    assert_eq!(replayed, all.filter(is_kept).collect::<Vec<_>>());
}

#[tokio::test]
async fn iceberg_another_operation_with_the_key_is_refused() {
    let server = numbered(Contract::IcebergRest).await;
    server
        .post("/v1/namespaces")
        .key(UUID_V7)
        .json("{}")
        .send()
        .await;
    for request in [
        server.post("/v1/tables/rename"),
        server.request("DELETE", "/v1/namespaces"),
    ] {
        let reply = request.key(UUID_V7).json("{}").send().await;
        assert_eq!(
            (reply.status, &json_of(&reply)["error"]["code"]),
            (400, &json!(400))
        );
    }
}

/// Iceberg's clients take 409 for a commit that failed, and remove its files.
#[tokio::test]
async fn iceberg_never_answers_409_itself() {
    let (server, runs, gate) = gated(
        shared()
            .contract(Contract::IcebergRest)
            .wait(Duration::ZERO),
    )
    .await;
    let first = tokio::spawn(server.post("/").key(UUID_V7).send());
    until(|| runs.count() == 1).await;
    let reply = server.post("/").key(UUID_V7).send().await;
    assert_eq!((reply.status, reply.text("retry-after")), (503, Some("1")));
    assert_eq!(
        json_of(&reply)["error"]["type"],
        "ServiceUnavailableException"
    );
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);

    let layer = shared().contract(Contract::IcebergRest);
    let layer = layer.on_crash(idempotent_fn::OnCrash::Fail);
    let failing = |_, _: Request| async { StatusCode::BAD_GATEWAY };
    let (server, runs) = serve_counted(layer, failing).await;
    assert_eq!(server.post("/").key(UUID_V7).send().await.status, 502);
    let reply = server.post("/").key(UUID_V7).send().await;
    assert_eq!((reply.status, runs.count()), (500, 1));
    assert_eq!(json_of(&reply)["error"]["code"], 500);
}

#[tokio::test]
async fn stripe_a_failure_is_recorded_once_the_handler_has_run() {
    let replayed = replayed(Contract::StripeV1).await;
    let all = (200..=431).chain([451, 499]).chain(500..=511);
    let is_kept = |status: &u16| ![401, 429].contains(status);
    assert_eq!(replayed, all.filter(is_kept).collect::<Vec<_>>());
}

/// A handler that has not begun the operation says so.
#[tokio::test]
async fn stripe_what_fails_validation_is_not_recorded() {
    use axum::Extension;
    use idempotent_fn::http::Finish;

    let validating = |run, _: Request| async move {
        match run {
            1 => (StatusCode::BAD_REQUEST, Extension(Finish::Release)),
            _ => (StatusCode::OK, Extension(Finish::Complete)),
        }
    };
    let (server, _) = serve_counted(shared().contract(Contract::StripeV1), validating).await;
    for (status, is_replay) in [(400, false), (200, false), (200, true)] {
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.status, reply.is_replay()), (status, is_replay));
    }
}

#[tokio::test]
async fn stripe_a_reused_key_is_400() {
    let server = numbered(Contract::StripeV1).await;
    let post = |body: &str| server.post("/v1/charges").key("k").body(body);
    post("amount=100").send().await;
    assert!(post("amount=100").send().await.is_replay());
    for request in [
        post("amount=200"),
        server.post("/v1/refunds").key("k").body("amount=100"),
    ] {
        let reply = request.send().await;
        assert_eq!(reply.status, 400);
        assert_eq!(json_of(&reply)["error"]["type"], "idempotency_error");
    }
}

#[tokio::test]
async fn stripe_in_flight_is_409_at_once() {
    let reply = while_one_runs(Contract::StripeV1, "k").await;
    assert_eq!(reply.status, 409);
    assert_eq!(json_of(&reply)["error"]["code"], "idempotency_key_in_use");
}

#[tokio::test]
async fn stripe_only_posts_have_keys() {
    let server = numbered(Contract::StripeV1).await;
    for method in ["GET", "DELETE", "PATCH"] {
        for _ in 0..2 {
            let reply = server.request(method, "/").key("k").send().await;
            assert!(!reply.is_replay(), "{method}");
        }
    }
    assert!(!server.post("/").key("k").send().await.is_replay());
    assert!(server.post("/").key("k").send().await.is_replay());
}

/// Refusals that a contract does not name have its form all the same.
#[tokio::test]
async fn every_refusal_has_the_contracts_form() {
    for contract in [
        Contract::AgenticCheckout,
        Contract::IcebergRest,
        Contract::StripeV1,
    ] {
        let layer = by_user().contract(contract).body_limit(1);
        let layer = layer.store(memory()).docs("https://shop.example/api");
        let (server, runs) = serve_counted(layer.methods([Method::POST]), number).await;
        for (request, status) in [
            (server.post("/").key("a b"), 400),
            (server.post("/").key(UUID_V7), 403),
            (server.post("/").key(UUID_V7).user("ann").body("12"), 413),
        ] {
            let reply = request.send().await;
            assert_eq!(reply.status, status, "{contract:?}");
            let body = json_of(&reply);
            let error = body.get("error").unwrap_or(&body);
            assert!(
                error["type"].is_string() && error["message"].is_string(),
                "{body}"
            );
            assert!(
                reply
                    .text("link")
                    .unwrap()
                    .contains("https://shop.example/api#")
            );
        }
        assert_eq!(runs.count(), 0);
    }
}
