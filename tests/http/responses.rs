//! Which responses are recorded, and how they come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use idempotent_fn::{
    Error, OnCrash, SharedStore,
    http::{Finish, IdempotencyKey, KeySyntaxError, Problem, Replayed},
    operation,
    store::{ManualClock, MemoryStore},
};
use tower::ServiceExt;

use crate::support::{Reply, counted, memory, number, serve_counted, shared, streamed};

fn request(key: &str) -> Request {
    let request = Request::post("/").header("Idempotency-Key", key);
    request.body(Body::empty()).unwrap()
}

/// Every status, by whether a retry runs the handler again, and what it gets.
#[tokio::test]
async fn each_status_means_what_the_table_says() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        let said = Arc::new(AtomicU16::new(0));
        let (app, runs) = counted({
            let said = Arc::clone(&said);
            move |_, _: Request| {
                let status = said.load(Ordering::Relaxed);
                async move { StatusCode::from_u16(status).unwrap() }
            }
        });
        let app: Router = app.layer(shared().on_crash(on_crash));
        for status in 100..=599_u16 {
            said.store(status, Ordering::Relaxed);
            let (before, key) = (runs.count(), status.to_string());
            let first = app.clone().oneshot(request(&key)).await.unwrap();
            assert_eq!(first.status(), status);
            assert!(first.extensions().get::<Replayed>().is_none());
            let again = app.clone().oneshot(request(&key)).await.unwrap();
            let is_replay = again.extensions().get::<Replayed>().is_some();
            assert_eq!(
                again.headers().contains_key("idempotent-replayed"),
                is_replay
            );
            let (runs, again) = (runs.count() - before, again.status().as_u16());
            let is_transient = matches!(status, 408 | 425 | 429 | 500..);
            let expected = match (on_crash, status) {
                (_, 100..200) => (1, 409, false),
                (_, 200..400 | 402 | 409) => (1, status, true),
                (OnCrash::Fail, _) if is_transient => (1, 409, false),
                (OnCrash::Fail, _) => (1, status, true),
                _ => (2, status, false),
            };
            assert_eq!((runs, again, is_replay), expected, "{status} {on_crash:?}");
        }
    }
}

#[tokio::test]
async fn replayed_as_it_was() {
    let full = |_, _: Request| async {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("location", &b"/orders/1"[..]),
            ("etag", b"\"1\""),
            ("link", b"<a>"),
            ("link", b"<b>"),
            ("x-bytes", b"\xff\x80"),
            ("cache-control", b"no-store, private, max-age=0"),
            ("vary", b"Accept"),
            ("content-type", b"application/x-own"),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        (StatusCode::CREATED, headers, vec![0_u8, 0xff, b'\r', b'\n'])
    };
    let (server, runs) = serve_counted(shared(), full).await;
    let mut first = server
        .post("/")
        .key("k")
        .header("Accept", "application/x-own")
        .send()
        .await;
    let mut again = server
        .post("/")
        .key("k")
        .header("Accept", "text/html")
        .send()
        .await;
    assert!(!first.is_replay() && again.is_replay());
    first.headers.retain(|(name, _)| name != "date");
    again
        .headers
        .retain(|(name, _)| name != "date" && name != "idempotent-replayed");
    first.headers.sort();
    again.headers.sort();
    assert_eq!(first, again);
    assert_eq!(
        (first.status, first.all("link").len(), runs.count()),
        (201, 2, 1)
    );
}

