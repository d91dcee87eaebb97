//! Maps redis-rs' errors to store errors.

pub(super) mod server_text;
#[cfg(test)]
mod server_text_tests;

use redis::{ErrorKind, RedisError, ServerError};

use self::server_text::{login, refused, shown_code};
use crate::{StoreError, StoreErrorKind};

/// The longest foreign text that an error shows.
const MAX_SHOWN: usize = 200;

/// A command's failure.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error: nothing changed.
    Refused(ServerError),
    /// There was no connection, or none for this purpose: nothing was sent.
    NotSent(StoreError),
    /// No answer, or one that cannot be read.
    Unanswered(RedisError),
}

impl Failure {
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => Some(error.code()),
            Self::NotSent(_) | Self::Unanswered(_) => None,
        }
    }

    /// The server takes no new data, but still answers.
    pub(super) fn refuses_writes(&self) -> bool {
        matches!(self.code(), Some("OOM" | "NOREPLICAS" | "MISCONF"))
    }

    /// The store's error for this failure while `doing` something.
    pub(super) fn explain(self, doing: &str, server_name: &str) -> StoreError {
        match self {
            Self::NotSent(error) => error,
            Self::Refused(error) => refused(&error, doing, server_name),
            Self::Unanswered(error) => unanswered(&error, doing, server_name),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self::Refused(error)
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match ServerError::try_from(error) {
            Ok(error) => Self::Refused(error),
            Err(error) => Self::Unanswered(error),
        }
    }
}

/// Whether a server that answers with this code expects to serve soon.
pub(super) fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "BUSY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN"
    )
}

fn unanswered(error: &RedisError, doing: &str, server_name: &str) -> StoreError {
    let message = if error.is_timeout() {
        format!("{server_name} did not answer in time during {doing}")
    } else if let Some(code) = error.code() {
        let code = shown_code(code);
        format!("{server_name} cannot serve {doing} at the moment ({code})")
    } else if error.kind() == ErrorKind::Parse {
        // The server's error may repeat what it was sent, and so may not be UTF-8.
        format!(
            "{server_name} gave an answer to {doing} that cannot be read; is there a proxy between?"
        )
    } else {
        format!(
            "the connection to {server_name} was lost during {doing} ({})",
            cause(error)
        )
    };
    let message = format!("{message}; it may have been carried out");
    with_cause(StoreError::new(StoreErrorKind::Ambiguous, message), error)
}

/// Adds the error as the source, if all of it may be shown.
fn with_cause(told: StoreError, error: &RedisError) -> StoreError {
    if is_plain_io(error) {
        told.with_source(error.clone())
    } else {
        told
    }
}

/// Whether it is an error of the operating system or of TLS. Only redis-rs' own errors have
/// details, and those may be a server's text.
fn is_plain_io(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io && error.detail().is_none()
}

/// The cause, in one bounded line without anything of the caller's.
pub(super) fn cause(error: &RedisError) -> String {
    if error.kind() != ErrorKind::Io {
        return error.category().to_owned();
    }
    let text = error.to_string();
    // "what the library says - Io: its details"
    let text = text.split(" - Io").next().unwrap_or_default();
    text.chars()
        .filter(|character| !character.is_control())
        .take(MAX_SHOWN)
        .collect()
}

/// The error for a connection that could not be made: nothing was sent.
pub(super) fn connecting(error: RedisError, server_name: &str) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::AuthenticationFailed => StoreErrorKind::Refused,
        ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => StoreErrorKind::Config,
        _ => StoreErrorKind::NotSent,
    };
    match ServerError::try_from(error) {
        Ok(error) => login(&error, server_name),
        Err(_) if kind == StoreErrorKind::Refused => StoreError::new(
            kind,
            format!("{server_name} refused the connection: user or password are wrong"),
        ),
        Err(error) if error.is_connection_refusal() => {
            let message =
                format!("{server_name} does not accept connections; is the server running?");
            with_cause(StoreError::new(kind, message), &error)
        }
        Err(error) => {
            let hint = if error.is_connection_dropped() {
                "; a server that has as many clients as its `maxclients` allows does this too"
            } else {
                ""
            };
            let message = format!("cannot connect to {server_name} ({}){hint}", cause(&error));
            with_cause(StoreError::new(kind, message), &error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, io};

    use super::*;

    #[test]
    fn what_has_no_answer_may_have_been_carried_out() {
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::TimedOut] {
            let error = Failure::from(RedisError::from(io::Error::from(kind)));
            assert!(error.explain("a claim", "Redis").is_ambiguous());
        }
    }

    #[test]
    fn an_answer_that_is_not_utf8_is_no_lost_connection() {
        let reply = b"-ERR unknown command 'X', with args beginning with: '\xff\xfe'\r\n";
        let error = redis::parse_redis_value(reply).expect_err("not UTF-8");
        let error = Failure::from(error).explain("a claim", "Redis at cache:6379");
        assert!(error.is_ambiguous());
        assert!(error.to_string().contains("cannot be read"), "{error}");
        assert!(!error.to_string().contains("lost"), "{error}");
    }

    #[test]
    fn a_failed_connection_names_the_address_and_the_cause() {
        let error = io::Error::other("invalid peer certificate: UnknownIssuer");
        let error = connecting(error.into(), "Redis at cache:6379");
        assert_eq!(
            error.to_string(),
            "cannot connect to Redis at cache:6379 (invalid peer certificate: UnknownIssuer)"
        );
        let error = RedisError::from((ErrorKind::Io, "Connection timed out"));
        let error = connecting(error, "Redis at cache:6379");
        assert!(
            error.to_string().contains("(Connection timed out)"),
            "{error}"
        );
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let error =
            Failure::from(RedisError::from(reset)).explain("a claim", "Redis at cache:6379");
        assert!(error.to_string().contains("(connection reset)"), "{error}");
    }

    /// redis-rs puts a server's text into an error's details.
    #[test]
    fn no_detail_of_the_librarys_errors_is_shown() {
        for kind in [
            ErrorKind::Io,
            ErrorKind::Client,
            ErrorKind::UnexpectedReturnType,
            ErrorKind::ClusterConnectionNotFound,
            ErrorKind::AuthenticationFailed,
            ErrorKind::InvalidClientConfig,
        ] {
            let inner = || RedisError::from((kind, "It failed", "User 4711".to_owned()));
            let lost = Failure::from(inner()).explain("a claim", "Redis");
            for error in [connecting(inner(), "Redis"), lost] {
                let source = error.source().map(ToString::to_string);
                assert!(
                    !format!("{error} {error:?} {source:?}").contains("4711"),
                    "{error}"
                );
            }
        }
    }
}
