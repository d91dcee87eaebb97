//! What a statement's failure means for a call in its caller's transaction.

use super::{Dialect, Failure};
use crate::{
    Error, StoreError,
    StoreErrorKind::{self, Config, NotSent, Refused},
    error::OperationId,
};

impl Failure {
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

/// Whether another transaction has the key, and for longer than is waited for it.
pub(super) fn is_taken(failure: &Failure, dialect: Dialect) -> bool {
    dialect == Dialect::Postgres && failure.is("55P03")
}

/// The error of a call whose body has not run.
pub(super) fn before(operation: OperationId, failure: Failure, dialect: Dialect) -> Error {
    Error::store(operation, explain(failure, dialect))
}

/// The error of a call whose body has run: of what it did nothing stays.
pub(super) fn uncommitted(operation: OperationId, failure: Failure, dialect: Dialect) -> Error {
    Error::Uncommitted {
        operation,
        source: explain(failure, dialect),
    }
}

fn explain(failure: Failure, dialect: Dialect) -> StoreError {
    let code = failure.code.as_deref().unwrap_or_default();
    let (kind, reason) = match dialect {
        Dialect::Postgres => postgres(code),
        Dialect::Sqlite => sqlite(code),
    };
    let kind = if code.is_empty() { NotSent } else { kind };
    let error = StoreError::new(kind, reason);
    let error = match kind {
        Refused if is_passing(code, dialect) => error.transient(),
        _ => error,
    };
    error.with_source(failure)
}

/// Whether the same transaction, begun again, may well succeed.
fn is_passing(code: &str, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Postgres => matches!(code, "40001" | "40P01" | "55P03"),
        Dialect::Sqlite => matches!(code, "5" | "6" | "261" | "517"),
    }
}

fn postgres(code: &str) -> (StoreErrorKind, String) {
    let (kind, reason) = match code {
        "" => (
            Refused,
            "the connection gave no answer: the transaction is over, begin again on another",
        ),
        "40001" => (
            Refused,
            "another transaction came first: the transaction is over, roll back and begin again",
        ),
        "40P01" => (
            Refused,
            "two transactions waited for each other: this one is over, roll back and begin again",
        ),
        "55P03" => (
            Refused,
            "another transaction has the row, and `lock_timeout` is over: roll back and begin again",
        ),
        "25P02" => (
            Refused,
            "an earlier statement of the transaction has failed: roll back and begin again",
        ),
        "42P01" | "42703" | "3F000" => (
            Config,
            "the transaction does not see the table of the records: run POSTGRES_SCHEMA in your migrations, or \
             `PostgresStore::migrate`; or its schema is not in the search path",
        ),
        "42501" => (
            Config,
            "the role needs SELECT, INSERT, UPDATE and DELETE on the table of the records, and USAGE on its schema",
        ),
        "25006" => (
            Refused,
            "the transaction is read-only: begin one that writes, on the primary",
        ),
        _ => (
            Refused,
            "the transaction refused a statement: roll back and begin again",
        ),
    };
    (kind, with_code(reason, "SQLSTATE", code))
}

fn sqlite(code: &str) -> (StoreErrorKind, String) {
    let (kind, reason) = match code {
        "5" | "6" | "261" => (
            Refused,
            "the file is locked for writing by another transaction: roll back and begin again, by BEGIN IMMEDIATE",
        ),
        "517" => (
            Refused,
            "another transaction has written since this one began to read: roll back and begin again, by BEGIN IMMEDIATE",
        ),
        "1" => (
            Config,
            "the file has not the table of the records: run SQLITE_SCHEMA in your migrations, or `SqliteStore::migrate`",
        ),
        "8" => (
            Config,
            "the file is read-only: open it for writing, with the right to write to its directory",
        ),
        "13" => (Refused, "the file has no room: the disk is full"),
        _ => (
            Refused,
            "the transaction refused a statement: roll back and begin again",
        ),
    };
    (kind, with_code(reason, "SQLite error", code))
}

fn with_code(reason: &str, what: &str, code: &str) -> String {
    if code.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason} ({what} {code})")
    }
}
