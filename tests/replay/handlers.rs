//! axum handlers: their responses, and a client that gives up and retries.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::common::{Effects, GENEROUS, settled, until};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use idempotent_fn::{
    Error, OnCrash, OnErr, SharedStore, operation, operation::Resolution, store::MemoryStore,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

#[tokio::test]
async fn responses_replay_as_they_were() {
    let store = memory();
    for run in 0..2 {
        let json = operation::<Result<Json<Vec<u8>>, Error>, _>("axum.json", &[&"k"]).store(&store);
        let Json(body) = json.run(async move { Ok(Json(vec![run])) }).await.unwrap();
        assert_eq!(body, [0]);

        let status = operation::<Result<(StatusCode, Json<u8>), Error>, _>("axum.status", &[&"k"]);
        let status = status.store(&store);
        let answer = status.run(async move { Ok((StatusCode::CREATED, Json(run))) });
        let (status, Json(body)) = answer.await.unwrap();
        assert_eq!((status, body), (StatusCode::CREATED, 0));

        let full = operation::<Result<(StatusCode, HeaderMap, Json<u8>), Error>, _>(
            "axum.headers",
            &[&"k"],
        );
        let answer = full.store(&store).run(async move {
            let mut headers = HeaderMap::new();
            headers.append("x-run", u16::from(run).into());
            headers.append("x-run", "again".parse().unwrap());
            headers.append(
                "x-bytes",
                axum::http::HeaderValue::from_bytes(&[0xff]).unwrap(),
            );
            let mut secret = axum::http::HeaderValue::from_static("secret");
            secret.set_sensitive(true);
            headers.append("x-token", secret);
            Ok((StatusCode::ACCEPTED, headers, Json(run)))
        });
        let (status, headers, Json(body)) = answer.await.unwrap();
        assert_eq!((status, body), (StatusCode::ACCEPTED, 0));
        let runs: Vec<_> = headers.get_all("x-run").iter().collect();
        assert_eq!(runs, ["0", "again"]);
        assert_eq!(headers["x-bytes"].as_bytes(), [0xff]);
        assert_eq!(headers["x-token"], "secret");
        let sensitive = headers.iter().filter(|(_, value)| value.is_sensitive());
        assert_eq!(
            sensitive.map(|(name, _)| name).collect::<Vec<_>>(),
            ["x-token"]
        );
    }
}

async fn answer_with(
    store: &SharedStore,
    on_crash: OnCrash,
    on_err: Option<OnErr>,
    status: StatusCode,
) -> Result<StatusCode, Error> {
    let operation = operation::<Result<(StatusCode, Json<()>), Error>, _>("axum.passing", &[&"k"]);
    let mut operation = operation.store(store).on_crash(on_crash);
    if let Some(on_err) = on_err {
        operation = operation.on_err(on_err);
    }
    let answer = operation.run(async move { Ok((status, Json(()))) }).await;
    answer.map(|(status, _)| status)
}

#[tokio::test]
async fn a_passing_failure_is_released_and_any_other_answer_recorded() {
    for (status, passes) in [
        (200, false),
        (301, false),
        (400, false),
        (404, false),
        (409, false),
        (408, true),
        (425, true),
        (429, true),
        (500, true),
        (503, true),
        (599, true),
    ] {
        let (store, status) = (memory(), StatusCode::from_u16(status).unwrap());
        let first = answer_with(&store, OnCrash::Rerun, None, status).await;
        assert_eq!(first.unwrap(), status, "its caller gets it");
        let next = answer_with(&store, OnCrash::Rerun, None, StatusCode::OK).await;
        let expected = if passes { StatusCode::OK } else { status };
        assert_eq!(next.unwrap(), expected);
    }
}

/// A 502 says nothing of whether the effect happened: under `fail` it is as an `Err` is there, in
/// doubt unless the author says otherwise.
#[tokio::test]
async fn a_passing_failure_under_fail_is_in_doubt() {
    let store = memory();
    let gateway = StatusCode::BAD_GATEWAY;
    let first = answer_with(&store, OnCrash::Fail, None, gateway).await;
    assert_eq!(first.unwrap(), gateway);
    let next = answer_with(&store, OnCrash::Fail, None, StatusCode::OK).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");

    for (on_crash, on_err, runs_again) in [
        (OnCrash::Fail, OnErr::Rerun, true),
        (OnCrash::Rerun, OnErr::Rerun, true),
        (OnCrash::Rerun, OnErr::Fail, false),
    ] {
        let store = memory();
        let first = answer_with(&store, on_crash, Some(on_err), gateway).await;
        assert_eq!(first.unwrap(), gateway);
        let next = answer_with(&store, on_crash, Some(on_err), StatusCode::OK).await;
        assert_eq!(next.is_ok(), runs_again, "{next:?}");
    }
}

