//! The conformance suite, on one table that each handle opens for itself.

use std::time::Duration;

use idempotent_runtime::{
    conformance_tests,
    key::Key,
    record::{Record, State},
    store::{
        POSTGRES_SCHEMA, PostgresStore,
        conformance::{Subject, all},
    },
};
use tokio_postgres::Client;

use crate::{
    aged::{Aged, Taken},
    common::{Place, SERVER},
};

/// Makes a record older.
pub(crate) async fn age(client: &Client, table: &str, taken: &Taken, key: &Key, time: Duration) {
    let micros = i64::try_from(time.as_micros()).expect("a time of the suite");
    loop {
        let select = format!("SELECT record FROM {table} WHERE key = $1");
        let row = client.query_opt(&select, &[&key.as_str()]).await;
        let Some(row) = row.expect("a row") else {
            return;
        };
        let bytes: Vec<u8> = row.get(0);
        let mut noted = None;
        let aged = Record::decode(&bytes).map_or(bytes.clone(), |before| {
            let mut after = before.clone();
            if matches!(before.state, State::Done | State::Failed) && before.expires != 0 {
                let millis = u64::try_from(time.as_millis()).expect("a time of the suite");
                // 0 would be no end.
                after.expires = before.expires.saturating_sub(millis).max(1);
                noted = Some((before, after.clone()));
            }
            after.encode()
        });
        let update = format!(
            "UPDATE {table} SET record = $2, renewed = renewed - $3, expires = expires - $3 WHERE key = $1 AND record = $4"
        );
        let updated = client
            .execute(&update, &[&key.as_str(), &aged, &micros, &bytes])
            .await;
        if updated.expect("aged") == 1 {
            if let Some((before, after)) = noted {
                taken.note(&before, &after);
            }
            return;
        }
    }
}

/// Puts bytes where a record is kept.
pub(crate) async fn plant(client: &Client, table: &str, key: &Key, bytes: &[u8]) {
    let now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let put = format!(
        "INSERT INTO {table} (key, record, renewed, expires) VALUES ($1, $2, {now}, {now} + 604800000000)
         ON CONFLICT (key) DO UPDATE SET record = excluded.record"
    );
    let planted = client.execute(&put, &[&key.as_str(), &bytes]).await;
    planted.expect("planted");
}

/// One table, with an outsider's connection to it.
pub(crate) struct OneTable {
    pub(crate) place: Place,
    pub(crate) taken: Taken,
    outsider: tokio::sync::OnceCell<Client>,
}

impl OneTable {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            taken: Taken::default(),
            outsider: tokio::sync::OnceCell::new(),
        }
    }

    pub(crate) async fn outsider(&self) -> &Client {
        let outsider = || self.place.outsider();
        self.outsider.get_or_init(outsider).await
    }
}

impl Subject for OneTable {
    type Store = Aged<PostgresStore>;

    async fn store(&self) -> Aged<PostgresStore> {
        let store = self.place.store();
        store.check().await.expect("a table");
        Aged::new(store, &self.taken)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        let client = self.outsider().await;
        age(client, &self.place.table(), &self.taken, key, time).await;
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        let client = self.outsider().await;
        plant(client, &self.place.table(), key, bytes).await;
        true
    }
}

conformance_tests!(OneTable::new(Place::new()));

/// A table in partitions, whose rows' places repeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_partitioned_by_hash_conforms() {
    let place = Place::empty(&SERVER);
    let schema = POSTGRES_SCHEMA.replace("idempotent_records", &place.table());
    let partitioned = schema.replacen("\n);", "\n) PARTITION BY HASH (key);", 1);
    assert_ne!(schema, partitioned);
    SERVER.sql(&partitioned);
    for part in 0..3 {
        let table = place.table();
        SERVER.sql(&format!(
            "CREATE TABLE {table}_{part} PARTITION OF {table} FOR VALUES WITH (MODULUS 3, REMAINDER {part})"
        ));
    }
    all(OneTable::new(place)).await;
}

/// A user that owns nothing, and whose transactions are serializable if nobody asks for less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_owns_nothing_and_is_serializable_by_default_conforms() {
    let mut place = Place::new();
    let (schema, table) = (&place.schema, place.table());
    SERVER.sql(&format!(
        "CREATE ROLE {schema} LOGIN;
         ALTER ROLE {schema} SET default_transaction_isolation = 'serializable';
         REVOKE ALL ON SCHEMA public FROM {schema};
         GRANT USAGE ON SCHEMA {schema} TO {schema};
         GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {schema}"
    ));
    place.user = schema.clone();
    all(OneTable::new(place)).await;
}
