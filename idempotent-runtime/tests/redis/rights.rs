//! ACLs, TLS and passwords.

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    store::{RedisOptions, RedisStore},
};
use idempotent_test_support::RedisServer;

use crate::common::*;

/// The rules that `RedisStore` documents.
const FEW: &str = "~idempotent:* &idempotent:* -@all +set +get +pttl +pexpire +time +evalsha +eval +publish +subscribe \
                   +unsubscribe";

#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_everything() {
    let server = RedisServer::builder()
        .acl(&format!("app on >secret-7 {FEW}"))
        .start();
    let store = RedisStore::connect(&server.url_for("app", "secret-7"))
        .await
        .expect("let in");
    first_call(&store, &key("1"), 1, b"42").await;
    held(store.claim(&key("1"), &request(2)).await.expect("replay"));

    let owned = granted(store.claim(&key("2"), &request(1)).await.expect("claim"));
    store.renew(&key("2"), &owned).await.expect("renew");
    elapse(&server, &key("2"), LEASE);
    granted(store.claim(&key("2"), &request(2)).await.expect("takeover"));
    server.cli(&["PERSIST", &redis_key(&key("2"))]);
    held(store.claim(&key("2"), &request(3)).await.expect("claim"));
    store.read(&key("2")).await.expect("read").expect("there");
    let replacement = in_state(
        &request(4).record(),
        idempotent_runtime::record::State::Failed,
    );
    let seen = record(&server, &key("2"));
    store
        .overrule(&key("2"), seen.as_ref(), &replacement)
        .await
        .expect("overrule");

    // A wake-up goes through, both ways.
    let mut subscription = store.subscribe(&key("3")).await.expect("subscribe");
    assert!(subscription.is_push());
    first_call(&store, &key("3"), 1, b"42").await;
    told(&mut subscription).await;
}

#[tokio::test]
async fn every_documented_right_is_needed() {
    for right in FEW
        .split_whitespace()
        .filter_map(|rule| rule.strip_prefix('+'))
    {
        let server = RedisServer::builder()
            .acl(&format!("app on >secret-7 {FEW} -{right}"))
            .start();
        let store = RedisStore::new(&server.url_for("app", "secret-7")).expect("a valid URL");
        let all = use_everything(&server, &store).await;
        match right {
            // Without these, waiters poll; a subscription that nobody needs stays until the
            // connection ends.
            "publish" | "subscribe" => assert!(!all.expect(right), "woken without {right}"),
            "unsubscribe" => assert!(all.expect(right)),
            _ => {
                let error = all.expect_err(right);
                assert_eq!(error.kind(), StoreErrorKind::Config, "{right}: {error}");
                assert!(error.to_string().contains(right), "{right}: {error}");
                assert!(
                    !error.to_string().contains("secret-7") && !error.to_string().contains("app "),
                    "{error}"
                );
            }
        }
    }
}

/// Each command at least once. Whether a waiter is woken by push.
async fn use_everything(server: &RedisServer, store: &RedisStore) -> Result<bool, StoreError> {
    let mut subscription = store.subscribe(&key("1")).await?;
    server.cli(&["SCRIPT", "FLUSH"]);
    let owned = granted(store.claim(&key("1"), &request(1)).await?);
    store.renew(&key("1"), &owned).await?;
    store.renew(&key("1"), &owned).await?;
    server.cli(&["PERSIST", &redis_key(&key("1"))]);
    held(store.claim(&key("1"), &request(2)).await?);
    store.read(&key("1")).await?;
    store.finish(&key("1"), &done(&owned, b"42")).await?;
    if !subscription.is_push() {
        return Ok(false);
    }
    // The message, if there is one, was sent before the answer; it takes another connection.
    let woken = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        subscription.changed(),
    )
    .await;
    Ok(woken.is_ok())
}

