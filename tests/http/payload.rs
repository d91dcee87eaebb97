//! What a key stands for: the same key with another request is 422.

use std::sync::Arc;

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse, routing::any};
use idempotent_fn::{OnCrash, http::Payload};
use tokio::sync::Semaphore;

use crate::{
    common::until,
    support::{Reply, Runs, Server, counted, memory, number, serve, serve_counted, shared},
};

async fn assert_reused(request: crate::support::Request) {
    let reply = request.send().await;
    assert_eq!((reply.status, &*reply.problem()), (422, "key-reused"));
}

#[tokio::test]
async fn another_payload_is_422_in_every_state() {
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |run, _: Request| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                match run {
                    1 => StatusCode::GATEWAY_TIMEOUT.into_response(),
                    run => run.to_string().into_response(),
                }
            }
        }
    };
    let (server, runs) = serve_counted(shared().on_crash(OnCrash::Fail), handler).await;
    for (key, last) in [("doubt", 504), ("done", 200)] {
        let before = runs.count();
        let one = server.post("/").key(key).json(r#"{"cents":1}"#);
        let two = server.post("/").key(key).json(r#"{"cents":2}"#);
        let first = tokio::spawn(one.clone().send());
        until(|| runs.count() > before).await;
        assert_reused(two.clone()).await; // running: it does not wait
        gate.add_permits(1);
        assert_eq!(first.await.unwrap().status, last);
        assert_reused(two).await;
        assert_eq!(one.send().await.status, if last == 200 { 200 } else { 409 });
        assert_eq!(runs.count(), before + 1);
    }
}

/// A 5xx releases the key under `rerun`, and what it belonged to.
#[tokio::test]
async fn a_released_key_takes_another_payload() {
    let handler = |run, _: Request| async move {
        match run {
            1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            run => run.to_string().into_response(),
        }
    };
    let (server, runs) = serve_counted(shared(), handler).await;
    let of = |cents: u32| {
        server
            .post("/")
            .key("k")
            .json(&format!("{{\"cents\":{cents}}}"))
    };
    assert_eq!(of(1).send().await.status, 500);
    assert_eq!(of(2).send().await.body(), "2");
    assert_reused(of(1)).await;
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn method_path_and_query_count() {
    let (server, runs) = serve_counted(shared(), number).await;
    let of = |method, path| server.request(method, path).key("k").json("{}");
    assert_eq!(of("POST", "/payments?dry=1").send().await.body(), "1");
    for (method, path) in [
        ("PATCH", "/payments?dry=1"),
        ("POST", "/refunds?dry=1"),
        ("POST", "/payments?dry=0"),
        ("POST", "/payments"),
        ("POST", "/payments?"),
        ("POST", "/payments/?dry=1"),
        ("POST", "/Payments?dry=1"),
    ] {
        assert_reused(of(method, path)).await;
    }
    assert_eq!(of("POST", "/payments?dry=1").send().await.body(), "1");
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn the_whole_path_counts_inside_of_a_nest() {
    let (inside, runs) = counted(number);
    let runs: Runs = runs;
    let orders = Router::new().route("/orders", any(|| async { "placed" }));
    let version =
        |name: &str| Router::new().nest(name, orders.clone().layer(shared_with_one_store()));
    let app = version("/v1").merge(version("/v2")).merge(inside);
    let server = serve(app).await;
    assert_eq!(server.post("/v1/orders").key("k").send().await.status, 200);
    assert_reused(server.post("/v2/orders").key("k")).await;
    assert_eq!(runs.count(), 0);
}

fn shared_with_one_store() -> idempotent_fn::http::IdempotencyLayer {
    use std::sync::OnceLock;
    static LAYER: OnceLock<idempotent_fn::http::IdempotencyLayer> = OnceLock::new();
    LAYER.get_or_init(shared).clone()
}

async fn status(server: &Server, content_type: &str, body: impl AsRef<[u8]>) -> u16 {
    let request = server
        .post("/")
        .key("k")
        .header("Content-Type", content_type);
    let reply: Reply = request.body(body).send().await;
    reply.status
}

#[tokio::test]
async fn json_counts_by_value() {
    let (server, runs) = serve_counted(shared(), number).await;
    let json = "application/json";
    assert_eq!(
        status(&server, json, r#"{"a":1,"b":[2,{"c":null,"d":"x"}]}"#).await,
        200
    );
    for same in [
        r#"{"b":[2,{"d":"x","c":null}],"a":1}"#,
        " {\"a\" : 1.0,\n\"b\":[ 2, {\"c\":null,\"d\":\"\\u0078\"}]} ",
    ] {
        assert_eq!(status(&server, json, same).await, 200, "{same}");
        assert_eq!(
            status(&server, "Application/JSON; charset=utf-8", same).await,
            200
        );
    }
    for other in [
        r#"{"a":2,"b":[2,{"c":null,"d":"x"}]}"#,
        r#"{"a":1,"b":[{"c":null,"d":"x"},2]}"#,
        r#"{"a":1,"b":[2,{"d":"x"}]}"#,
        r#"{"a":1,"b":[2,{"c":null,"d":"x"}]}1"#,
        "",
    ] {
        assert_eq!(status(&server, json, other).await, 422, "{other}");
    }
    let same = r#"{"a":1,"b":[2,{"c":null,"d":"x"}]}"#;
    assert_eq!(status(&server, "application/patch+json", same).await, 422);
    assert_eq!(runs.count(), 1);
}

/// Two amounts are never taken for one because they share a double, nor two orders because a name is
/// there twice. Such a body is compared by its bytes.
#[tokio::test]
async fn json_that_no_double_has_counts_by_its_bytes() {
    let (server, runs) = serve_counted(shared(), number).await;
    let send = |key: usize, body: &'static str| {
        let request = server.post("/").key(key.to_string());
        request.json(body).send()
    };
    let cases = [
        (
            r#"{"wei":20000000000000000001}"#,
            r#"{"wei":20000000000000000002}"#,
        ),
        (r#"{"a":0.10000000000000001}"#, r#"{"a":0.1}"#),
        ("9007199254740993.0", "9007199254740992"),
        ("9007199254740992", "9007199254740993.0"),
        ("[1e-400]", "[0]"),
        (r#"{"to":"a","to":"b"}"#, r#"{"to":"b","to":"a"}"#),
        (r#"{"to":"a","to":"b"}"#, r#"{"to":"a"}"#),
        (r#"{"$serde_json::private::Number":"1"}"#, "1"),
    ];
    for (key, (body, other)) in cases.into_iter().enumerate() {
        assert_eq!(send(key, body).await.status, 200, "{body}");
        assert!(send(key, body).await.is_replay(), "{body}");
        assert_eq!(send(key, other).await.status, 422, "{body} {other}");
    }
    assert_eq!(runs.count(), cases.len() as u64);
}

#[tokio::test]
async fn every_other_body_counts_by_its_bytes() {
    let (server, runs) = serve_counted(shared(), number).await;
    let octets = "application/octet-stream";
    assert_eq!(status(&server, octets, b"{\"a\":1}\x80").await, 200);
    assert_eq!(status(&server, octets, b"{\"a\":1}\x80").await, 200);
    for other in [
        &b"{\"a\":1}\x81"[..],
        b"{\"a\": 1}\x80",
        b"{\"a\":1}\xef\xbf\xbd",
        b"",
    ] {
        assert_eq!(status(&server, octets, other).await, 422);
    }
    assert_eq!(status(&server, "text/plain", b"{\"a\":1}\x80").await, 422);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_precondition_is_a_part_of_the_request() {
    let (server, _) = serve_counted(shared(), number).await;
    let write = |etag| server.post("/").key("k").header("If-Match", etag).send();
    assert_eq!(write("\"1\"").await.status, 200);
    assert_eq!(write("\"2\"").await.status, 422);
    assert_eq!(server.post("/").key("k").send().await.status, 422);
    assert_eq!(write("\"1\"").await.status, 200);
}

#[tokio::test]
async fn equal_payloads_under_two_keys_are_two_runs() {
    let (server, runs) = serve_counted(shared(), number).await;
    for key in ["one", "two"] {
        server.post("/").key(key).json("{}").send().await;
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn exact_counts_each_byte_of_json() {
    let (server, _) = serve_counted(shared().payload(Payload::Exact), number).await;
    assert_eq!(status(&server, "application/json", r#"{"a":1}"#).await, 200);
    assert_eq!(status(&server, "application/json", r#"{"a":1}"#).await, 200);
    assert_eq!(
        status(&server, "application/json", r#"{"a": 1}"#).await,
        422
    );
}

#[tokio::test]
async fn an_ignored_body_has_any_size_and_content() {
    let layer = shared().payload(Payload::Ignored).body_limit(10);
    let length = |_, request: Request| async move {
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        body.unwrap().len().to_string()
    };
    let (server, runs) = serve_counted(layer, length).await;
    assert_eq!(
        server
            .post("/")
            .key("k")
            .body(vec![b'x'; 100_000])
            .send()
            .await
            .body(),
        "100000"
    );
    let other = server.post("/").key("k").body("other").send().await;
    assert_eq!((other.body(), other.is_replay()), ("100000", true));
    assert_reused(server.post("/other").key("k")).await;
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn what_counts_can_be_chosen() {
    let layer = shared().fingerprint(|parts, body| {
        let signature = parts
            .headers
            .get("x-signature")
            .map(|it| it.as_bytes().to_vec());
        (signature, body.len())
    });
    let (server, _) = serve_counted(layer.store(memory()), number).await;
    let send = |signature, body: &'static str| {
        server
            .post("/")
            .key("k")
            .header("X-Signature", signature)
            .body(body)
            .send()
    };
    assert_eq!(send("s", "abc").await.status, 200);
    assert_eq!(send("s", "xyz").await.status, 200);
    assert_eq!(send("t", "xyz").await.status, 422);
    assert_eq!(send("s", "xy").await.status, 422);
    let elsewhere = server
        .post("/elsewhere")
        .key("k")
        .header("X-Signature", "s");
    assert_reused(elsewhere.body("abc")).await;
}
