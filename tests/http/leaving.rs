//! Somebody goes away: a client, or a layer that does not wait.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use idempotent_fn::{OnCrash, SharedStore, drain, store::MemoryStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    common::{
        faulty::{Fault, Faulty, Op},
        settled, until,
    },
    support::{Runs, behind_gate, counted, gated, memory, number, serve, serve_counted, shared},
};

/// How many callers have gone before their answer, as what stands outside of the layer sees it.
#[derive(Clone, Default)]
pub(crate) struct Gone(pub(crate) Runs);

struct Caller<'a>(Option<&'a Gone>);

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(gone) = self.0 {
            gone.0.begin();
        }
    }
}

pub(crate) fn watched(app: Router) -> (Router, Gone) {
    let gone = Gone::default();
    let seen = gone.clone();
    let app = app.layer(from_fn(move |request: Request, next: Next| {
        let seen = seen.clone();
        async move {
            let mut caller = Caller(Some(&seen));
            let response = next.run(request).await;
            caller.0 = None;
            response
        }
    }));
    (app, gone)
}

#[tokio::test]
async fn a_client_that_hangs_up_finds_its_response() {
    let store = memory();
    let (app, runs, gate) = behind_gate();
    let (app, gone) = watched(app.layer(shared().store(&store)));
    let server = serve(app).await;
    let pay = server.post("/").key("k");
    let stream = pay.start().await;
    until(|| runs.count() == 1).await;
    drop(stream);
    until(|| gone.0.count() == 1).await;
    gate.add_permits(1);
    settled(&store).await;
    let reply = pay.send().await;
    assert!(reply.is_replay());
    assert_eq!((reply.status, reply.body(), runs.count()), (201, "1", 1));
}

