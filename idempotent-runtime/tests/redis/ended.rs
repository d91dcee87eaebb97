//! Records past their end: only late messages and the next claim meet them.

use std::time::Duration;

use idempotent_runtime::{
    Store,
    key::Key,
    record::{Record, State},
    store::{ClaimReply, ClaimRequest, RedisOptions, RedisStore, Settled},
};
use idempotent_test_support::{Direction, Proxy, RedisServer};

use crate::common::*;

/// A `ttl` that no message outlasts here.
const SHORT: Duration = Duration::from_millis(500);

fn brief(number: u8) -> ClaimRequest {
    let mut request = request(number);
    request.ttl = SHORT;
    request
}

/// Finishes attempt 1 in this state, and lets its retention pass, but not its grace.
async fn ended(store: &RedisStore, server: &RedisServer, key: &Key, state: State) -> Record {
    let owned = granted(store.claim(key, &request(1)).await.expect("claim"));
    let target = match state {
        State::Done => done(&owned, b"42"),
        state => in_state(&owned, state),
    };
    let settled = store.finish(key, &target).await.expect("finish");
    assert_eq!(settled, Settled::Applied);
    elapse(server, key, TTL + Duration::from_secs(1));
    owned
}

#[tokio::test]
async fn a_finished_record_past_its_end_is_shown_to_nobody_and_taken_with_a_larger_token() {
    let server = RedisServer::start();
    let store = store(&server);
    for state in [State::Done, State::Failed] {
        let key = key(&format!("{state:?}"));
        let owned = ended(&store, &server, &key, state).await;
        assert!(value(&server, &key).is_some(), "its bytes are kept");
        assert_eq!(store.read(&key).await.expect("read"), None);
        // An operator who saw it before finds none, and who saw none may decide.
        let replacement = in_state(&request(7).record(), State::Failed);
        let settled = store
            .overrule(&key, Some(&in_state(&owned, state)), &replacement)
            .await;
        assert_eq!(settled.expect("overrule"), Settled::Absent);

        let reply = store.claim(&key, &request(2)).await.expect("claim");
        let ClaimReply::Granted {
            record: second,
            takeover: false,
        } = reply
        else {
            panic!("{reply:?}")
        };
        assert!(second.token > owned.token);
        assert_eq!(second.attempts, owned.attempts + 1, "attempts go on");
        assert_eq!(record(&server, &key), Some(second));
    }
    let undecided = key("undecided");
    let owned = ended(&store, &server, &undecided, State::Done).await;
    let mut replacement = done(&request(7).record(), b"decided");
    replacement.seal(&undecided);
    let settled = store.overrule(&undecided, None, &replacement).await;
    assert_eq!(settled.expect("overrule"), Settled::Applied);
    let decided = record(&server, &undecided).expect("there");
    assert!(decided.token > owned.token && decided.is_sound(&undecided));
}

#[tokio::test]
async fn no_late_message_makes_a_record_past_its_end_live_again() {
    let server = RedisServer::start();
    let store = store(&server);
    for state in [State::Done, State::Failed] {
        let key = key(&format!("{state:?}"));
        let owned = ended(&store, &server, &key, state).await;
        let bytes = value(&server, &key);
        stale(store.renew(&key, &owned).await.expect("renew"));
        let others = [State::Done, State::Failed, State::Lost]
            .into_iter()
            .filter(|other| *other != state);
        for other in others {
            let target = match other {
                State::Done => done(&owned, b"late"),
                other => in_state(&owned, other),
            };
            stale(store.finish(&key, &target).await.expect("finish"));
        }
        // Its own claim, sent long ago, gets nothing either.
        held(store.claim(&key, &request(1)).await.expect("claim"));
        // Another attempt's heartbeat neither.
        let mut stranger = owned.clone();
        stranger.nonce = request(9).nonce;
        stale(store.renew(&key, &stranger).await.expect("renew"));
        assert_eq!(value(&server, &key), bytes, "{state:?}");
    }
}