#[derive(Clone)]
struct Shop {
    store: SharedStore,
    effects: Effects,
    /// Opened by the test: until then, every body is slower than its client's patience.
    open: Arc<Semaphore>,
}

async fn charge(State(shop): State<Shop>, Path(order): Path<u32>) -> impl IntoResponse {
    let operation = operation::<Result<Json<u32>, Error>, _>("axum.charge", &[&order]);
    let operation = operation.store(&shop.store).wait(GENEROUS);
    let answer = operation.run(async move {
        shop.effects.start();
        let open = shop.open.acquire().await;
        drop(open);
        Ok(Json(shop.effects.finish()))
    });
    answer.await.map_err(|error| {
        let status = if error.is_retryable() { 503 } else { 500 };
        (StatusCode::from_u16(status).unwrap(), error.to_string())
    })
}

/// One request over a connection of its own; `None` when the client gives up first, and hangs up.
async fn request(server: SocketAddr, patience: Duration) -> Option<String> {
    let exchange = async {
        let mut connection = TcpStream::connect(server).await.unwrap();
        let request = "POST /charge/42 HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(patience, exchange).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_and_retries_is_charged_once_and_answered() {
    let shop = Shop {
        store: memory(),
        effects: Effects::new(),
        open: Arc::new(Semaphore::new(0)),
    };
    let router = Router::new().route("/charge/{order}", post(charge));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let router = router.with_state(shop.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut gave_up = 0;
    // The body goes on only once two clients have hung up, so that it is slower than any of them.
    let answer = loop {
        let patience = if gave_up < 2 {
            Duration::from_millis(100)
        } else {
            GENEROUS
        };
        match request(server, patience).await {
            Some(answer) => break answer,
            None => gave_up += 1,
        }
        if gave_up == 2 {
            until(|| shop.effects.started() == 1).await;
            shop.open.add_permits(1);
        }
    };
    assert_eq!(gave_up, 2);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n1"), "{answer}");
    assert_eq!((shop.effects.started(), shop.effects.finished()), (1, 1));
    settled(&shop.store).await;
    serving.abort();
}

/// An operator knows the value, and need not know that the function is a handler. Where its response has a status too,
/// the value alone does not tell it: then the refusal says what to do.
#[tokio::test]
async fn a_result_given_without_its_json_is_replayed() {
    let store = memory();
    let by_hand = || operation::<Result<Vec<u8>, Error>, _>("axum.by_hand", &[&"k"]).store(&store);
    by_hand()
        .resolve_unseen(Resolution::Done(vec![7]))
        .await
        .unwrap();
    for _ in 0..2 {
        let handler = operation::<Result<Json<Vec<u8>>, Error>, _>("axum.by_hand", &[&"k"]);
        let handler = handler.store(&store).run(async { Ok(Json(vec![0])) });
        let Json(body) = handler.await.unwrap();
        assert_eq!(body, [7]);
    }
    let handler = || {
        let handler =
            operation::<Result<(StatusCode, Json<Vec<u8>>), Error>, _>("axum.by_hand", &[&"k"]);
        handler.store(&store)
    };
    let refused = handler()
        .run(async { Ok((StatusCode::OK, Json(vec![0]))) })
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Incompatible { .. }), "{refused:?}");
    assert!(
        refused
            .to_string()
            .contains("by `correct`, with the function's own type"),
        "{refused}"
    );
    handler()
        .correct((StatusCode::CREATED, Json(vec![8])))
        .await
        .unwrap();
    let (status, Json(body)) = handler()
        .run(async { Ok((StatusCode::OK, Json(vec![0]))) })
        .await
        .unwrap();
    assert_eq!((status, &*body), (StatusCode::CREATED, &[8][..]));
    // A value of another type is no value of this one.
    let text = operation::<Result<String, Error>, _>("axum.by_hand", &[&"text"]).store(&store);
    text.resolve_unseen(Resolution::Done("no list".into()))
        .await
        .unwrap();
    let handler =
        operation::<Result<Json<Vec<u8>>, Error>, _>("axum.by_hand", &[&"text"]).store(&store);
    let refused = handler.run(async { Ok(Json(vec![0])) }).await.unwrap_err();
    assert!(matches!(refused, Error::Incompatible { .. }), "{refused:?}");
}
