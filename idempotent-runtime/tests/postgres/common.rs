//! Helpers that the tests share.

use std::{
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use idempotent_runtime::{
    Store,
    key::Key,
    record::{Nonce, Record, RecordedBytes, State},
    store::{
        ClaimReply, ClaimRequest, POSTGRES_SCHEMA, PostgresOptions, PostgresStore, Subscription,
    },
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
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) schema: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::on(&SERVER)
    }

    pub(crate) fn on(server: &PostgresServer) -> Self {
        let place = Self::empty(server);
        server.sql(&POSTGRES_SCHEMA.replace("idempotent_records", &place.table()));
        place
    }

    /// A schema without a table.
    pub(crate) fn empty(server: &PostgresServer) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("place_{}_{number}", std::process::id());
        server.sql(&format!("CREATE SCHEMA {schema}"));
        Self {
            port: server.port(),
            user: "postgres".to_owned(),
            schema,
        }
    }

    pub(crate) fn table(&self) -> String {
        format!("{}.records", self.schema)
    }

    pub(crate) fn url(&self) -> String {
        let Self { port, user, schema } = self;
        format!("postgres://{user}@127.0.0.1:{port}/postgres?application_name={schema}")
    }

    /// What another process needs to know of it: see [`named`].
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.url(), self.table())
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
        options.open(&self.url()).expect("a valid URL")
    }

    /// Another program's connection.
    pub(crate) async fn outsider(&self) -> Client {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .expect("the server answers");
        tokio::spawn(async move {
            // It ends with its test, or by a fault.
            let _ = connection.await;
        });
        client
    }

    /// How many statements this place's stores have sent that contain this text.
    pub(crate) fn sent(&self, text: &str) -> usize {
        let log = SERVER.log();
        let name = format!("{}|", self.schema);
        let mut count = 0;
        let mut statement = None::<String>;
        // A statement may have several lines, of which the first has the name.
        for line in log.lines().chain(["|"]) {
            if line.contains('|') && line.contains("LOG: ") || line == "|" {
                count += usize::from(statement.take().is_some_and(|all| all.contains(text)));
                let ours = line.strip_prefix(&name);
                statement = ours
                    .filter(|line| line.contains("execute "))
                    .map(str::to_owned);
            } else if let Some(statement) = &mut statement {
                statement.push_str(line);
            }
        }
        count
    }

    /// Ends all connections of this place's stores, and answers how many that were.
    pub(crate) fn terminate(&self, server: &PostgresServer) -> usize {
        let ended = server.sql(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{}'",
            self.schema
        ));
        ended.parse().expect("a number")
    }
}

/// The store that another process has named.
pub(crate) fn named(place: &str) -> PostgresStore {
    let (url, table) = place.split_once(' ').expect("a URL and a table");
    let options = PostgresOptions::new().with_table(table);
    options.open(url).expect("a valid URL")
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

/// Polls `future` so many times at most, each time once it has asked to be; whether it is still pending then.
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
