//! What is answered instead of a handler's response.

use std::time::Duration;

use crate::{
    common::{faulty::Faulty, until},
    support::{by_user, gated, memory, number, serve_counted, shared},
};
use axum::response::IntoResponse;
use idempotent_fn::{
    Error, OnCrash, OnErr, SharedStore,
    http::{KeySyntaxError, Problem},
    operation,
};

fn status(error: Error) -> (u16, &'static str, bool, Option<String>) {
    let problem = Problem::from(&error);
    let text = error.to_string();
    let response = error.into_response();
    // Whoever logs outside finds the reason; a client does not get it.
    let carried = response.extensions().get::<Error>().expect("the error");
    assert_eq!(carried.to_string(), text);
    assert!(!String::from_utf8_lossy(&problem.body()).contains("key digest"));
    let after = response.headers().get("retry-after");
    let after = after.map(|after| after.to_str().unwrap().to_owned());
    assert_eq!(problem.status(), response.status());
    let status = response.status().as_u16();
    (status, problem.name(), problem.is_retryable(), after)
}

#[tokio::test]
async fn each_error_is_a_problem() {
    let store = memory();
    let charge = |scope| operation::<Result<u64, Error>, _>(scope, &[&"k"]).store(&store);
    let one = Some("1".to_owned());

    let (end, ended) = tokio::sync::oneshot::channel();
    let holder = charge("running").run(async { Ok(ended.await.unwrap()) });
    let holder = tokio::spawn(holder);
    while charge("running").inspect().await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let error = charge("running").wait(Duration::ZERO).run(async { Ok(1) });
    let error = error.await.unwrap_err();
    assert_eq!(status(error), (409, "in-flight", true, one.clone()));
    end.send(1).unwrap();
    holder.await.unwrap().unwrap();

    charge("reused")
        .fingerprint(&1)
        .run(async { Ok(1) })
        .await
        .unwrap();
    let error = charge("reused").fingerprint(&2).run(async { Ok(1) });
    let error = error.await.unwrap_err();
    assert_eq!(status(error), (422, "key-reused", false, None));

    let doubtful = || charge("doubt").on_crash(OnCrash::Fail).on_err(OnErr::Fail);
    let stopped = || {
        doubtful()
            .timeout(Duration::from_millis(1))
            .run(std::future::pending())
    };
    let error = stopped().await.unwrap_err();
    assert_eq!(status(error), (409, "indeterminate", false, None));
    let error = stopped().await.unwrap_err();
    assert_eq!(status(error), (409, "indeterminate", false, None));

    let stopped = charge("late")
        .timeout(Duration::from_millis(1))
        .run(std::future::pending());
    let error = stopped.await.unwrap_err();
    assert_eq!(status(error), (504, "timed-out", true, one));

    let error = charge("lease").lease(Duration::ZERO).run(async { Ok(1) });
    let error = error.await.unwrap_err();
    assert_eq!(status(error), (500, "internal", false, None));

    let text = operation::<Result<String, Error>, _>("codec", &[&"k"]).store(&store);
    text.run(async { Ok("text".to_owned()) }).await.unwrap();
    let error = charge("codec").run(async { Ok(1) }).await.unwrap_err();
    assert_eq!(status(error), (500, "internal", false, None));
}

#[test]
fn a_problem_leads_to_its_documentation() {
    let problem = Problem::from(KeySyntaxError::Repeated);
    let json =
        |problem: &Problem| serde_json::from_slice::<serde_json::Value>(&problem.body()).unwrap();
    let ours = json(&problem);
    let ours = ours["type"].as_str().unwrap();
    assert!(ours.ends_with("/docs/HTTP.md#malformed-key"), "{ours}");
    let theirs = problem.with_docs("https://shop.example/api");
    assert_eq!(
        json(&theirs)["type"],
        "https://shop.example/api#malformed-key"
    );
    let link = "<https://shop.example/api#malformed-key>; rel=\"describedby\"";
    assert_eq!(theirs.headers()["link"], link);
    // What cannot stand in a header is left out there.
    let odd = Problem::from(KeySyntaxError::Empty).with_docs("https://shop.example/\n");
    assert!(!odd.headers().contains_key("link"));
}

#[tokio::test]
async fn missing() {
    let store = Faulty::new();
    let layer = by_user()
        .require_key()
        .store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    let reply = server.post("/").send().await;
    assert_eq!((reply.status, &*reply.problem()), (400, "missing-key"));
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
    // Methods that need none pass.
    assert_eq!(server.request("GET", "/").send().await.status, 200);
}

#[tokio::test]
async fn reused() {
    let (server, _) = serve_counted(shared(), number).await;
    server.post("/").key("k").json("1").send().await;
    let reply = server.post("/").key("k").json("2").send().await;
    assert_eq!((reply.status, &*reply.problem()), (422, "key-reused"));
    let instance = reply.json()["instance"].as_str().unwrap().to_owned();
    let digest = instance.strip_prefix("urn:idempotency-key:").unwrap();
    assert_eq!(digest.len(), 16);
}

#[tokio::test]
async fn in_flight() {
    let (server, runs, gate) = gated(shared().wait(Duration::from_millis(1))).await;
    let first = tokio::spawn(server.post("/").key("k").send());
    until(|| runs.count() == 1).await;
    let reply = server.post("/").key("k").send().await;
    assert_eq!((reply.status, &*reply.problem()), (409, "in-flight"));
    assert!(reply.text("retry-after").is_some());
    assert_eq!(reply.json()["retryable"], true);
    gate.add_permits(1);
    first.await.unwrap();
}

/// The same key and the same mistake get the same answer, and the handler never runs.
#[tokio::test]
async fn a_mistake_stays_a_mistake() {
    let (server, runs) = serve_counted(by_user().require_key().store(memory()), number).await;
    let right = || server.post("/").key("right").user("ann").json("1");
    right().send().await;
    for request in [
        server.post("/").user("ann"),
        server.post("/").user("ann").key("a b"),
        server.post("/").key("k"),
        server.post("/").key("right").user("ann").json("2"),
    ] {
        let first = request.clone().send().await;
        let again = request.send().await;
        assert_eq!((first.status, &first.body), (again.status, &again.body));
        assert!(matches!(first.status, 400 | 403 | 422));
    }
    assert_eq!(runs.count(), 1);
    assert!(right().send().await.is_replay());
}

#[tokio::test]
async fn each_leads_to_documentation() {
    let layer = shared().require_key().docs("https://shop.example/api");
    let (server, _) = serve_counted(layer.body_limit(1), number).await;
    for request in [
        server.post("/"),
        server.post("/").key("a b"),
        server.post("/").key("k").body("12"),
    ] {
        let reply = request.send().await;
        let address = format!("https://shop.example/api#{}", reply.problem());
        assert_eq!(reply.json()["type"], address);
    }
}
