//! What SQLite's errors mean for the record.

use rusqlite::{Error, ffi, ffi::ErrorCode};

use crate::{StoreError, StoreErrorKind};

/// SQLite's general error, mostly for a missing table or column.
const SQLITE_ERROR: i32 = 1;
/// A file ends in the middle of a page. Mostly it is the `-wal` or `-shm` of another file: the
/// database was deleted or replaced, and what stood beside it was not.
const SQLITE_IOERR_SHORT_READ: i32 = 522;

/// The part of a transaction in which an error occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At its beginning. The lock was not acquired, and nothing was tried.
    Begin,
    /// Between its beginning and its commit. It is rolled back, and nothing changed.
    Before,
    /// During its commit. If the disk failed, the commit may still be found after a restart.
    Commit,
}

/// Why a transaction failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) stage: Stage,
}

impl Failure {
    pub(super) fn at(stage: Stage) -> impl Fn(Error) -> Self {
        move |error| Self { error, stage }
    }

    /// The store's error for this failure, in the file called `name`.
    pub(super) fn explain(self, name: &str) -> StoreError {
        explain(self.error, name, self.stage)
    }
}

/// The store's error for an error of SQLite, about the file called `name`.
pub(super) fn explain(error: Error, name: &str, stage: Stage) -> StoreError {
    let Some(&ffi::Error {
        code,
        extended_code,
    }) = error.sqlite_error()
    else {
        let reason = format!("{name} has a table of other columns than this release's");
        return StoreError::new(StoreErrorKind::Config, reason).with_source(error);
    };
    let (kind, reason) = meaning(code, extended_code, stage);
    let text = format!("{name} {reason} (SQLite error {extended_code})");
    let is_transient = matches!(
        code,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed
    );
    let error = StoreError::new(kind, text).with_source(error);
    if is_transient && kind == StoreErrorKind::Refused {
        error.transient()
    } else {
        error
    }
}

fn meaning(code: ErrorCode, extended_code: i32, stage: Stage) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Ambiguous, Config, Refused, TooLarge};
    match (code, stage) {
        (
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
            _,
        ) => (
            Refused,
            "is locked for writing by another program, and has been for seconds; is a transaction left open there?",
        ),
        (ErrorCode::DiskFull, _) => (Refused, "has no room: the disk is full"),
        (ErrorCode::OutOfMemory, _) => (Refused, "has no memory to work with"),
        (ErrorCode::TooBig, _) => (TooLarge, "takes no value of this size"),
        (ErrorCode::ReadOnly, _) => (
            Config,
            "is read-only: give this process the right to write to the file and to its directory",
        ),
        (ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied, _) => {
            (Config, "may not be accessed by this process")
        }
        (ErrorCode::CannotOpen, _) => (
            Config,
            "cannot be opened: is its directory there, may this process write to it, and is it no directory itself?",
        ),
        (ErrorCode::NotADatabase, _) => (
            Config,
            "is no SQLite database, or an encrypted one: name another file",
        ),
        (ErrorCode::DatabaseCorrupt, _) => (
            Config,
            "is damaged: stop all programs that use it and restore it from a backup, or try `.recover` of the sqlite3 shell",
        ),
        (ErrorCode::SystemIoFailure, Stage::Begin | Stage::Before)
            if extended_code == SQLITE_IOERR_SHORT_READ =>
        {
            (
                Config,
                "does not fit the `-wal` and `-shm` beside it: was it deleted or replaced while another program had it open? Stop \
                 all programs that use it, put the file back if you still have it, and start them again",
            )
        }
        (ErrorCode::SystemIoFailure, Stage::Begin | Stage::Before) => {
            (Refused, "could not be read or written: the disk failed")
        }
        (ErrorCode::SystemIoFailure, Stage::Commit) => (
            Ambiguous,
            "could not be written: the disk failed during a commit, which may have been carried out",
        ),
        _ if extended_code == SQLITE_ERROR => (
            Config,
            "has not the table that this store needs: call `SqliteStore::migrate`, or run SQLITE_SCHEMA",
        ),
        (_, Stage::Begin | Stage::Before) => (Refused, "refused a statement"),
        (_, Stage::Commit) => (Ambiguous, "gave no answer to a commit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(extended: i32, stage: Stage) -> StoreError {
        explain(
            Error::SqliteFailure(ffi::Error::new(extended), None),
            "SQLite at a.db",
            stage,
        )
    }

    #[test]
    fn each_code_says_whether_something_changed() {
        use StoreErrorKind::{Ambiguous, Config, Refused, TooLarge};
        // BUSY, BUSY_RECOVERY, LOCKED, FULL, NOMEM; READONLY, CANTOPEN, NOTADB, CORRUPT, ERROR;
        // TOOBIG
        for stage in [Stage::Before, Stage::Commit] {
            for (codes, kind) in [
                (&[5, 261, 6, 13, 7][..], Refused),
                (&[8, 14, 26, 11, 1][..], Config),
                (&[18][..], TooLarge),
            ] {
                for code in codes {
                    assert_eq!(explained(*code, stage).kind(), kind, "{code}");
                }
            }
        }
        // IOERR_WRITE, IOERR_FSYNC, and what has no meaning here
        for code in [778, 1034, 19] {
            assert_eq!(explained(code, Stage::Before).kind(), Refused, "{code}");
            assert_eq!(explained(code, Stage::Commit).kind(), Ambiguous, "{code}");
        }
        assert!(explained(5, Stage::Before).is_transient());
        assert!(!explained(13, Stage::Before).is_transient());
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let text = explained(14, Stage::Before).to_string();
        assert!(
            text.starts_with("SQLite at a.db cannot be opened"),
            "{text}"
        );
        assert!(explained(1, Stage::Before).to_string().contains("migrate"));
    }
}