/// Within a script each release words it anew, and since 7.2 with the user's name.
#[tokio::test]
async fn a_right_taken_away_later_is_told_with_what_to_grant_and_without_the_user() {
    let server = RedisServer::builder()
        .acl("tenant-4711 on >secret-7 ~* &* +@all")
        .start();
    let store = RedisStore::connect(&server.url_for("tenant-4711", "secret-7"))
        .await
        .expect("let in");
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    for (taken, given) in [
        ("-set", "+set"),
        ("-get", "+get"),
        ("-pttl", "+pttl"),
        ("-time", "+time"),
        ("-evalsha", "+evalsha"),
        ("resetkeys", "~*"),
    ] {
        server.cli(&["ACL", "SETUSER", "tenant-4711", taken]);
        let answers = [
            store.claim(&key("2"), &request(2)).await.map(drop),
            store.claim(&key("1"), &request(2)).await.map(drop),
            store.renew(&key("1"), &owned).await.map(drop),
            store.read(&key("1")).await.map(drop),
        ];
        server.cli(&["ACL", "SETUSER", "tenant-4711", given]);
        let errors: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert!(!errors.is_empty(), "{taken}");
        for error in errors {
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
            assert!(
                error.to_string().contains("ACL user lacks a right"),
                "{error}"
            );
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert!(
                !format!("{error} {error:?} {source:?}").contains("4711"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = RedisServer::builder().password("right-horse").start();
    RedisStore::connect(&server.url())
        .await
        .expect("the right one");
    let wrong = server.url_for("somebody", "wrong-horse");
    let error = RedisStore::connect(&wrong).await.expect_err("wrong");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let none = format!("redis://127.0.0.1:{}", server.port());
    let missing = RedisStore::connect(&none).await.expect_err("none");
    assert_eq!(missing.kind(), StoreErrorKind::Refused, "{missing}");
    for error in [error, missing] {
        hides(&format!(
            "{error} {error:?} {:?}",
            std::error::Error::source(&error)
        ));
    }
}

#[track_caller]
fn hides(text: &str) {
    for secret in ["horse", "somebody"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn no_description_shows_user_or_password() {
    let urls = [
        "redis://somebody:wrong-horse@127.0.0.1:1/3",
        "rediss://somebody:wrong-horse@127.0.0.1:1",
        "redis+unix:///nowhere/redis.sock?user=somebody&pass=wrong-horse",
        "unix:///nowhere/redis.sock?user=somebody&pass=wrong-horse",
    ];
    for url in urls {
        let store = RedisStore::new(url).expect(url);
        hides(&format!("{store:?} {}", store.describe()));
        let error = store
            .claim(&key("1"), &request(1))
            .await
            .expect_err("nobody is there");
        assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
        hides(&format!(
            "{error} {error:?} {:?}",
            std::error::Error::source(&error)
        ));
    }
    let many = [
        "redis://somebody:wrong-horse@127.0.0.1:1",
        "redis://somebody:wrong-horse@127.0.0.1:2",
    ];
    hides(&format!("{:?}", RedisStore::cluster(many).expect("valid")));
    hides(&format!(
        "{:?}",
        RedisStore::sentinel(many, "main").expect("valid")
    ));
    hides(&format!(
        "{:?}",
        RedisOptions::new().with_sentinel_login(Some("somebody"), "wrong-horse")
    ));
}

#[test]
fn urls_that_cannot_be_read_are_named_without_being_shown() {
    let urls = [
        "somebody:wrong-horse@127.0.0.1",
        "http://somebody:wrong-horse@127.0.0.1",
        "redis://somebody:wrong-horse@127.0.0.1:port",
        "redis://somebody:wrong-horse@127.0.0.1/database",
        "redis://somebody:wrong-horse@0.0.0.0",
        "",
    ];
    for url in urls {
        let error = RedisStore::new(url).expect_err(url);
        assert_eq!(error.kind(), StoreErrorKind::Config);
        hides(&format!("{error} {error:?}"));
    }
    assert_eq!(
        RedisStore::cluster(["nonsense"]).expect_err("a URL").kind(),
        StoreErrorKind::Config
    );
    assert_eq!(
        RedisStore::cluster([""; 0]).expect_err("no URL").kind(),
        StoreErrorKind::Config
    );
    let unlike = [
        "redis://a:one@127.0.0.1:1",
        "redis://b:wrong-horse@127.0.0.1:2",
    ];
    let error = RedisStore::cluster(unlike).expect_err("two passwords");
    assert_eq!(error.kind(), StoreErrorKind::Config);
    hides(&error.to_string());
}

#[tokio::test]
async fn by_unix_socket_with_a_password_and_a_database() {
    let server = RedisServer::builder()
        .unix_socket()
        .password("horse")
        .start();
    let url = format!("{}&db=3", server.url());
    let store = RedisStore::connect(&url).await.expect("let in");
    first_call(&store, &key("1"), 1, b"42").await;
    assert!(server.cli(&["INFO", "keyspace"]).contains("db3:keys=1"));
    let error = RedisStore::connect(&format!("redis+unix://{}", server.socket().display())).await;
    assert_eq!(
        error.expect_err("no password").kind(),
        StoreErrorKind::Refused
    );
}

#[tokio::test]
async fn databases_are_apart() {
    let server = RedisServer::start();
    let other = RedisStore::new(&format!("{}/5", server.url())).expect("a valid URL");
    first_call(&store(&server), &key("1"), 1, b"42").await;
    granted(other.claim(&key("1"), &request(2)).await.expect("claim"));
}

#[tokio::test]
async fn by_tls_without_the_programs_cryptography_and_without_choosing_it() {
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    let server = RedisServer::start_tls();
    let connect = async |part: &str| {
        let options = RedisOptions::new().with_tls_root(server.certificates().ca_pem());
        let store = options.open(&server.url()).expect("a valid URL");
        let mut subscription = store.subscribe(&key(part)).await.expect("subscribe");
        assert!(subscription.is_push());
        first_call(&store, &key(part), 1, b"42").await;
        told(&mut subscription).await;
    };
    connect("1").await;
    assert!(CryptoProvider::get_default().is_none(), "none was chosen");
    // A program's choice is not asked for either: with this one no connection could be made.
    let useless = CryptoProvider {
        cipher_suites: Vec::new(),
        kx_groups: Vec::new(),
        ..ring::default_provider()
    };
    useless.install_default().expect("the first");
    connect("2").await;
}

#[tokio::test]
async fn by_tls_when_the_authority_is_trusted() {
    let server = RedisServer::start_tls();
    let error = RedisStore::connect(&server.url())
        .await
        .expect_err("an unknown authority");
    assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");

    let options = RedisOptions::new().with_tls_root(server.certificates().ca_pem());
    let store = options.open(&server.url()).expect("a valid URL");
    first_call(&store, &key("1"), 1, b"42").await;
    let mut subscription = store.subscribe(&key("2")).await.expect("subscribe");
    assert!(subscription.is_push());
    first_call(&store, &key("2"), 1, b"42").await;
    told(&mut subscription).await;

    let error = RedisOptions::new()
        .with_tls_root("no certificate")
        .with_tls_identity("none", "none")
        .open(&server.url());
    assert_eq!(error.expect_err("nonsense").kind(), StoreErrorKind::Config);
}
