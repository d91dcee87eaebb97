//! A server on loopback, and a client that shows each byte it gets.

#![allow(
    unreachable_pub,
    reason = "its modules are not all of one crate's interface"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, body::Body, extract, http::StatusCode, response::IntoResponse};
use futures_util::stream;
use http::request::Parts;
use idempotent_fn::{SharedStore, http::IdempotencyLayer, install, store::MemoryStore};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

pub fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

/// A layer whose clients say who they are: what stands outside of it believes them.
pub fn by_user() -> IdempotencyLayer {
    IdempotencyLayer::by_principal("shop", |parts: &Parts| {
        let user = parts.headers.get("x-user")?;
        Some(user.to_str().unwrap().to_owned())
    })
}

/// How often a handler has begun.
#[derive(Clone, Default)]
pub struct Runs(Arc<AtomicU64>);

impl Runs {
    /// Which run this is, from 1.
    pub fn begin(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A handler for all paths and methods, which is told which run it is.
pub fn counted<F, Fut>(handler: F) -> (Router, Runs)
where
    F: Fn(u64, extract::Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output: IntoResponse> + Send,
{
    let runs = Runs::default();
    let begun = runs.clone();
    let handler = move |request| handler(begun.begin(), request);
    (Router::new().fallback(handler), runs)
}

/// The same, served behind a layer.
pub async fn serve_counted<F, Fut>(layer: IdempotencyLayer, handler: F) -> (Server, Runs)
where
    F: Fn(u64, extract::Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output: IntoResponse> + Send,
{
    let (app, runs) = counted(handler);
    (serve(app.layer(layer)).await, runs)
}

/// A layer whose clients share their keys, with a store of its own.
pub fn shared() -> IdempotencyLayer {
    IdempotencyLayer::shared("shop").store(memory())
}

/// A handler whose response says which run it is of.
pub async fn number(run: u64, _: extract::Request) -> String {
    run.to_string()
}

/// A handler that waits for the gate.
pub fn behind_gate() -> (Router, Runs, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |run: u64, _: extract::Request| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                (StatusCode::CREATED, run.to_string())
            }
        }
    };
    let (app, runs) = counted(handler);
    (app, runs, gate)
}

/// The same, served behind a layer.
pub async fn gated(layer: IdempotencyLayer) -> (Server, Runs, Arc<Semaphore>) {
    let (app, runs, gate) = behind_gate();
    (serve(app.layer(layer)).await, runs, gate)
}

/// A body of unknown length.
pub fn streamed<const N: usize>(pieces: [&'static str; N]) -> Body {
    Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

pub struct Server {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn serve(app: Router) -> Server {
    // Handlers that name no store have the default one, which features and the environment choose.
    static DEFAULT: Once = Once::new();
    DEFAULT.call_once(|| install(memory()).expect("no default store yet"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Server { address, task }
}

impl Server {
    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// As a client of 1996 sends it.
    pub fn old(&self, path: &str) -> Request {
        Request {
            address: self.address,
            bytes: format!("POST {path} HTTP/1.0\r\n").into_bytes(),
            body: None,
        }
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n");
        Request {
            address: self.address,
            bytes: head.into_bytes(),
            body: None,
        }
    }
}

/// One request, on a connection of its own.
#[derive(Clone)]
pub struct Request {
    address: SocketAddr,
    bytes: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(b": ");
        self.bytes.extend(value.as_ref());
        self.bytes.extend(b"\r\n");
        self
    }

    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn user(self, user: &str) -> Self {
        self.header("X-User", user)
    }

    pub fn json(self, body: &str) -> Self {
        self.header("Content-Type", "application/json").body(body)
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        self.body = Some(body.as_ref().to_vec());
        self.header("Content-Length", length)
    }

    /// Bytes that are sent as they are, whatever the headers say.
    pub fn raw_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// All that is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.body.is_none() && !self.bytes.windows(15).any(|it| it == b"Content-Length:") {
            bytes.extend(b"Content-Length: 0\r\n");
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// The connection, with the whole request on its way.
    pub async fn start(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&self.bytes()).await.unwrap();
        stream
    }

    pub async fn send(self) -> Reply {
        let mut bytes = Vec::new();
        let mut stream = self.start().await;
        // A server that refuses a request unread resets the connection behind its answer.
        let _ = stream.read_to_end(&mut bytes).await;
        Reply::parse(&bytes)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let mut lines = bytes[..end].split(|&byte| byte == b'\n');
        let first = String::from_utf8_lossy(lines.next().unwrap()).into_owned();
        let headers = lines.map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').unwrap();
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            (name, line[colon + 1..].trim_ascii().to_vec())
        });
        let mut reply = Self {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.collect(),
            body: bytes[end + 4..].to_vec(),
        };
        if reply.text("transfer-encoding") == Some("chunked") {
            reply.body = dechunked(&reply.body);
        }
        reply
    }

    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|header| header.0 == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// The header's value, which is there once at most.
    pub fn text(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().map(|value| str::from_utf8(value).unwrap())
    }

    pub fn body(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub fn is_replay(&self) -> bool {
        match self.text("idempotent-replayed") {
            Some(marker) => {
                assert_eq!(marker, "true");
                true
            }
            None => false,
        }
    }

    /// The name of the problem that this is. What all problems have in common is checked.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.text("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!(self.text("content-language"), Some("en"));
        assert!(!self.is_replay());
        let json = self.json();
        assert_eq!(json["status"], self.status);
        for text in ["title", "detail"] {
            assert!(json[text].as_str().unwrap().len() > 20, "{json}");
        }
        let is_retryable = json["retryable"].as_bool().unwrap();
        if let Some(seconds) = self.text("retry-after") {
            assert!(is_retryable);
            assert!((1..=2).contains(&seconds.parse::<u32>().unwrap()));
        } else {
            assert!(!is_retryable || self.status == 400);
        }
        let address = json["type"].as_str().unwrap();
        let link = format!("<{address}>; rel=\"describedby\"");
        assert_eq!(self.text("link"), Some(&*link));
        address.rsplit_once('#').unwrap().1.to_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n");
        let Some(line) = line else {
            return body; // it broke off
        };
        let size = str::from_utf8(&bytes[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = bytes
            .get(line + 2..line + 2 + size)
            .filter(|it| !it.is_empty())
        else {
            return body;
        };
        body.extend(chunk);
        bytes = &bytes[line + 2 + size + 2..];
    }
}