#[tokio::test]
async fn the_records_own_lease_and_ttl_say_how_long_its_bytes_are_kept() {
    let server = RedisServer::start();
    let store = store(&server);
    for (lease, grace) in [(1, 30_000), (15, 30_000), (60, 120_000)] {
        let key = key(&lease.to_string());
        let mut request = request(1);
        request.lease = Duration::from_secs(lease);
        let owned = granted(store.claim(&key, &request).await.expect("claim"));
        store
            .finish(&key, &done(&owned, b"42"))
            .await
            .expect("finish");
        let left = pttl(&server, &key) - 3_600_000 - grace;
        assert!((-30_000..=0).contains(&left), "{lease}: {left}");
    }
}

/// Answers come 950 ms late, and a result is kept for 500: every claim meets one past its end.
#[tokio::test]
async fn tokens_grow_where_answers_are_later_than_the_retention() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let late = RedisOptions::new()
        .with_response_timeout(Duration::from_secs(20))
        .with_connection_timeout(Duration::from_secs(20))
        .open(&proxy.url())
        .expect("a valid URL");
    proxy.delay(Direction::Replies, Duration::from_millis(950));
    // To connect takes longer than a claim waits for it.
    late.check().await.expect("fit");
    let prompt = store(&server);
    let mut last = 0;
    for number in 1..=6 {
        let store = if number % 2 == 0 { &late } else { &prompt };
        let reply = loop {
            match store.claim(&key("1"), &brief(number)).await.expect("claim") {
                ClaimReply::Granted { record, .. } => break record,
                // Not past its end yet.
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        assert!(
            reply.token > last,
            "attempt {number}: {} after {last}",
            reply.token
        );
        last = reply.token;
        let settled = store.finish(&key("1"), &done(&reply, b"42")).await;
        assert_eq!(settled.expect("finish"), Settled::Applied);
        // Its retention counts from the write, however late its message was.
        let stood = record(&server, &key("1")).expect("kept");
        let kept = i64::try_from(stood.expires).expect("small") - written(&server, &key("1"));
        assert!((0..=500).contains(&(500 - kept).abs()), "{kept}");
    }
}

/// It lasts for its whole retention from the write on, also where that is shorter than its message
/// was under way.
#[tokio::test]
async fn a_short_retention_counts_from_the_write() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let store = RedisOptions::new()
        .with_response_timeout(Duration::from_secs(20))
        .open(&proxy.url())
        .expect("a valid URL");
    let owned = granted(store.claim(&key("1"), &brief(1)).await.expect("claim"));
    proxy.delay(Direction::Requests, Duration::from_millis(950));
    let settled = store.finish(&key("1"), &done(&owned, b"42")).await;
    assert_eq!(settled.expect("finish"), Settled::Applied);
    let stood = record(&server, &key("1")).expect("kept");
    let kept = i64::try_from(stood.expires).expect("small") - written(&server, &key("1"));
    assert!(kept > 100, "{kept}");
}

/// When the record was written, by the server's time and what it still keeps it: ms since 1970.
fn written(server: &RedisServer, key: &Key) -> i64 {
    let time = server.cli(&["TIME"]);
    let mut parts = time
        .lines()
        .map(|part| part.parse::<i64>().expect("a number"));
    let (seconds, micros) = (parts.next().expect("two"), parts.next().expect("two"));
    // 500 ms, and a grace of twice the lease.
    seconds * 1000 + micros / 1000 - (60_500 - pttl(server, key))
}

/// A slot that comes from a node whose clock is ahead brings its records along.
#[tokio::test]
async fn tokens_grow_where_the_last_one_is_of_a_clock_ten_seconds_ahead() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    for state in [State::Done, State::Failed] {
        let mut ahead = owned.clone();
        ahead.token = owned.token + 10_000_000;
        ahead.state = state;
        ahead.outcome = done(&owned, b"42").outcome.filter(|_| state == State::Done);
        ahead.expires = 1;
        put(&server, &key("1"), &ahead.encode());
        let next = granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
        assert_eq!(next.token, ahead.token + 1);
    }
}
