//! Helpers that the tests share.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use idempotent_runtime::{
    OnCrash, Store,
    key::Key,
    record::{HOLD, Nonce, Record, RecordedBytes, State},
    store::{ClaimReply, ClaimRequest, RedisStore, Settled, Subscription},
};
use idempotent_test_support::RedisServer;

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const PAST_LEASE: Duration = Duration::from_secs(31);
pub(crate) const TTL: Duration = Duration::from_secs(3600);

pub(crate) fn key(part: &str) -> Key {
    Key::new("payments.charge", &[&part]).expect("a valid key")
}

/// The key as Redis has it.
pub(crate) fn redis_key(key: &Key) -> String {
    format!("idempotent:{}", key.as_str())
}

/// The `number`th attempt's claim.
pub(crate) fn request(number: u8) -> ClaimRequest {
    let mut request = ClaimRequest::new(Nonce::from_bytes([number; 16]));
    request.lease = LEASE;
    request.ttl = TTL;
    request
}

pub(crate) fn failing(number: u8) -> ClaimRequest {
    let mut request = request(number);
    request.on_crash = OnCrash::Fail;
    request
}

pub(crate) fn done(owned: &Record, result: &[u8]) -> Record {
    let mut record = owned.clone();
    record.state = State::Done;
    record.codec = 7;
    record.outcome = Some(RecordedBytes::Ok(Arc::from(result)));
    record
}

pub(crate) fn in_state(owned: &Record, state: State) -> Record {
    let mut record = owned.clone();
    record.state = state;
    record
}

#[track_caller]
pub(crate) fn granted(reply: ClaimReply) -> Record {
    match reply {
        ClaimReply::Granted { record, .. } => record,
        other => panic!("not granted: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn held(reply: ClaimReply) -> (Record, Duration) {
    match reply {
        ClaimReply::Held { record, lease_left } => (record, lease_left),
        other => panic!("not held: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn stale(settled: Settled) -> Record {
    match settled {
        Settled::Stale { record, .. } => record,
        other => panic!("not stale: {other:?}"),
    }
}

/// Claims and completes, as the first call does.
pub(crate) async fn first_call(store: &RedisStore, key: &Key, number: u8, result: &[u8]) -> Record {
    let owned = granted(store.claim(key, &request(number)).await.expect("claim"));
    let target = done(&owned, result);
    assert_eq!(
        store.finish(key, &target).await.expect("finish"),
        Settled::Applied
    );
    target
}

/// Makes the record older: also its own end comes nearer.
pub(crate) fn elapse(server: &RedisServer, key: &Key, by: Duration) {
    let name = redis_key(key);
    let left = pttl(server, key);
    let by = i64::try_from(by.as_millis()).expect("short");
    let finished = value(server, key).and_then(|bytes| Record::decode(&bytes).ok());
    let finished = finished.filter(|record| matches!(record.state, State::Done | State::Failed));
    if let Some(mut record) = finished {
        record.expires = record.expires.saturating_sub(by.unsigned_abs());
        put(server, key, &record.encode());
    }
    server.cli(&["PEXPIRE", &name, &(left - by).to_string()]);
}

/// What Redis still grants the record, in milliseconds.
pub(crate) fn pttl(server: &RedisServer, key: &Key) -> i64 {
    let left = server.cli(&["PTTL", &redis_key(key)]);
    left.parse().expect("a number")
}

/// Milliseconds of HOLD.
pub(crate) fn hold() -> i64 {
    i64::try_from(HOLD.as_millis()).expect("short")
}

/// The value's bytes, or none.
pub(crate) fn value(server: &RedisServer, key: &Key) -> Option<Vec<u8>> {
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("the server is there");
    redis::cmd("GET")
        .arg(redis_key(key))
        .query(&mut connection)
        .expect("a string")
}

pub(crate) fn put(server: &RedisServer, key: &Key, bytes: &[u8]) {
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("the server is there");
    redis::cmd("SET")
        .arg(redis_key(key))
        .arg(bytes)
        .exec(&mut connection)
        .expect("a string");
}

pub(crate) fn record(server: &RedisServer, key: &Key) -> Option<Record> {
    value(server, key).map(|bytes| Record::decode(&bytes).expect("readable"))
}

/// The state of the record of `key("1")`.
pub(crate) fn record_state(server: &RedisServer) -> State {
    record(server, &key("1")).expect("there").state
}

pub(crate) fn store(server: &RedisServer) -> RedisStore {
    RedisStore::new(&server.url()).expect("a valid URL")
}

/// Polls `future` so many times at most, each time once it has asked to be; whether it is still
/// pending then.
pub(crate) async fn polled<F: Future>(mut future: Pin<&mut F>, polls: usize) -> bool {
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(true);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if left == 0 => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Answers that come, and come at all. It is waited for, not measured.
pub(crate) async fn answered<F: Future>(what: &str, future: F) -> F::Output {
    let answer = tokio::time::timeout(Duration::from_secs(20), future).await;
    answer.unwrap_or_else(|_| panic!("{what} is answered"))
}

/// Waits until a change is told. It is waited for, not measured.
pub(crate) async fn told(subscription: &mut Subscription) {
    let told = tokio::time::timeout(Duration::from_secs(60), subscription.changed()).await;
    told.expect("a change is told");
}
