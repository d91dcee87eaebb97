//! Connections as clients really use them: pipelined, announced, half closed, reset, in pieces.

use axum::{body::to_bytes, extract::Request};
use idempotent_fn::SharedStore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    common::{faulty::Faulty, settled, until},
    leaving::watched,
    support::{Reply, Server, behind_gate, by_user, memory, number, serve, serve_counted, shared},
};

/// A connection that is kept, and what has come in over it beyond the replies that were read.
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let read = Vec::new();
        Self { stream, read }
    }

    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// The next reply, whose length is announced.
    async fn reply(&mut self) -> Reply {
        loop {
            if let Some(head) = self.read.windows(4).position(|it| it == b"\r\n\r\n") {
                let reply = Reply::parse(&self.read[..head + 4]);
                let length = reply.text("content-length").unwrap_or("0");
                let end = head + 4 + length.parse::<usize>().unwrap();
                if self.read.len() >= end {
                    let rest = self.read.split_off(end);
                    return Reply::parse(&std::mem::replace(&mut self.read, rest));
                }
            }
            let count = self.stream.read_buf(&mut self.read).await.unwrap();
            assert!(count > 0, "the connection ended within a reply");
        }
    }
}

/// A request on a connection that stays.
fn kept(key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Requests that are sent before the first one is answered are answered in their order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (server, runs) = serve_counted(shared(), number).await;
    let mut connection = Connection::to(&server).await;
    let all = [("a", "1"), ("a", "1"), ("b", "1"), ("a", "2"), ("b", "1")];
    let all = all.map(|(key, body)| kept(key, body)).concat();
    connection.send(all).await;
    for (status, is_replay, body) in [
        (200, false, Some("1")),
        (200, true, Some("1")),
        (200, false, Some("2")),
        (422, false, None),
        (200, true, Some("2")),
    ] {
        let reply = connection.reply().await;
        assert_eq!((reply.status, reply.is_replay()), (status, is_replay));
        assert!(body.is_none_or(|body| reply.body() == body));
    }
    assert_eq!(runs.count(), 2);
}

const ANNOUNCED: &str = "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";

/// A client that asks before it sends its body is told to go on, in the first request as in a
/// retry: the body counts.
#[tokio::test]
async fn an_announced_body_is_asked_for() {
    let (server, runs) = serve_counted(shared(), number).await;
    let mut connection = Connection::to(&server).await;
    for is_replay in [false, true] {
        let head = "POST / HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: k\r\n";
        connection.send(format!("{head}{ANNOUNCED}")).await;
        assert_eq!(connection.reply().await.status, 100);
        connection.send("body").await;
        let reply = connection.reply().await;
        assert_eq!((reply.status, reply.is_replay()), (200, is_replay));
    }
    assert_eq!(runs.count(), 1);
}

/// What is refused by its head alone is refused before its body is sent.
#[tokio::test]
async fn a_refused_request_is_not_asked_for_its_body() {
    let store = Faulty::new();
    let layer = by_user().store(SharedStore::new(store.clone()));
    let layer = layer.require_key().body_limit(3);
    let (server, runs) = serve_counted(layer, number).await;
    for (fields, status) in [
        ("X-User: ann\r\n", 400),
        ("X-User: ann\r\nIdempotency-Key: a b\r\n", 400),
        ("Idempotency-Key: k\r\n", 403),
        ("X-User: ann\r\nIdempotency-Key: k\r\n", 413),
    ] {
        let mut connection = Connection::to(&server).await;
        let head = format!("POST / HTTP/1.1\r\nHost: shop\r\n{fields}{ANNOUNCED}");
        connection.send(head).await;
        assert_eq!(connection.reply().await.status, status, "{fields}");
    }
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
}

/// Some clients send head and body apart, slow ones byte by byte.
#[tokio::test]
async fn a_request_in_pieces_is_one_request() {
    let (server, runs) = serve_counted(shared(), number).await;
    let request = kept("k", "{\"cents\": 500}");
    for size in [request.len(), request.len() - 14, 1] {
        let mut connection = Connection::to(&server).await;
        for piece in request.as_bytes().chunks(size) {
            connection.send(piece).await;
            connection.stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(connection.reply().await.body(), "1");
    }
    let chunked = request.replace("Content-Length: 14", "Transfer-Encoding: chunked");
    let chunked = chunked.replace(
        "{\"cents\": 500}",
        "5\r\n{\"cen\r\n9\r\nts\": 500}\r\n0\r\n\r\n",
    );
    let mut connection = Connection::to(&server).await;
    connection.send(chunked).await;
    assert!(connection.reply().await.is_replay());
    assert_eq!(runs.count(), 1);
}

/// A client that closes its side, or resets the connection, while the handler runs.
#[tokio::test]
async fn a_closed_or_reset_connection_loses_no_response() {
    for is_reset in [false, true] {
        let store = memory();
        let (app, runs, gate) = behind_gate();
        let (app, gone) = watched(app.layer(shared().store(&store)));
        let server = serve(app).await;
        let mut connection = Connection::to(&server).await;
        connection.send(kept("k", "{}")).await;
        until(|| runs.count() == 1).await;
        if is_reset {
            connection.stream.set_zero_linger().unwrap();
            drop(connection);
        } else {
            // The server takes the end of what it reads for the end of the client.
            connection.stream.shutdown().await.unwrap();
        }
        until(|| gone.0.count() == 1).await;
        gate.add_permits(1);
        settled(&store).await;
        let mut connection = Connection::to(&server).await;
        connection.send(kept("k", "{}")).await;
        let reply = connection.reply().await;
        assert_eq!((reply.status, reply.is_replay()), (201, true));
        assert_eq!(runs.count(), 1);
    }
}

/// A client that breaks off within a chunk has claimed nothing, and its connection is no other's.
#[tokio::test]
async fn a_broken_chunk_claims_nothing() {
    let store = Faulty::new();
    let layer = shared().store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    let head = "POST / HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: k\r\n";
    for body in ["zz\r\n", "5\r\nabc", "5\r\nabcdefgh\r\n0\r\n\r\n"] {
        let mut connection = Connection::to(&server).await;
        let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}");
        connection.send(request).await;
        connection.stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = connection.stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || Reply::parse(&answer).status == 400);
    }
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
}

/// 10 MiB, each byte of which counts.
#[tokio::test]
async fn a_large_upload_counts_to_its_last_byte() {
    let layer = shared().body_limit(10 * 1024 * 1024);
    let (server, runs) = serve_counted(layer, |_, request: Request| async {
        let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        body.len().to_string()
    })
    .await;
    let mut body = vec![0xa5; 10 * 1024 * 1024];
    for is_replay in [false, true] {
        let reply = server.post("/").key("k").body(&body).send().await;
        assert_eq!((reply.body(), reply.is_replay()), ("10485760", is_replay));
    }
    *body.last_mut().unwrap() = 0;
    let reply = server.post("/").key("k").body(&body).send().await;
    assert_eq!((reply.status, runs.count()), (422, 1));
}
