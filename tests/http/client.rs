//! The client: one key for all attempts, and when there is another attempt.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use idempotent_fn::{client::Retry, http::IdempotencyKey};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};

use crate::support::{Server, counted, number, serve, serve_counted, shared};

fn client(retry: Retry) -> ClientWithMiddleware {
    let retry = retry.with_first_pause(Duration::from_millis(1));
    ClientBuilder::new(reqwest::Client::new())
        .with(retry)
        .build()
}

fn url(server: &Server) -> String {
    format!("http://{}/pay", server.address)
}

/// What the server has seen of each attempt: its key, and its body.
type Seen = Arc<Mutex<Vec<(Option<String>, Vec<u8>)>>>;

/// A server whose handler answers each attempt as it is told to.
async fn answering<F>(answer: F) -> (Server, Seen)
where
    F: Fn(u64) -> Response + Clone + Send + Sync + 'static,
{
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let (app, _) = counted(move |attempt, request: Request| {
        let (noted, answer) = (Arc::clone(&noted), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let key = parts.headers.get("idempotency-key");
            let key = key.map(|key| key.to_str().unwrap().to_owned());
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            noted.lock().unwrap().push((key, body.to_vec()));
            answer(attempt)
        }
    });
    (serve(app).await, seen)
}

#[tokio::test]
async fn a_key_is_made_once() {
    let (server, seen) = answering(|attempt| match attempt {
        1..=3 => StatusCode::BAD_GATEWAY.into_response(),
        _ => StatusCode::CREATED.into_response(),
    })
    .await;
    let client = client(Retry::new());
    for body in ["one", "two"] {
        let reply = client.post(url(&server)).body(body).send().await.unwrap();
        assert_eq!(reply.status(), 201);
    }
    let seen = seen.lock().unwrap();
    let keys: Vec<_> = seen.iter().map(|(key, _)| key.clone().unwrap()).collect();
    let bodies: Vec<_> = seen.iter().map(|(_, body)| &body[..]).collect();
    assert_eq!(bodies, [&b"one"[..], b"one", b"one", b"one", b"two"]);
    assert!(keys[..4].iter().all(|key| *key == keys[0]));
    assert_ne!(keys[3], keys[4]);
    let key = IdempotencyKey::parse(keys[0].as_bytes()).unwrap();
    assert!(uuid::Uuid::parse_str(key.shared()).is_ok());
}

#[tokio::test]
async fn every_post_has_one() {
    let (server, seen) = answering(|_| StatusCode::OK.into_response()).await;
    let (client, url) = (client(Retry::new()), url(&server));
    let mine = IdempotencyKey::new("order-42").unwrap();
    for request in [
        client.post(&url),
        client.patch(&url),
        client.post(&url).with_extension(mine.clone()),
        client.post(&url).header("Idempotency-Key", "mine"),
        client.put(&url),
        client.get(&url),
        client.delete(&url).with_extension(mine.clone()),
    ] {
        request.send().await.unwrap();
    }
    let seen = seen.lock().unwrap();
    let keys: Vec<_> = seen.iter().map(|(key, _)| key.as_deref()).collect();
    assert!(keys[0].is_some() && keys[1].is_some() && keys[0] != keys[1]);
    let rest = [
        Some("\"order-42\""),
        Some("mine"),
        None,
        None,
        Some("\"order-42\""),
    ];
    assert_eq!(keys[2..], rest);
}

fn problem(status: u16, is_retryable: bool, after: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/problem+json".parse().unwrap());
    if let Some(after) = after {
        headers.insert("retry-after", after.parse().unwrap());
    }
    let body = format!("{{\"retryable\":{is_retryable}}}");
    (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
}

/// Each first answer, and whether there is a second attempt.
#[tokio::test]
async fn what_is_retried() {
    let plain = |status: u16| move || StatusCode::from_u16(status).unwrap().into_response();
    let told = |status, is_retryable, after| move || problem(status, is_retryable, after);
    let answers: Vec<(Box<dyn Fn() -> Response + Send + Sync>, bool)> = vec![
        (Box::new(plain(200)), false),
        (Box::new(plain(400)), false),
        (Box::new(plain(404)), false),
        (Box::new(plain(409)), false),
        (Box::new(plain(422)), false),
        (Box::new(plain(501)), false),
        (Box::new(plain(408)), true),
        (Box::new(plain(425)), true),
        (Box::new(plain(429)), true),
        (Box::new(plain(500)), true),
        (Box::new(plain(502)), true),
        (Box::new(plain(503)), true),
        (Box::new(plain(504)), true),
        (Box::new(told(409, true, Some("0"))), true),
        (Box::new(told(409, false, Some("0"))), false),
        (Box::new(told(503, true, Some("0"))), true),
        (Box::new(told(500, false, None)), false),
        (Box::new(told(503, true, Some("3600"))), false),
        (
            Box::new(told(503, true, Some("Thu, 01 Jan 1970 00:00:00 GMT"))),
            true,
        ),
    ];
    for (index, (first, is_retried)) in answers.into_iter().enumerate() {
        let first: Arc<dyn Fn() -> Response + Send + Sync> = first.into();
        let status = first().status();
        let (server, seen) = answering(move |attempt| match attempt {
            1 => first(),
            _ => StatusCode::CREATED.into_response(),
        })
        .await;
        let reply = client(Retry::new())
            .post(url(&server))
            .send()
            .await
            .unwrap();
        let expected = if is_retried {
            StatusCode::CREATED
        } else {
            status
        };
        assert_eq!(
            reply.status().as_u16(),
            expected.as_u16(),
            "{index}: {status}"
        );
        assert_eq!(
            seen.lock().unwrap().len(),
            if is_retried { 2 } else { 1 },
            "{index}: {status}"
        );
    }
}

/// What was read of a problem is there for the caller.
#[tokio::test]
async fn a_final_problem_is_returned_whole() {
    let (server, _) = answering(|_| problem(500, false, None)).await;
    let url = url(&server);
    let reply = client(Retry::new()).post(&url).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.url().as_str()),
        (500, &*url)
    );
    assert_eq!(reply.headers()["content-type"], "application/problem+json");
    assert_eq!(reply.text().await.unwrap(), r#"{"retryable":false}"#);
}

