//! Lost answers, lost connections, and several runtimes.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use idempotent_runtime::{
    Store, StoreErrorKind,
    record::State,
    store::{ClaimReply, RedisOptions, RedisStore, Settled},
};
use idempotent_test_support::{Direction, Proxy, RedisServer};

use crate::common::*;

/// Long enough for a loaded machine, where an answer is to come; it is waited out where none comes.
const PATIENCE: Duration = Duration::from_millis(400);

fn proxied(server: &RedisServer) -> (Proxy, RedisStore) {
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let store = RedisOptions::new()
        .with_response_timeout(PATIENCE)
        .open(&proxy.url())
        .expect("a valid URL");
    (proxy, store)
}

/// Claims until there is an answer, as callers do.
async fn seen_through(store: &RedisStore, part: &str, number: u8) -> ClaimReply {
    for _ in 0..200 {
        match store.claim(&key(part), &request(number)).await {
            Ok(answer) => return answer,
            Err(error) => assert_ne!(error.kind(), StoreErrorKind::Config, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no answer");
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_asking_again_changes_nothing() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    store.check().await.expect("fit");
    server.reset_commandstats();

    proxy.drop_replies(true);
    let error = store.claim(&key("1"), &request(1)).await.expect_err("lost");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous, "{error}");
    assert!(proxy.counters().lost_replies > 0);
    let written = record(&server, &key("1")).expect("it was carried out");
    // Once: the library has not sent it again by itself.
    assert_eq!(server.commandstats().get("set"), Some(&1));

    proxy.drop_replies(false);
    let reply = store.claim(&key("1"), &request(1)).await.expect("claim");
    assert_eq!(
        reply,
        ClaimReply::Granted {
            record: written.clone(),
            takeover: false
        }
    );

    proxy.drop_replies(true);
    let target = done(&written, b"42");
    let error = store.finish(&key("1"), &target).await.expect_err("lost");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous, "{error}");
    let bytes = value(&server, &key("1"));
    assert_eq!(
        record(&server, &key("1")).expect("there").state,
        State::Done
    );
    proxy.drop_replies(false);
    assert_eq!(
        store.finish(&key("1"), &target).await.expect("finish"),
        Settled::Applied
    );
    assert_eq!(value(&server, &key("1")), bytes);
}

#[tokio::test]
async fn a_lost_takeover_is_granted_to_whoever_asks_again() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), LEASE);
    proxy.drop_replies(true);
    store.claim(&key("1"), &request(2)).await.expect_err("lost");
    proxy.drop_replies(false);
    // The first answer was lost before the script was sent, or after.
    let reply = store.claim(&key("1"), &request(2)).await.expect("claim");
    let ClaimReply::Granted {
        record,
        takeover: true,
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!((record.nonce, record.attempts), (request(2).nonce, 2));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobody_elses() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    let one = first_call(&store, &key("1"), 1, b"one").await;
    let two = first_call(&store, &key("2"), 2, b"two").await;
    proxy.delay(Direction::Replies, PATIENCE * 2);
    let error = store.claim(&key("1"), &request(3)).await.expect_err("late");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    proxy.delay(Direction::Replies, Duration::ZERO);
    for (part, expected) in [("2", two), ("1", one)] {
        let (record, _) = held(seen_through(&store, part, 4).await);
        assert_eq!(record.outcome, expected.outcome);
    }
}

#[tokio::test]
async fn a_peer_that_vanished_is_given_up() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    store.check().await.expect("fit");
    assert_eq!(proxy.counters().connections, 1);
    proxy.black_hole(true);
    let error = store
        .claim(&key("1"), &request(1))
        .await
        .expect_err("vanished");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    proxy.black_hole(false);
    granted(seen_through(&store, "1", 1).await);
    assert!(proxy.counters().connections >= 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_its_door_was_sent_nothing() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    proxy.refuse(true);
    for _ in 0..2 {
        let error = store
            .claim(&key("1"), &request(1))
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
    }
    // Each try connects once more, to hear whether the server is full.
    assert_eq!(proxy.counters().refused, 4);
    proxy.refuse(false);
    granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
}

#[tokio::test]
async fn those_who_come_while_it_is_being_made_share_one_connection_or_one_failure() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    let everybody = |number: u8| {
        let claims = (0..50).map(|part| {
            let store = store.clone();
            tokio::spawn(
                async move { store.claim(&key(&part.to_string()), &request(number)).await },
            )
        });
        claims.collect::<Vec<_>>()
    };
    proxy.refuse(true);
    for claim in everybody(1) {
        let error = claim.await.expect("no panic").expect_err("refused");
        assert_eq!(error.kind(), StoreErrorKind::NotSent);
    }
    assert!(proxy.counters().refused < 5, "{:?}", proxy.counters());
    proxy.refuse(false);
    for claim in everybody(1) {
        granted(claim.await.expect("no panic").expect("claim"));
    }
    assert_eq!(proxy.counters().connections, 1);
}