#[tokio::test]
async fn headers_of_one_exchange_are_not_replayed() {
    let one_time = [
        ("set-cookie", "session=secret"),
        ("www-authenticate", "Basic"),
        ("x-request-id", "1"),
        ("server-timing", "db;dur=1"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("x-secret", "1"),
        ("x-kept", "1"),
    ];
    let handler = move |_, _: Request| async move {
        let headers = one_time.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        headers.into_iter().collect::<HeaderMap>()
    };
    let layer = shared().drop_header(HeaderName::from_static("x-secret"));
    let (server, _) = serve_counted(layer, handler).await;
    let has = |reply: &Reply, name: &str, value: &str| {
        let all = reply.all(name).into_iter();
        all.map(String::from_utf8_lossy)
            .any(|it| it.contains(value))
    };
    let first = server.post("/").key("k").send().await;
    for (name, value) in one_time {
        assert!(has(&first, name, value), "{name}: {first:?}");
    }
    let again = server.post("/").key("k").send().await;
    assert!(again.is_replay());
    for (name, value) in one_time {
        assert_eq!(has(&again, name, value), name == "x-kept", "{name}");
    }

    let layer = shared().keep_header(header::SET_COOKIE);
    let (server, _) = serve_counted(layer, handler).await;
    for _ in 0..2 {
        let reply = server.post("/").key("k").send().await;
        assert_eq!(reply.text("set-cookie"), Some("session=secret"));
    }
}

/// A response of unknown length is chunked; its replay has one length, which is right.
#[tokio::test]
async fn a_replay_is_framed_anew() {
    let (server, _) = serve_counted(shared(), |_, _| async { streamed(["one", "two"]) }).await;
    for is_replay in [false, true] {
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.is_replay(), reply.body()), (is_replay, "onetwo"));
        assert_eq!(
            reply.all("content-length").len() + reply.all("transfer-encoding").len(),
            1
        );
    }
    assert_eq!(
        server
            .post("/")
            .key("k")
            .send()
            .await
            .text("content-length"),
        Some("6")
    );
    // To a client that knows no chunks.
    let old = server.old("/").key("k").send().await;
    assert_eq!(
        (old.body(), old.text("transfer-encoding")),
        ("onetwo", None)
    );
}

#[tokio::test]
async fn a_failure_that_passes_is_not_the_answer() {
    for status in [400, 401, 403, 404, 422, 429, 500, 503, 504] {
        let (server, runs) = serve_counted(shared(), move |run, _| async move {
            match run {
                1 => StatusCode::from_u16(status).unwrap(),
                _ => StatusCode::CREATED,
            }
        })
        .await;
        for (status, is_replay) in [(status, false), (201, false), (201, true)] {
            let reply = server.post("/").key("k").send().await;
            assert_eq!((reply.status, reply.is_replay()), (status, is_replay));
        }
        assert_eq!(runs.count(), 2);
    }
}

/// Nobody knows what a 504 means for the effect.
#[tokio::test]
async fn what_is_in_doubt_stays_so_under_fail() {
    let layer = shared().on_crash(OnCrash::Fail);
    let handler = |_, _: Request| async { StatusCode::GATEWAY_TIMEOUT };
    let (server, runs) = serve_counted(layer, handler).await;
    assert_eq!(server.post("/").key("k").send().await.status, 504);
    for _ in 0..2 {
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.status, &*reply.problem()), (409, "indeterminate"));
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_handler_overrules_the_table() {
    let handler = |_, request: Request| async move {
        let (status, finish) = match request.uri().path() {
            "/released" => (StatusCode::CREATED, Finish::Release),
            "/abandoned" => (StatusCode::OK, Finish::Abandon),
            "/recorded" => (StatusCode::NOT_FOUND, Finish::Complete),
            _ => (StatusCode::SERVICE_UNAVAILABLE, Finish::Complete),
        };
        (status, Extension(finish))
    };
    // What the application says comes after what the handler says.
    for layer in [
        shared(),
        shared().on_response(|_| panic!("the handler has said it")),
    ] {
        let (server, _) = serve_counted(layer, handler).await;
        for (path, is_replay) in [
            ("/released", false),
            ("/abandoned", false),
            ("/recorded", true),
            ("/unavailable", true),
        ] {
            server.post(path).key(path).send().await;
            let again = server.post(path).key(path).send().await;
            assert_eq!(again.is_replay(), is_replay, "{path}");
        }
    }
}

