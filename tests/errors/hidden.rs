//! No public type that may hold a key, a result, a payload or a password shows it when it is
//! printed.

use std::{error::Error as _, fmt::Debug, sync::Mutex, time::Duration};

use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, Store, StoreError, StoreErrorKind,
    codec::CodecError,
    current,
    fingerprint::Fingerprint,
    key::{Key, optional_part},
    observe, operation,
    record::{Nonce, Record, RecordedBytes, State},
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, KeyNotifier, MemoryStore, Page, Settled,
        cas::{CasStore, CasTable, Loaded, Put, Row, Scanned, Swapped, Time},
        protocol::{self, Current},
    },
};

const SECRET: &str = "customer-4711@example.com";

/// What is printed of `value` shows the secret neither as text nor as bytes.
fn hides(value: &impl Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        let packed: String = text.split_whitespace().collect();
        for shown in ["4711", "52,55,49,49", "34373131"] {
            assert!(!packed.contains(shown), "it shows what it holds: {text}");
        }
        assert!(text.len() > 3, "it shows nothing at all");
    }
}

fn key() -> Key {
    Key::new("errors.hidden", &[&SECRET]).unwrap()
}

fn charge(store: &SharedStore) -> Operation<String, Error> {
    operation::<Result<String, Error>, _>("errors.hidden", &[&SECRET]).store(store)
}

/// A done record whose result is the secret.
fn record() -> Record {
    let mut record = ClaimRequest::new(Nonce::from_bytes([7; 16])).record();
    record.state = State::Done;
    record.outcome = Some(RecordedBytes::Ok(SECRET.as_bytes().into()));
    record.token = 1;
    record
}

#[tokio::test]
async fn what_users_hold() {
    let store = SharedStore::new(MemoryStore::new());
    let body = async {
        hides(&current());
        Ok(SECRET.to_owned())
    };
    let call = charge(&store).fingerprint(SECRET);
    hides(&call);
    let call = call.run(body);
    hides(&call);
    let (result, observation) = observe(call).await;
    assert_eq!(result.unwrap(), SECRET);
    hides(&observation);
    hides(&store);
    hides(store.counters());
    hides(&charge(&store).inspect().await.unwrap());
    let page = store.list(&Filter::new(), None).await.unwrap();
    assert_eq!(page.records.len(), 1);
    hides(&page);
    hides(&key());
    hides(&key().digest());
    hides(&optional_part(&Some(SECRET)));
    let wrong = charge(&store).fingerprint("another payload");
    hides(&wrong.run(async { Ok(String::new()) }).await.unwrap_err());
}

#[tokio::test]
async fn what_stores_hold() {
    let record = record();
    let outcome = record.outcome.clone().unwrap();
    let failed = RecordedBytes::Err(SECRET.as_bytes().into());
    for outcome in [&outcome, &failed] {
        hides(outcome);
        hides(&outcome.as_ref());
    }
    hides(&record);
    hides(&record.as_ref());
    hides(&Found::new(key(), Ok((record.clone(), Duration::ZERO))));
    let current = Current {
        record: &record,
        age: Duration::ZERO,
    };
    hides(&current);
    let write = protocol::Write::new(record.clone(), 1);
    hides(&write);
    let request = ClaimRequest::new(Nonce::from_bytes([8; 16]));
    let step = protocol::claim(Some(current), &request, 1);
    assert!(matches!(step.reply, ClaimReply::Held { .. }));
    hides(&step);
    let stale = protocol::renew(Some(current), &request.record(), 1);
    assert!(matches!(stale.reply, Settled::Stale { .. }));
    hides(&stale);
    let memory = MemoryStore::new();
    let ClaimReply::Granted { record: owned, .. } = memory.claim(&key(), &request).await.unwrap()
    else {
        panic!("nobody else runs");
    };
    let mut done = owned;
    done.state = State::Done;
    done.outcome = Some(outcome);
    memory.finish(&key(), &done).await.unwrap();
    hides(&memory);
    hides(&memory.read(&key()).await.unwrap());
    let notifier = KeyNotifier::default();
    hides(&notifier.subscribe(&key()));
    hides(&notifier);
    hides(&Cursor::new(SECRET));
    hides(&Page::new(vec![key()], Some(Cursor::new(SECRET))));
}

