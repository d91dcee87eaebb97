//! The syntax of keys, and whose they are.

use std::collections::HashSet;

use idempotent_fn::{
    SharedStore,
    http::{IDEMPOTENCY_KEY, IdempotencyKey, IdempotencyLayer, KeySyntaxError},
};

use crate::{
    common::faulty::Faulty,
    support::{number, serve, serve_counted, shared},
};

fn parse(value: impl AsRef<[u8]>) -> Result<String, KeySyntaxError> {
    IdempotencyKey::parse(value.as_ref()).map(|key| key.shared().to_owned())
}

#[test]
fn quoted_and_bare_are_one_key() {
    for value in [
        "f",
        "\"f\"",
        " f\t",
        " \"f\" ",
        "\"f\";v=1",
        "\"f\";a;b=\",\";c=\"\\\"\"",
    ] {
        assert_eq!(parse(value).as_deref(), Ok("f"), "{value}");
    }
    assert_eq!(parse(r#""a \"b\" \\""#).as_deref(), Ok(r#"a "b" \"#));
}

#[test]
fn any_text_within_the_length_is_a_key() {
    let longest = "x".repeat(255);
    for text in [
        "order-42",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "8e03978e-40d5-43e8-bc93-6894a57f9324",
        "a|b",
        "%7C",
        "{x}",
        "~",
        "user",
        "aGVsbG8=",
        "order_42:1",
        &longest,
    ] {
        assert_eq!(parse(text).as_deref(), Ok(text));
        assert_eq!(parse(format!("\"{text}\"")).as_deref(), Ok(text));
    }
}

#[test]
fn what_is_no_key_says_why() {
    let long = "x".repeat(256);
    for (value, why) in [
        ("".as_bytes(), KeySyntaxError::Empty),
        (b"\"\"", KeySyntaxError::Empty),
        (b"  ", KeySyntaxError::Empty),
        (long.as_bytes(), KeySyntaxError::TooLong),
        (b"a, b", KeySyntaxError::Character),
        (b"a b", KeySyntaxError::Character),
        (b"a;v=1", KeySyntaxError::Character),
        (b"a\"", KeySyntaxError::Character),
        ("é".as_bytes(), KeySyntaxError::Character),
        ("\"é\"".as_bytes(), KeySyntaxError::Character),
        (b"\xff", KeySyntaxError::Character),
        (b"\"a\x07\"", KeySyntaxError::Character),
        (b"\"open", KeySyntaxError::Quoting),
        (b"\"a\\", KeySyntaxError::Quoting),
        (b"\"a\\n\"", KeySyntaxError::Quoting),
        (b"\"a\" b", KeySyntaxError::Quoting),
        (b"\"a\", \"b\"", KeySyntaxError::Quoting),
        (b"\"a\";v=1, \"b\"", KeySyntaxError::Quoting),
        (b"\"a\";v=\"open", KeySyntaxError::Quoting),
    ] {
        assert_eq!(parse(value), Err(why), "{}", String::from_utf8_lossy(value));
    }
    assert_eq!(parse(format!("\"{long}\"")), Err(KeySyntaxError::TooLong));
}

#[test]
fn two_headers_are_refused() {
    let mut headers = axum::http::HeaderMap::new();
    let key = |headers: &_| IdempotencyKey::from_headers(headers, &IDEMPOTENCY_KEY);
    assert_eq!(key(&headers), Ok(None));
    headers.append(IDEMPOTENCY_KEY, "f".parse().unwrap());
    assert_eq!(key(&headers).unwrap().unwrap().shared(), "f");
    headers.append(IDEMPOTENCY_KEY, "f".parse().unwrap());
    assert_eq!(key(&headers), Err(KeySyntaxError::Repeated));
}

#[test]
fn what_is_written_is_read() {
    for byte in b' '..=b'~' {
        let text = format!("a{}b", char::from(byte));
        let key = IdempotencyKey::new(&text).unwrap();
        let value = key.to_header_value();
        assert!(value.is_sensitive());
        assert_eq!(IdempotencyKey::parse(value.as_bytes()), Ok(key));
    }
    for text in ["", "a\n", "é", &"x".repeat(256)] {
        assert!(IdempotencyKey::new(text).is_err());
    }
}

#[test]
fn random_keys_are_uuids_of_version_4_and_differ() {
    let keys: HashSet<_> = (0..1000)
        .map(|_| IdempotencyKey::random().shared().to_owned())
        .collect();
    assert_eq!(keys.len(), 1000);
    for key in keys {
        let uuid = uuid::Uuid::parse_str(&key).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.to_string()), (4, key));
    }
}

