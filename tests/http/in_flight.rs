//! Duplicates of a request that is being processed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::task::JoinSet;

use crate::{
    common::until,
    support::{gated, serve_counted, shared, streamed},
};

#[tokio::test(flavor = "multi_thread")]
async fn shared_by_all_that_come_at_once() {
    let (server, runs, gate) = gated(shared()).await;
    let mut all = JoinSet::new();
    for _ in 0..200 {
        all.spawn(server.post("/").key("k").json("{}").send());
    }
    until(|| runs.count() > 0).await;
    gate.add_permits(1);
    let replies = all.join_all().await;
    let first: Vec<_> = replies.iter().filter(|reply| !reply.is_replay()).collect();
    assert_eq!((first.len(), runs.count()), (1, 1));
    for reply in &replies {
        assert_eq!((reply.status, reply.body()), (201, "1"));
    }
}

#[tokio::test]
async fn at_once_where_nobody_is_to_wait() {
    let (server, runs, gate) = gated(shared().wait(Duration::ZERO)).await;
    let first = tokio::spawn(server.post("/").key("k").send());
    until(|| runs.count() == 1).await;
    let reply = server.post("/").key("k").send().await;
    assert_eq!((reply.status, &*reply.problem()), (409, "in-flight"));
    assert_eq!(reply.text("retry-after"), Some("1"));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert!(server.post("/").key("k").send().await.is_replay());
}

/// Those that fail run one after the other, each within its own wait.
#[tokio::test(flavor = "multi_thread")]
async fn duplicates_of_a_failing_handler_run_one_after_the_other() {
    let (at_once, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let handler = {
        let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
        move |_, _: Request| {
            let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
            async move {
                let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    };
    let (server, runs) = serve_counted(shared().wait(Duration::from_secs(60)), handler).await;
    let mut all = JoinSet::new();
    for _ in 0..20 {
        all.spawn(server.post("/").key("k").send());
    }
    assert!(all.join_all().await.iter().all(|reply| reply.status == 500));
    assert_eq!((runs.count(), most.load(Ordering::SeqCst)), (20, 1));
}

/// However the first one ends, the next one need not wait for a lease.
#[tokio::test]
async fn the_next_is_answered_whatever_the_end() {
    let handler = |run, request: Request| async move {
        match request.uri().path() {
            _ if run % 2 == 0 => "second".into_response(),
            "/panic" => panic!("as the test asked"),
            "/error" => StatusCode::BAD_GATEWAY.into_response(),
            "/stream" => Response::new(streamed(["a", "b"])),
            "/empty" => StatusCode::NO_CONTENT.into_response(),
            "/unchanged" => StatusCode::NOT_MODIFIED.into_response(),
            path => panic!("{path}"),
        }
    };
    for (path, status, body) in [
        ("/panic", 200, "second"),
        ("/error", 200, "second"),
        ("/stream", 200, "ab"),
        ("/empty", 204, ""),
        ("/unchanged", 304, ""),
    ] {
        let layer = shared()
            .wait(Duration::ZERO)
            .lease(Duration::from_secs(3600));
        let (server, _) = serve_counted(layer, handler).await;
        if path == "/panic" {
            let mut stream = server.post(path).key("k").start().await;
            let mut end = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut end).await;
            assert!(read.is_err() || end.is_empty(), "the connection ends");
        } else {
            server.post(path).key("k").send().await;
        }
        let reply = server.post(path).key("k").send().await;
        assert_eq!((reply.status, reply.body()), (status, body), "{path}");
    }
}