/// A table whose own `Debug` shows a password, and which notes what is printed of what it is given.
#[derive(Debug)]
struct Table {
    _password: &'static str,
    put: Mutex<Option<Put>>,
}

impl CasTable for Table {
    type Version = u8;

    async fn load(&self, _: &Key) -> Result<Loaded<u8>, StoreError> {
        Ok(Loaded::new(None, Time::of_database(1)))
    }

    async fn swap(&self, _: &Key, _: Option<&u8>, put: &Put) -> Result<Swapped, StoreError> {
        *self.put.lock().unwrap() = Some(put.clone());
        Ok(Swapped::Stored)
    }

    async fn scan(&self, _: &str, _: Option<&Cursor>, _: usize) -> Result<Scanned, StoreError> {
        let rows = vec![(SECRET.to_owned(), SECRET.into())];
        let time = Time::of_database(1);
        Ok(Scanned::new(rows, Some(Cursor::new(SECRET)), time))
    }
}

#[tokio::test]
async fn what_a_table_of_rows_holds() {
    let store = CasStore::new(Table {
        _password: SECRET,
        put: Mutex::default(),
    });
    hides(&store);
    store.finish(&key(), &record()).await.unwrap();
    let put = store.table().put.lock().unwrap().take().expect("a write");
    assert!(put.value.windows(4).any(|bytes| bytes == b"4711"));
    hides(&put);
    hides(&store.table().scan("", None, 1).await.unwrap());
    let row = Row::new(put.value, 1_u8);
    hides(&row);
    hides(&Loaded::new(Some(row), Time::of_database(1)));
    hides(&SharedStore::new(store));
}

/// A payload whose `Serialize` quotes it.
struct Quotes;
impl serde::Serialize for Quotes {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(format!("`{SECRET}` is no mail")))
    }
}

