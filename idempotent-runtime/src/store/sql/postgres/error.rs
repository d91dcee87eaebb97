//! What PostgreSQL's errors mean for the record. The code of an error (SQLSTATE) decides, never its text, which is shown
//! nowhere: it may repeat a key.

use std::io;

use tokio_postgres::{
    Error,
    error::{Severity, SqlState},
};

use crate::{StoreError, StoreErrorKind, store::sql::table::TableName};

/// A statement's failure.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error. If it `ended` the connection, it may have carried the statement out before.
    Answered { code: SqlState, ended: bool },
    /// There was no connection: nothing was sent.
    NotSent(StoreError),
    /// No answer, or one that cannot be read.
    Unanswered(Lost),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    Late,
    Connection(Option<io::Error>),
}

impl Failure {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Answered { code, .. } => Some(code),
            Self::NotSent(_) | Self::Unanswered(_) => None,
        }
    }

    /// Another transaction was in the way. Nothing changed, and the same statement may be sent again at once.
    pub(super) fn is_conflict(&self) -> bool {
        let code = self.code();
        code == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
            || code == Some(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// A prepared statement is not there, or is there already: others use the same session, through a pooler.
    pub(super) fn is_of_a_shared_session(&self) -> bool {
        let code = self.code();
        code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME)
            || code == Some(&SqlState::DUPLICATE_PSTATEMENT)
    }

    /// Whether another connection may do better: this one leads to a server that takes no writes any more, has plans of an
    /// older table, or does not answer.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Answered { code, ended } => {
                *ended
                    || *code == SqlState::READ_ONLY_SQL_TRANSACTION
                    || *code == SqlState::FEATURE_NOT_SUPPORTED
                    || self.is_of_a_shared_session()
            }
            Self::Unanswered(_) => true,
            Self::NotSent(_) => false,
        }
    }

    /// The store's error for this failure while `doing` something.
    pub(super) fn explain(self, doing: &str, server_name: &str, table: &TableName) -> StoreError {
        match self {
            Self::NotSent(error) => error,
            Self::Answered { code, ended: true } => StoreError::new(
                StoreErrorKind::Ambiguous,
                format!(
                    "{server_name} ended the connection during {doing}; it may have been carried out (SQLSTATE {})",
                    code.code()
                ),
            ),
            Self::Answered { code, ended: false } => answered(&code, doing, server_name, table),
            Self::Unanswered(Lost::Late) => StoreError::new(
                StoreErrorKind::Ambiguous,
                format!(
                    "{server_name} did not answer in time during {doing}; it may have been carried out"
                ),
            ),
            Self::Unanswered(Lost::Connection(cause)) => {
                let reason = format!(
                    "the connection to {server_name} was lost during {doing}; it may have been carried out"
                );
                with_cause(StoreError::new(StoreErrorKind::Ambiguous, reason), cause)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Some(server) = error.as_db_error() else {
            return Self::Unanswered(Lost::Connection(io_cause(error)));
        };
        let ended = match server.parsed_severity() {
            Some(Severity::Fatal | Severity::Panic) => true,
            Some(_) => false,
            None => matches!(server.severity(), "FATAL" | "PANIC"),
        };
        Self::Answered {
            code: server.code().clone(),
            ended: ended || is_about_the_connection(server.code()),
        }
    }
}

/// The classes 08 and 57P: shutdowns, crashes, and what poolers say of a connection that broke; and "completion unknown".
fn is_about_the_connection(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("08") || code.starts_with("57P") || code == "40003"
}

/// The operating system's error, if that is the cause.
pub(super) fn io_cause(error: Error) -> Option<io::Error> {
    let cause = error.into_source()?.downcast::<io::Error>().ok()?;
    Some(*cause)
}

pub(super) fn with_cause(told: StoreError, cause: Option<io::Error>) -> StoreError {
    match cause {
        Some(cause) => told.with_source(cause),
        None => told,
    }
}

/// The error of a statement that the server rolled back: nothing changed.
fn answered(code: &SqlState, doing: &str, server_name: &str, table: &TableName) -> StoreError {
    let (kind, reason, is_transient) = meaning(code.code(), table);
    let told = StoreError::new(
        kind,
        format!(
            "{server_name} refused {doing}: {reason} (SQLSTATE {})",
            code.code()
        ),
    );
    if is_transient { told.transient() } else { told }
}

fn meaning(code: &str, table: &TableName) -> (StoreErrorKind, String, bool) {
    use StoreErrorKind::{Config, Refused};
    let told = |kind, reason: &str, is_transient| (kind, reason.to_owned(), is_transient);
    match code {
        "55P03" => told(
            Refused,
            "another transaction holds the row, and has for a second",
            true,
        ),
        "40001" | "40P01" => told(
            Refused,
            "other transactions were in the way each time",
            true,
        ),
        "25006" => told(
            Refused,
            "it takes no writes at the moment: a standby, or `default_transaction_read_only`",
            true,
        ),
        "57014" => told(
            Refused,
            "the statement was cancelled, or took longer than `statement_timeout`",
            false,
        ),
        "0A000" => told(Refused, "the table was altered; ask again", true),
        "53100" => told(Refused, "its disk is full", false),
        "53200" => told(Refused, "it is out of memory", false),
        // Also where it refuses all writes until a vacuum, or its queue of notifications is full. The
        // result is sent again.
        "54000" => told(Refused, "a limit of it is reached", true),
        "54001" => told(Refused, "a statement needs more stack than it has", false),
        "42P01" => (
            Config,
            format!(
                "there is no table `{table}`: call `PostgresStore::migrate`, or run POSTGRES_SCHEMA"
            ),
            false,
        ),
        "42501" => (
            Config,
            format!(
                "this user may not use it: GRANT SELECT, INSERT, UPDATE, DELETE ON {table}, and USAGE on its schema"
            ),
            false,
        ),
        "42703" | "42P10" | "42804" => (
            Config,
            format!(
                "`{table}` has other columns than this library's table: run POSTGRES_SCHEMA under another name"
            ),
            false,
        ),
        "3F000" => told(Config, "the table's schema does not exist", false),
        "42601" => (
            Config,
            format!("`{table}` is a word of SQL: name the table otherwise"),
            false,
        ),
        "22021" | "22P05" => told(
            Config,
            "the database's encoding cannot hold this key: use one with the encoding UTF8",
            false,
        ),
        _ if code.starts_with("28") => told(Config, "it does not let this user in", false),
        _ if code.starts_with("53") => told(Refused, "it has no resources left", true),
        _ => told(Refused, "nothing changed", false),
    }
}

/// The store's error where no connection came about.
pub(super) fn connecting(error: Error, server_name: &str) -> StoreError {
    let Some(code) = error.code().cloned() else {
        // The texts of the driver itself, without those of its sources.
        let reason = format!("cannot connect to {server_name}: {error}");
        let is_set_up_wrongly =
            std::error::Error::source(&error).is_some_and(|source| !source.is::<io::Error>());
        return if is_set_up_wrongly {
            let source = error.into_source().map(|source| source.to_string());
            let reason = format!("{reason}: {}", source.unwrap_or_default());
            StoreError::new(StoreErrorKind::Config, reason)
        } else {
            with_cause(
                StoreError::new(StoreErrorKind::NotSent, reason),
                io_cause(error),
            )
        };
    };
    let (kind, reason, is_transient) = match code.code() {
        "3D000" => (StoreErrorKind::Config, "there is no such database", false),
        "57P03" => (
            StoreErrorKind::Refused,
            "it is starting up, or shutting down",
            true,
        ),
        "53300" => (
            StoreErrorKind::Refused,
            "it has no connection left: raise `max_connections`, or lower `PostgresOptions::with_connections`",
            true,
        ),
        text if text.starts_with("28") => (
            StoreErrorKind::Config,
            "it does not let this user in: check user, password and pg_hba.conf",
            false,
        ),
        "42501" => (
            StoreErrorKind::Config,
            "this user may not connect to the database, or not use the table's schema",
            false,
        ),
        _ => (StoreErrorKind::Refused, "it refused the connection", false),
    };
    let told = StoreError::new(
        kind,
        format!(
            "cannot connect to {server_name}: {reason} (SQLSTATE {})",
            code.code()
        ),
    );
    if is_transient { told.transient() } else { told }
}
