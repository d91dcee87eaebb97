//! Helpers that the tests share.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    Store,
    key::Key,
    record::{Nonce, Record, RecordedBytes, State},
    store::{ClaimReply, ClaimRequest, POSTGRES_SCHEMA, PostgresOptions, PostgresStore},
};
use idempotent_test_support::PostgresServer;
use tokio_postgres::{Client, NoTls};

/// The server of all tests that do it no harm. Its log has every statement, after the name of the program that sent it.
pub(crate) static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| {
    PostgresServer::start_with(&[
        "log_statement=all",
        "log_line_prefix=%a|",
        "max_connections=200",
    ])
});

/// A schema of its own on a server, with the table in it.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) schema: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self::empty(&SERVER);
        place.make_table(&SERVER);
        place
    }

    /// A schema without a table.
    pub(crate) fn empty(server: &PostgresServer) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("place_{}_{number}", std::process::id());
        server.sql(&format!("CREATE SCHEMA {schema}"));
        Self {
            url: server.url(),
            schema,
        }
    }

    pub(crate) fn on(server: &PostgresServer) -> Self {
        let place = Self::empty(server);
        place.make_table(server);
        place
    }

    fn make_table(&self, server: &PostgresServer) {
        server.sql(&POSTGRES_SCHEMA.replace("idempotent_records", &self.table()));
    }

    pub(crate) fn table(&self) -> String {
        format!("{}.records", self.schema)
    }

    /// The place's table for these options.
    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new().with_table(&self.table())
    }

    /// A new handle, with connections of its own.
    pub(crate) fn store(&self) -> PostgresStore {
        self.store_with(self.options())
    }

    pub(crate) fn store_with(&self, options: PostgresOptions) -> PostgresStore {
        let url = format!("{}?application_name={}", self.url, self.schema);
        options.open(&url).expect("a valid URL")
    }

    /// Another program's connection.
    pub(crate) async fn outsider(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls)
            .await
            .expect("the server answers");
        tokio::spawn(async move {
            // It ends with its test, or by a fault.
            let _ = connection.await;
        });
        client
    }

    /// How many statements this place's stores have sent that begin so.
    pub(crate) fn sent(&self, beginning: &str) -> usize {
        let log = SERVER.log();
        let ours = log
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{}|", self.schema)));
        let texts = ours.filter_map(|line| {
            let (_, text) = line.split_once("execute ")?;
            Some(text.split_once(": ")?.1)
        });
        texts.filter(|text| text.starts_with(beginning)).count()
    }
}

pub(crate) fn key(part: &str) -> Key {
    Key::new("payments.charge", &[&part]).expect("a valid key")
}

/// A new attempt.
pub(crate) fn request() -> ClaimRequest {
    ClaimRequest::new(Nonce::random().expect("randomness"))
}

pub(crate) fn done(owned: &Record, result: &[u8]) -> Record {
    let mut record = owned.clone();
    record.state = State::Done;
    record.codec = 7;
    record.outcome = Some(RecordedBytes::Ok(Arc::from(result)));
    record
}

#[track_caller]
pub(crate) fn granted(reply: ClaimReply) -> Record {
    match reply {
        ClaimReply::Granted { record, .. } => record,
        other => panic!("not granted: {other:?}"),
    }
}

/// Claims and completes, as a first call does.
pub(crate) async fn first_call(store: &PostgresStore, key: &Key, result: &[u8]) -> Record {
    let owned = granted(store.claim(key, &request()).await.expect("claim"));
    let finished = store.finish(key, &done(&owned, result)).await;
    finished.expect("finish");
    owned
}

/// Calls until it is answered: a restart takes a busy machine longer than a call waits.
pub(crate) async fn answered_at_last<T, E: std::fmt::Display>(
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut last = String::new();
    for _ in 0..600 {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never answered: {last}");
}