#[test]
fn no_two_pairs_of_principal_and_key_meet() {
    let texts = [
        "a", "b", "/", "%", "a/", "/a", "a/b", "%2F", "%252F", "a%2Fb",
    ];
    let mut seen = HashSet::new();
    for principal in texts {
        for key in texts {
            let key = IdempotencyKey::new(key).unwrap();
            assert!(seen.insert(key.of(principal).to_string()));
        }
    }
    let key = IdempotencyKey::new("a/b").unwrap();
    assert_eq!(key.of("x/%").to_string(), "x%2F%25/a/b");
    assert_eq!(key.of(42).to_string(), "42/a/b");
    assert_eq!(key.of("").to_string(), "");
}

#[test]
fn debug_shows_no_key() {
    let key = IdempotencyKey::new("very-secret").unwrap();
    let shown = format!(
        "{key:?} {:?} {:?}",
        key.of("someone"),
        key.to_header_value()
    );
    assert!(!shown.contains("secret") && !shown.contains("someone"));
    assert!(shown.starts_with("IdempotencyKey("), "{shown}");
}

#[tokio::test]
async fn spellings_of_one_key_are_one_run() {
    let (server, runs) = serve_counted(shared(), number).await;
    for spelling in ["f", "\"f\"", "\"f\";v=1", "  f "] {
        assert_eq!(server.post("/").key(spelling).send().await.body(), "1");
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn odd_keys_have_records_of_their_own() {
    let (server, runs) = serve_counted(shared(), number).await;
    let longest = "x".repeat(255);
    let keys = [
        "user", "a|b", "%7C", "{x}", "~", "order-42", &longest, "User", "*",
    ];
    for (run, key) in (1_u64..).zip(keys) {
        for _ in 0..2 {
            assert_eq!(
                server.post("/").key(key).send().await.body(),
                run.to_string()
            );
        }
    }
    assert_eq!(runs.count(), keys.len() as u64);
}

/// Neither the principal is asked for, nor the body read, nor the store asked.
#[tokio::test]
async fn malformed_touches_nothing() {
    let store = Faulty::new();
    let layer = IdempotencyLayer::by_principal("shop", |_| -> Option<u8> {
        panic!("a malformed key belongs to nobody")
    });
    let layer = layer.store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    let long = "x".repeat(256);
    for key in [
        b"".as_slice(),
        "é".as_bytes(),
        b"\"open",
        b"a, b",
        b"a b",
        long.as_bytes(),
    ] {
        // The body never comes.
        let request = server.post("/").key(key).header("Content-Length", "9");
        let reply = request.send().await;
        assert_eq!((reply.status, &*reply.problem()), (400, "malformed-key"));
        assert!(!String::from_utf8_lossy(&reply.body).contains("xxx"));
    }
    let twice = server.post("/").key("a").key("a").send().await;
    assert_eq!((twice.status, &*twice.problem()), (400, "malformed-key"));
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
}

#[tokio::test]
async fn a_rule_of_its_own() {
    let layer = shared().accept_key(|key| key.len() >= 16);
    let (server, runs) = serve_counted(layer, number).await;
    let reply = server.post("/").key("short").send().await;
    assert_eq!((reply.status, &*reply.problem()), (400, "malformed-key"));
    let reply = server.post("/").key("0123456789abcdef").send().await;
    assert_eq!((reply.body(), runs.count()), ("1", 1));
}

#[tokio::test]
async fn a_header_of_another_name() {
    let name = http::HeaderName::from_static("x-request-key");
    let layer = shared().header(name);
    // An extractor inside finds what the layer has read.
    let app = axum::Router::new().route(
        "/",
        axum::routing::post(async |key: IdempotencyKey| key.shared().len().to_string()),
    );
    let server = serve(app.layer(layer)).await;
    let reply = server.post("/").header("X-Request-Key", "abc").send().await;
    assert_eq!((reply.status, reply.body()), (200, "3"));
    let reply = server.post("/").key("abc").send().await;
    assert_eq!(
        (reply.status, reply.body()),
        (200, "3"),
        "the extractor's own header"
    );
}
