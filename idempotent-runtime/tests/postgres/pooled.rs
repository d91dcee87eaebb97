//! Behind a pooler that lends a session for one transaction.

use std::time::Duration;

use idempotent_runtime::{
    Store,
    key::Key,
    record::RecordedBytes,
    store::{
        ClaimReply, PostgresStore,
        conformance::{Subject, all},
    },
};
use idempotent_test_support::PgBouncer;

use crate::{aged::Aged, common::*, conformance::OneTable};

/// A table, and the same table through a pooler.
struct Pooled {
    pooler: PgBouncer,
    direct: Place,
    through: Place,
}

impl Pooled {
    fn new(settings: &[&str]) -> Self {
        let pooler = PgBouncer::start(&SERVER, settings);
        let direct = Place::new();
        let through = Place {
            port: pooler.port(),
            user: direct.user.clone(),
            schema: direct.schema.clone(),
        };
        Self {
            pooler,
            direct,
            through,
        }
    }

    fn store(&self) -> PostgresStore {
        self.through.store()
    }

    /// No statement of this table was ever sent under a name.
    fn assert_nothing_had_a_name(&self) {
        let log = SERVER.log();
        let name = format!("{}|", self.direct.schema);
        let ours = || {
            log.lines()
                .filter(|line| line.starts_with(&name) && line.contains("execute "))
        };
        assert!(ours().count() > 0);
        let named: Vec<_> = ours()
            .filter(|line| !line.contains("execute <unnamed>"))
            .collect();
        assert!(named.is_empty(), "{named:?}");
    }
}

struct OneTablePooled {
    pooled: Pooled,
    table: OneTable,
}

impl Subject for OneTablePooled {
    type Store = Aged<PostgresStore>;

    async fn store(&self) -> Aged<PostgresStore> {
        Aged::new(self.pooled.store(), &self.table.taken)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        self.table.elapse(key, time).await;
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        self.table.plant(key, bytes).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_behind_a_pooler_conforms() {
    let pooled = Pooled::new(&[]);
    let direct = Place {
        port: pooled.direct.port,
        user: pooled.direct.user.clone(),
        schema: pooled.direct.schema.clone(),
    };
    let subject = OneTablePooled {
        pooled,
        table: OneTable::new(direct),
    };
    all(subject).await;
}

/// It refuses our options, or takes them and drops them, or a URL says that it is there.
#[tokio::test]
async fn a_pooler_is_found_out_before_a_statement_has_a_name() {
    for settings in [&[][..], &["ignore_startup_parameters = options"]] {
        let pooled = Pooled::new(settings);
        let store = pooled.store();
        first_call(&store, &key("1"), b"42").await;
        store.claim(&key("1"), &request()).await.expect("a replay");
        let subscription = store.subscribe(&key("1")).await.expect("subscribe");
        assert!(!subscription.is_push());
        pooled.assert_nothing_had_a_name();
        assert_eq!(pooled.direct.sent("LISTEN"), 0);
        assert!(idempotent_test_support::is_alive(pooled.pooler.id()));
    }
    let pooled = Pooled::new(&[]);
    let store = pooled
        .direct
        .store_with(pooled.direct.options().with_pooled(true));
    first_call(&store, &key("1"), b"42").await;
    pooled.assert_nothing_had_a_name();
}

#[tokio::test]
async fn a_replay_behind_a_pooler_is_one_statement() {
    let pooled = Pooled::new(&[]);
    let store = pooled.store();
    store.check().await.expect("fit");
    let before = pooled.direct.sent("");
    let owned = first_call(&store, &key("1"), b"42").await;
    // A look, the claim, the finish.
    assert_eq!(pooled.direct.sent("") - before, 3);
    let reply = store.claim(&key("1"), &request()).await.expect("a replay");
    assert!(matches!(reply, ClaimReply::Held { record, .. } if record.nonce == owned.nonce));
    assert_eq!(pooled.direct.sent("") - before, 4);
}

/// Many statements of two programs under way, on two sessions: each gets its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_behind_a_pooler_get_their_own_answers() {
    let pooled = Pooled::new(&[]);
    let stores = [pooled.store(), pooled.store()];
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..400 {
        for (program, store) in stores.iter().enumerate() {
            let store = store.clone();
            calls.spawn(async move {
                let result = format!("{program} {number}");
                let key = key(&result);
                first_call(&store, &key, result.as_bytes()).await;
                match store.claim(&key, &request()).await.expect("a replay") {
                    ClaimReply::Held { record, .. } => {
                        let expected = RecordedBytes::Ok(result.as_bytes().into());
                        assert_eq!(record.outcome, Some(expected));
                    }
                    other => panic!("{other:?}"),
                }
            });
        }
    }
    calls.join_all().await;
    pooled.assert_nothing_had_a_name();
}

/// Transactions are serializable here, unless a session's owner says otherwise: conflicts are nobody's result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_of_serializable_transactions_are_tried_again() {
    let pooled = Pooled::new(&["ignore_startup_parameters = options"]);
    let store = pooled.store();
    SERVER.sql("CREATE DATABASE serializable");
    SERVER.sql("ALTER DATABASE serializable SET default_transaction_isolation = 'serializable'");
    drop(store);
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/serializable",
        pooled.pooler.port()
    );
    let store = PostgresStore::new(&url).expect("a valid URL");
    store.migrate().await.expect("migrated");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let store = store.clone();
        calls.spawn(async move {
            let one = key(&(number % 10).to_string());
            match store.claim(&one, &request()).await.expect("answered") {
                ClaimReply::Granted { record, .. } => {
                    let finished = store.finish(&one, &done(&record, b"42")).await;
                    finished.expect("finish");
                    1
                }
                _ => 0,
            }
        });
    }
    let granted: usize = calls.join_all().await.into_iter().sum();
    assert_eq!(granted, 10);
}