/// The source may be anything; it is shown to those who ask for it.
#[tokio::test]
async fn what_errors_hold() {
    let source = std::io::Error::other(SECRET);
    let error = StoreError::new(StoreErrorKind::NotSent, "it broke").with_source(source);
    assert!(error.source().is_some());
    hides(&error);
    hides(&error.to_string());
    hides(&CodecError::new(SECRET));

    let refused = Fingerprint::of(&Quotes).unwrap_err();
    hides(&refused);
    hides(&refused.to_string());
    let store = SharedStore::new(MemoryStore::new());
    let call = charge(&store).fingerprint(&Quotes).on_crash(OnCrash::Fail);
    let error = call.run(async { Ok(String::new()) }).await.unwrap_err();
    hides(&error);
    hides(&error.to_string());
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn what_connections_hold() {
    use idempotent_fn::store::{RedisCredentials, RedisOptions, RedisStore};

    let credentials = RedisCredentials::new("user-4711", SECRET);
    hides(&credentials);
    let options = RedisOptions::new().with_credentials(move || {
        let credentials = credentials.clone();
        async { Ok::<_, StoreError>(credentials) }
    });
    hides(&options);
    hides(&options.open("redis://cache").unwrap());
    let store = RedisStore::new("redis://user-4711:4711@cache/1").unwrap();
    hides(&store);
    hides(&store.describe());
    let error = RedisStore::new("redis://user:4711@cache:none").unwrap_err();
    hides(&error);
    hides(&error.to_string());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn what_requests_hold() {
    use idempotent_fn::http::{IdempotencyKey, IdempotencyLayer, Problem};

    let key = IdempotencyKey::new(SECRET).unwrap();
    hides(&key);
    hides(&key.of("ann"));
    hides(&key.to_header_value());
    let refused = IdempotencyKey::new(&format!("{SECRET}\u{7f}")).unwrap_err();
    hides(&refused);
    hides(&refused.to_string());
    let store = SharedStore::new(MemoryStore::new());
    let layer = IdempotencyLayer::shared("errors.hidden.layer").store(&store);
    hides(&layer);
    hides(&layer.operation("ann", &key));
    let first = charge(&store).fingerprint("one payload");
    first.run(async { Ok(String::new()) }).await.unwrap();
    let other = charge(&store).fingerprint("another payload");
    let error = other.run(async { Ok(String::new()) }).await.unwrap_err();
    hides(&Problem::from(&error));
}

/// The services, their futures and the bodies of their responses: first, replayed, and passed on as it
/// came.
#[cfg(feature = "axum")]
#[tokio::test]
async fn what_services_hold() {
    use axum::body::Body;
    use http::Request;
    use idempotent_fn::http::{Finish, IdempotencyLayer, MarkReplayed};
    use tower::{Layer, Service, service_fn};

    let answering = service_fn(async |request: Request<Body>| {
        let mut response = http::Response::new(Body::from(SECRET));
        if request.headers().contains_key("x-unrecorded") {
            response
                .extensions_mut()
                .insert(Finish::CompleteWithoutResponse);
        }
        Ok::<_, std::convert::Infallible>(response)
    });
    let store = SharedStore::new(MemoryStore::new());
    let layer = IdempotencyLayer::shared("errors.hidden.service").store(&store);
    let mut service = layer.layer(answering);
    hides(&service);
    hides(&MarkReplayed.layer(service.clone()));
    for (key, header) in [
        (Some(SECRET), "x-other"),
        (Some(SECRET), "x-other"),
        (Some("customer-4711"), "x-unrecorded"),
        (Some("4711 4711"), "x-other"),
        (None, "x-other"),
    ] {
        let request = Request::post(format!("/{SECRET}")).header(header, SECRET);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let answered = service.call(request.body(Body::from(SECRET)).unwrap());
        hides(&answered);
        hides(answered.await.unwrap().body());
    }
}

#[cfg(feature = "reqwest")]
#[test]
fn what_clients_hold() {
    let header = http::HeaderName::from_static("x-key");
    hides(&idempotent_fn::client::Retry::new().with_header(header));
}

/// A file of somebody else's: what it holds is none of a log's business.
#[cfg(feature = "sqlite-system")]
#[tokio::test]
async fn what_foreign_files_hold() {
    use idempotent_fn::store::SqliteOptions;

    let directory = tempfile::tempdir().unwrap();
    let no_database = directory.path().join("text.db");
    std::fs::write(&no_database, SECRET.repeat(100)).unwrap();
    let options = SqliteOptions::new();
    hides(&options);
    let store = options.open(&no_database).unwrap();
    hides(&store);
    let claim = ClaimRequest::new(Nonce::from_bytes([7; 16]));
    let error = store.claim(&key(), &claim).await.unwrap_err();
    hides(&error);
    hides(&error.to_string());
    let call = charge(&SharedStore::new(store)).run(async { Ok(String::new()) });
    let error = call.await.unwrap_err();
    hides(&error);
    hides(&error.to_string());
}

#[cfg(feature = "sqlite-system")]
#[tokio::test]
async fn what_files_hold() {
    use idempotent_fn::store::SqliteStore;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.db");
    let sqlite = SqliteStore::connect(path.to_str().unwrap()).await.unwrap();
    let store = SharedStore::new(sqlite.clone());
    let answer = charge(&store).run(async { Ok(SECRET.to_owned()) });
    assert_eq!(answer.await.unwrap(), SECRET);
    hides(&sqlite);
    hides(&store);
    hides(&sqlite.read(&key()).await.unwrap());
    hides(&store.list(&Filter::new(), None).await.unwrap());
}