#[tokio::test]
async fn a_server_that_was_killed_and_came_back_is_found_again() {
    let server = RedisServer::builder().appendonly().start();
    let store = store(&server);
    let target = first_call(&store, &key("1"), 1, b"42").await;
    let owned = granted(store.claim(&key("2"), &request(2)).await.expect("claim"));
    server.kill();
    let error = store.claim(&key("3"), &request(3)).await.expect_err("down");
    assert!(
        matches!(
            error.kind(),
            StoreErrorKind::NotSent | StoreErrorKind::Ambiguous
        ),
        "{error}"
    );
    let error = store.claim(&key("3"), &request(3)).await.expect_err("down");
    assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");

    server.restart();
    let (record, _) = held(seen_through(&store, "1", 4).await);
    assert_eq!(record.outcome, target.outcome);
    // It has forgotten the scripts.
    assert_eq!(
        store.renew(&key("2"), &owned).await.expect("renew"),
        Settled::Applied
    );
    granted(store.claim(&key("3"), &request(3)).await.expect("claim"));
}

#[tokio::test]
async fn a_hang_up_while_nothing_is_sent_is_nobodys_error() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    store.check().await.expect("fit");
    for round in 1..=3 {
        proxy.cut();
        // The end of the connection has to be read before the next command is written.
        tokio::time::sleep(Duration::from_millis(100)).await;
        granted(
            store
                .claim(&key(&round.to_string()), &request(1))
                .await
                .expect("claim"),
        );
        assert_eq!(proxy.counters().connections, round + 1);
    }
}

#[test]
fn each_runtime_has_connections_of_its_own() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let claim = |runtime: &tokio::runtime::Runtime, part: &str| {
        granted(
            runtime
                .block_on(store.claim(&key(part), &request(1)))
                .expect("claim"),
        )
    };
    let (first, second) = (runtime(), runtime());
    claim(&first, "1");
    // The first is not driven meanwhile.
    claim(&second, "2");
    claim(&first, "3");
    drop(first);
    claim(&second, "4");
    for round in 5..15 {
        // Each as a test of its own would, on the same store.
        claim(&runtime(), &round.to_string());
        claim(&second, &format!("{round} again"));
    }
    assert_eq!(proxy.counters().connections, 12);
    drop(store);
    drop(second);
    idempotent_test_support::wait_until("nothing is left open", || proxy.counters().open == 0);
}

#[tokio::test]
async fn a_claim_that_was_dropped_is_answered_when_it_asks_again() {
    let server = RedisServer::start();
    let store = store(&server);
    store.check().await.expect("fit");
    for polls in 0..12 {
        let part = key(&polls.to_string());
        let claim_of = request(1);
        {
            let mut claim = pin!(store.claim(&part, &claim_of));
            for _ in 0..polls {
                let ready =
                    std::future::poll_fn(|cx| Poll::Ready(claim.as_mut().poll(cx).is_ready()))
                        .await;
                if ready {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let owned = granted(store.claim(&part, &claim_of).await.expect("claim"));
        assert_eq!(record(&server, &part).expect("there"), owned);
    }
}

#[test]
fn outside_of_a_runtime_it_says_so() {
    let server = RedisServer::start();
    let store = store(&server);
    let part = key("1");
    let claim_of = request(1);
    let mut claim = pin!(store.claim(&part, &claim_of));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Err(error)) = claim.as_mut().poll(&mut context) else {
        panic!("an error at once")
    };
    assert_eq!(error.kind(), StoreErrorKind::Config);
}

/// All of a server's places for clients are taken. Often it hangs up before it is asked anything.
#[tokio::test]
async fn a_server_without_room_for_a_client_says_so() {
    for unix in [false, true] {
        let builder = RedisServer::builder().arg("maxclients", 3);
        let server = if unix {
            builder.unix_socket().start()
        } else {
            builder.start()
        };
        let mut others = Vec::new();
        let client = redis::Client::open(server.url()).expect("a URL");
        while let Ok(connection) = client.get_connection() {
            others.push(connection);
        }
        for _ in 0..10 {
            let connecting = RedisStore::connect(&server.url()).await;
            let claiming = store(&server).claim(&key("1"), &request(1)).await;
            for error in [connecting.map(drop), claiming.map(drop)] {
                let error = error.expect_err("no room");
                assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
                let text = error.to_string();
                assert!(
                    text.contains("as many clients as its `maxclients`"),
                    "{text}"
                );
                assert!(!text.contains("does this too"), "it is certain: {text}");
            }
        }
        // It is the server's state, not the store's.
        others.pop();
        let mut tries = 0;
        while let Err(error) = RedisStore::connect(&server.url()).await {
            tries += 1;
            assert!(tries < 500, "there is room: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
