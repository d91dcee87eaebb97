//! The suite on a server written by others: moto, at `DYNAMODB_ENDPOINT`. `scripts/test-dynamodb`
//! starts it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_dynamodb::{DynamoTable, MAX_RESULT};
use idempotent_fn::{
    Store, StoreError, StoreErrorKind, conformance_tests,
    key::Key,
    record::Nonce,
    store::{
        Cursor,
        cas::{self, CasStore, CasTable, Loaded, Put, Scanned, Swapped, Time},
        conformance::{self, Loss, Subject},
    },
};

use serde_json::json;

/// The table, as the suite needs it: by a clock that it moves, over a line on which it loses a
/// write.
struct Tried {
    table: DynamoTable,
    clock: Arc<AtomicU64>,
    loss: Mutex<Option<Loss>>,
}

impl Tried {
    fn later(&self, time: Time) -> Time {
        Time::of_database(time.micros() + self.clock.load(Ordering::SeqCst)).within(time.bound())
    }
}

impl CasTable for Tried {
    type Version = String;

    async fn load(&self, key: &Key) -> Result<Loaded<String>, StoreError> {
        let mut loaded = self.table.load(key).await?;
        loaded.time = self.later(loaded.time);
        Ok(loaded)
    }

    async fn swap(
        &self,
        key: &Key,
        expected: Option<&String>,
        put: &Put,
    ) -> Result<Swapped, StoreError> {
        let loss = self.loss.lock().expect("no panic").take();
        let lost = Err(StoreError::new(StoreErrorKind::Ambiguous, "the line broke"));
        if loss == Some(Loss::Request) {
            return lost;
        }
        let swapped = self.table.swap(key, expected, put).await?;
        if loss.is_some() { lost } else { Ok(swapped) }
    }

    async fn scan(
        &self,
        prefix: &str,
        cursor: Option<&Cursor>,
        page: usize,
    ) -> Result<Scanned, StoreError> {
        let mut scanned = self.table.scan(prefix, cursor, page).await?;
        scanned.time = self.later(scanned.time);
        Ok(scanned)
    }
}

struct Dynamo {
    name: String,
    endpoint: String,
    clock: Arc<AtomicU64>,
}

impl Dynamo {
    /// A new table on the server.
    async fn create() -> Self {
        let random = Nonce::random().expect("randomness");
        let dynamo = Self {
            name: format!("conformance-{:x}", u128::from_be_bytes(*random.as_bytes())),
            endpoint: std::env::var("DYNAMODB_ENDPOINT")
                .expect("where moto is: scripts/test-dynamodb says it"),
            clock: Arc::default(),
        };
        let table = json!({
            "AttributeDefinitions": [{ "AttributeName": "k", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "k", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        dynamo
            .table()
            .call("CreateTable", table)
            .await
            .expect("a table");
        let ttl = json!({ "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "ttl" } });
        dynamo
            .table()
            .call("UpdateTimeToLive", ttl)
            .await
            .expect("its expiry");
        dynamo
    }

    fn table(&self) -> DynamoTable {
        // All of the suite's handles are on one machine.
        DynamoTable::new(&self.endpoint, &self.name, Duration::ZERO)
    }

    /// Puts a row there, whatever was before.
    async fn put(&self, key: &Key, value: &[u8]) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let item = json!({ "Item": {
            "k": { "S": key.as_str() },
            "r": { "B": STANDARD.encode(value) },
            "v": { "S": "planted" },
        }});
        self.table().call("PutItem", item).await.expect("a row");
    }
}

impl Subject for Dynamo {
    type Store = CasStore<Tried>;

    async fn store(&self) -> CasStore<Tried> {
        CasStore::new(Tried {
            table: self.table(),
            clock: Arc::clone(&self.clock),
            loss: Mutex::default(),
        })
    }

    async fn elapse(&self, _key: &Key, time: Duration) {
        let time = u64::try_from(time.as_micros()).expect("a time of the suite");
        self.clock.fetch_add(time, Ordering::SeqCst);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        let here = Time::of_this_machine(Duration::ZERO).micros();
        let now = here + self.clock.load(Ordering::SeqCst);
        self.put(key, &cas::value(bytes, now)).await;
        true
    }

    async fn lose(&self, store: &CasStore<Tried>, loss: Loss) -> bool {
        *store.table().loss.lock().expect("no panic") = Some(loss);
        true
    }

    fn max_result(&self) -> usize {
        MAX_RESULT
    }
}

conformance_tests!(Dynamo::create().await);

#[tokio::test]
async fn the_whole_suite_on_one_table() {
    conformance::all(Dynamo::create().await).await;
}

/// What the server refuses, and what is not there, is called by its name.
#[tokio::test]
async fn failures_are_told_as_they_are() {
    let key = Key::new("dynamodb", &[&"key"]).expect("a valid key");
    let kind = |endpoint: &str, table: &str| {
        let store = CasStore::new(DynamoTable::new(endpoint, table, Duration::ZERO));
        let key = key.clone();
        async move { store.read(&key).await.map_err(|error| error.kind()) }
    };
    let dynamo = Dynamo::create().await;
    assert_eq!(
        kind("http://127.0.0.1:1", "none").await,
        Err(StoreErrorKind::NotSent)
    );
    assert_eq!(
        kind(&dynamo.endpoint, "no-such-table").await,
        Err(StoreErrorKind::Config)
    );
    assert_eq!(kind(&dynamo.endpoint, &dynamo.name).await, Ok(None));

    dynamo.put(&key, b"somebody else's").await;
    let read = kind(&dynamo.endpoint, &dynamo.name).await;
    assert_eq!(read, Err(StoreErrorKind::Incompatible));
}