/// A pause that does not fit into the time that is left is not begun.
#[tokio::test]
async fn a_pause_is_as_long_as_the_server_asks() {
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    for (after, is_retried) in [
        ("0".to_owned(), true),
        ("3600".to_owned(), false),
        (httpdate::fmt_http_date(SystemTime::UNIX_EPOCH), true),
        (httpdate::fmt_http_date(in_an_hour), false),
        ("soon".to_owned(), true), // that is no time: the client's own pause
    ] {
        let asked = after.clone();
        let (server, seen) = answering(move |attempt| match attempt {
            1 => problem(429, true, Some(&asked)),
            _ => StatusCode::CREATED.into_response(),
        })
        .await;
        let reply = client(Retry::new())
            .post(url(&server))
            .send()
            .await
            .unwrap();
        let expected = if is_retried { (201, 2) } else { (429, 1) };
        let attempts = seen.lock().unwrap().len();
        assert_eq!((reply.status().as_u16(), attempts), expected, "{after}");
    }
}

#[tokio::test]
async fn attempts_and_time_are_bounded() {
    let (server, seen) = answering(|_| StatusCode::BAD_GATEWAY.into_response()).await;
    let reply = client(Retry::new().with_attempts(3))
        .post(url(&server))
        .send()
        .await;
    assert_eq!(
        (reply.unwrap().status().as_u16(), seen.lock().unwrap().len()),
        (502, 3)
    );
    let none = client(Retry::new().with_total(Duration::ZERO));
    assert_eq!(none.post(url(&server)).send().await.unwrap().status(), 502);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

/// A POST whose body cannot be sent twice, and methods that are idempotent by themselves.
#[tokio::test]
async fn what_cannot_be_sent_twice_is_sent_once() {
    let (server, seen) = answering(|_| StatusCode::BAD_GATEWAY.into_response()).await;
    let client = client(Retry::new().with_attempts(2));
    let stream = || futures_util::stream::iter([Ok::<_, std::io::Error>("streamed")]);
    let body = reqwest::Body::wrap_stream(stream());
    let reply = client.post(url(&server)).body(body).send().await.unwrap();
    assert_eq!(reply.status(), 502);
    assert_eq!(
        seen.lock().unwrap().drain(..).next().unwrap().1,
        b"streamed"
    );
    assert!(seen.lock().unwrap().is_empty());
    client.get(url(&server)).send().await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_connection_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        // The first is cut off without an answer.
        drop(listener.accept().await.unwrap());
        let (app, _) = counted(number);
        axum::serve(listener, app).await.unwrap();
    });
    let reply = client(Retry::new())
        .post(format!("http://{address}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(reply.text().await.unwrap(), "1");
    server.abort();
}

/// Client and layer together: the answer is lost on its way, and the retry gets it.
#[tokio::test]
async fn a_lost_answer_is_found_by_the_retry() {
    let (server, runs) = serve_counted(shared(), number).await;
    let target = server.address;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let cut = tokio::spawn(async move {
        for is_first in [true, false] {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
            if is_first {
                let mut request = [0; 4096];
                let bytes = tokio::io::AsyncReadExt::read(&mut client, &mut request)
                    .await
                    .unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut server, &request[..bytes])
                    .await
                    .unwrap();
                // It has answered, and nobody hears of it.
                tokio::io::AsyncReadExt::read(&mut server, &mut request)
                    .await
                    .unwrap();
            } else {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }
    });
    let reply = client(Retry::new())
        .post(format!("http://{proxy}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(reply.headers()["idempotent-replayed"], "true");
    assert_eq!(
        (reply.text().await.unwrap().as_str(), runs.count()),
        ("1", 1)
    );
    cut.abort();
}

/// A duplicate that is told to come again does, until it has the result.
#[tokio::test]
async fn a_request_in_flight_is_waited_for() {
    let layer = shared().answer_within(Duration::from_millis(1));
    let (server, runs) = serve_counted(layer, |run, _: Request| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Body::from(run.to_string())
    })
    .await;
    let reply = client(Retry::new())
        .post(url(&server))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (reply.text().await.unwrap().as_str(), runs.count()),
        ("1", 1)
    );
}