#[tokio::test]
async fn an_application_overrules_the_table() {
    let layer = shared().on_response(|parts| match parts.status.as_u16() {
        404 => Finish::Complete,
        _ => Finish::Release,
    });
    let handler = |run, _: Request| async move {
        if run == 1 {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        }
    };
    let (server, runs) = serve_counted(layer, handler).await;
    for status in [200, 404, 404] {
        assert_eq!(server.post("/").key("k").send().await.status, status);
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_not_kept() {
    let store = memory();
    let secret = |_, _: Request| async {
        let finish = Extension(Finish::CompleteWithoutResponse);
        (StatusCode::CREATED, finish, "s3cr3t")
    };
    let layer = shared().store(&store);
    let (server, runs) = serve_counted(layer.clone(), secret).await;
    let first = server.post("/").key("k").send().await;
    assert_eq!((first.status, first.body()), (201, "s3cr3t"));
    let again = server.post("/").key("k").send().await;
    assert_eq!((again.status, &*again.problem()), (409, "not-recorded"));
    assert_eq!(runs.count(), 1);
    let key = IdempotencyKey::new("k").unwrap();
    let record = layer.operation("", &key).inspect().await.unwrap().unwrap();
    assert!(!format!("{record:?}").contains("s3cr3t"));
    assert_eq!(store.counters().not_recordable(), 0, "it is no mistake");
}

#[tokio::test]
async fn after_the_ttl_it_runs_again() {
    let clock = ManualClock::new();
    let store = SharedStore::new(MemoryStore::with_clock(&clock));
    let layer = shared().store(store).ttl(Duration::from_secs(60));
    let (server, _) = serve_counted(layer, number).await;
    for (after, run) in [(0, "1"), (59, "1"), (2, "2"), (0, "2")] {
        clock.advance(Duration::from_secs(after));
        assert_eq!(server.post("/").key("k").send().await.body(), run);
    }
}

/// The handler's own idempotent call was refused for now. Its response tells of that, and is no
/// outcome.
#[tokio::test]
async fn a_refusal_of_a_nested_call_is_not_recorded() {
    let nested = memory();
    let call = move || {
        let charge = operation::<Result<u64, Error>, _>("charge", &[&"k"]).store(&nested);
        charge.wait(Duration::ZERO)
    };
    let (end, ended) = tokio::sync::oneshot::channel();
    let holder = tokio::spawn(call().run(async { Ok(ended.await.unwrap()) }));
    let handler = move |_, request: Request| {
        let charge = call().run(async { Ok(0) });
        async move {
            match charge.await {
                Ok(number) => number.to_string().into_response(),
                Err(error) if request.uri().path() == "/problem" => error.into_response(),
                // In words of its own.
                Err(_) => StatusCode::CONFLICT.into_response(),
            }
        }
    };
    let (server, _) = serve_counted(shared(), handler).await;
    for path in ["/problem", "/own"] {
        for _ in 0..2 {
            let reply = server.post(path).key(path).send().await;
            assert_eq!((reply.status, reply.is_replay()), (409, false), "{path}");
        }
    }
    end.send(7).unwrap();
    holder.await.unwrap().unwrap();
    for path in ["/problem", "/own"] {
        let reply = server.post(path).key(path).send().await;
        assert_eq!((reply.status, reply.body()), (200, "7"), "{path}");
    }
}

/// Neither is one that says that nothing was done, where other 4xx are recorded.
#[tokio::test]
async fn a_problem_is_never_recorded() {
    let layer = shared().on_crash(OnCrash::Fail);
    let (server, runs) = serve_counted(layer, |run, _: Request| async move {
        match run {
            1 => Problem::from(KeySyntaxError::Empty).into_response::<Body>(),
            _ => StatusCode::CREATED.into_response(),
        }
    })
    .await;
    assert_eq!(
        server.post("/").key("k").send().await.problem(),
        "malformed-key"
    );
    assert_eq!(server.post("/").key("k").send().await.status, 201);
    assert_eq!(runs.count(), 2);
}

/// Responses keep their extensions, for the layers outside.
#[tokio::test]
async fn the_first_response_keeps_its_extensions() {
    #[derive(Clone, Debug, PartialEq)]
    struct Mine(u8);
    let (app, _) = counted(|_, _: Request| async {
        let mut response = Response::new(Body::from("x"));
        response.extensions_mut().insert(Mine(1));
        response
    });
    let app: Router = app.layer(shared());
    let first = app.clone().oneshot(request("k")).await.unwrap();
    assert_eq!(first.extensions().get(), Some(&Mine(1)));
    let again = app.oneshot(request("k")).await.unwrap();
    assert_eq!(again.extensions().get::<Mine>(), None);
}