#[tokio::test]
async fn a_client_whose_answer_is_lost_finds_it() {
    let (server, runs) = serve_counted(shared(), number).await;
    let pay = server.post("/").key("k");
    let mut stream = pay.start().await;
    // It was recorded before the first byte was sent.
    stream.read_u8().await.unwrap();
    drop(stream);
    let reply = pay.send().await;
    assert_eq!(
        (reply.body(), reply.is_replay(), runs.count()),
        ("1", true, 1)
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_in_its_upload_claims_nothing() {
    let store = Faulty::new();
    let layer = shared().store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    for rest in [
        "Content-Length: 100\r\n\r\n{\"half\":",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"half",
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        let head = "POST / HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: k\r\n";
        stream
            .write_all(format!("{head}{rest}").as_bytes())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        if !answer.is_empty() {
            let reply = crate::support::Reply::parse(&answer);
            assert_eq!((reply.status, &*reply.problem()), (400, "body-incomplete"));
        }
    }
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
    assert_eq!(
        server.post("/").key("k").json("{}").send().await.body(),
        "1"
    );
}

#[tokio::test]
async fn a_duplicate_that_hangs_up_just_ends() {
    let store = memory();
    let (app, runs, gate) = behind_gate();
    let (app, gone) = watched(app.layer(shared().store(&store)));
    let server = serve(app).await;
    let pay = server.post("/").key("k");
    let first = tokio::spawn(pay.clone().send());
    until(|| runs.count() == 1).await;
    let duplicate = pay.start().await;
    until(|| store.counters().waited() == 1 || store.in_flight() == 1).await;
    drop(duplicate);
    until(|| gone.0.count() == 1).await;
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert!(pay.send().await.is_replay());
    assert_eq!(runs.count(), 1);
}

/// A proxy or a layer that is out of patience.
async fn impatient(request: Request, next: Next) -> Response {
    let patience = Duration::from_millis(20);
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

#[tokio::test]
async fn a_time_out_outside_is_a_client_that_hangs_up() {
    let store = memory();
    let slow = |run: u64, request: Request| async move {
        if request.headers().contains_key("slow") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (StatusCode::CREATED, run.to_string())
    };
    let (app, runs) = counted(slow);
    let app = app.layer(shared().store(&store)).layer(from_fn(impatient));
    let server = serve(app).await;
    let reply = server.post("/").key("k").header("slow", "1").send().await;
    assert_eq!(reply.status, 504);
    settled(&store).await;
    let reply = server.post("/").key("k").send().await;
    assert!(reply.is_replay());
    assert_eq!((reply.status, reply.body(), runs.count()), (201, "1", 1));
}

/// As the documentation says of this order of layers: each request does a half.
#[tokio::test]
async fn a_time_out_inside_abandons_the_handler() {
    let (app, runs) = counted(async |_, _: Request| {
        std::future::pending::<()>().await;
    });
    let server = serve(app.layer(from_fn(impatient)).layer(shared())).await;
    for _ in 0..3 {
        assert_eq!(server.post("/").key("k").send().await.status, 504);
    }
    assert_eq!(runs.count(), 3);
}

#[tokio::test]
async fn who_cannot_wait_comes_again() {
    let store = memory();
    let layer = shared()
        .store(&store)
        .answer_within(Duration::from_millis(20));
    let (server, runs, gate) = gated(layer).await;
    for _ in 0..2 {
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.status, &*reply.problem()), (503, "still-running"));
        assert_eq!(reply.text("retry-after"), Some("1"));
    }
    gate.add_permits(1);
    settled(&store).await;
    let reply = server.post("/").key("k").send().await;
    assert!(reply.is_replay());
    assert_eq!((reply.status, reply.body(), runs.count()), (201, "1", 1));
}

/// The store is silent, and nothing has run yet: what the client is told is true then too.
#[tokio::test]
async fn who_cannot_wait_for_the_store_comes_again() {
    let store = Faulty::new();
    store.next(Op::Claim, [Fault::Hang]);
    let layer = shared()
        .store(SharedStore::new(store.clone()))
        .answer_within(Duration::from_millis(20));
    let (server, runs) = serve_counted(layer, number).await;
    let pay = server.post("/").key("k");
    let reply = pay.clone().send().await;
    assert_eq!((reply.status, &*reply.problem()), (503, "still-running"));
    assert_eq!(reply.json()["title"], "The request has not ended yet");
    assert_eq!(
        reply.json()["detail"],
        "The request has not ended in the time that this server waits. It may be going on. Send the same request again: \
         it gets the response, and nothing runs twice."
    );
    assert_eq!(runs.count(), 0);
    while pay.clone().send().await.status != 200 {}
    let reply = pay.send().await;
    assert_eq!((reply.body(), runs.count()), ("1", 1));
}

#[tokio::test]
async fn a_panic_is_passed_on_and_abandoned() {
    for (on_crash, status) in [(OnCrash::Rerun, 200), (OnCrash::Fail, 409)] {
        let layer = shared().on_crash(on_crash);
        let (server, runs) = serve_counted(layer, |run: u64, _| async move {
            assert!(run > 1, "as the test asked");
            run.to_string()
        })
        .await;
        let mut stream = server.post("/").key("k").start().await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        assert!(read.is_err() || answer.is_empty(), "the connection ends");
        assert_eq!(server.post("/").key("k").send().await.status, status);
        assert_eq!(runs.count(), if status == 200 { 2 } else { 1 });
    }
}

/// axum's graceful shutdown waits for connections. What clients have left behind, `drain` waits
/// for.
#[tokio::test]
async fn draining_waits_for_what_clients_left() {
    let store = SharedStore::new(MemoryStore::new());
    let (app, runs) = counted(|_, _: Request| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        StatusCode::CREATED
    });
    let (app, gone) = watched(app.layer(shared().store(&store)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = axum::serve(listener, app);
    let served = served.with_graceful_shutdown(async { stopped.await.unwrap() });
    let served = tokio::spawn(served.into_future());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let post = b"POST / HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(post).await.unwrap();
    until(|| runs.count() == 1).await;
    drop(stream);
    until(|| gone.0.count() == 1).await;
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    // Other tests of this process may leave calls behind too, and they end.
    drain(Duration::from_secs(60)).await;
    assert_eq!(store.counters().ran(), 1, "it has ended");
}
