//! What redis-rs' errors mean for a record.

use redis::{ErrorKind, RedisError, ServerError};

use super::scripts::PREFIX;
use crate::{StoreError, StoreErrorKind};

/// A command's failure.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error: nothing changed.
    Refused(ServerError),
    /// No connection could be had, or none to this purpose: nothing was sent.
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
    pub(super) fn explain(self, doing: &str, place: &str) -> StoreError {
        match self {
            Self::NotSent(error) => error,
            Self::Refused(error) => refused(&error, doing, place),
            Self::Unanswered(error) if error.is_timeout() => StoreError::new(
                StoreErrorKind::Ambiguous,
                format!(
                    "{place} did not answer in time while {doing}; it may have been carried out"
                ),
            ),
            Self::Unanswered(error) if error.code().is_some() => StoreError::new(
                StoreErrorKind::Ambiguous,
                format!(
                    "{place} cannot serve {doing} at the moment ({}); it may have been carried out",
                    error.code().unwrap_or_default()
                ),
            ),
            Self::Unanswered(error) => StoreError::new(
                StoreErrorKind::Ambiguous,
                format!(
                    "the connection to {place} was lost while {doing}; it may have been carried out"
                ),
            )
            .with_source(error),
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

/// The server's refusal. Its own text is shown only where it cannot contain a key, an argument or a user's name.
fn refused(error: &ServerError, doing: &str, place: &str) -> StoreError {
    let code = error.code();
    let advice = match code {
        "WRONGTYPE" => {
            return StoreError::new(
                StoreErrorKind::Incompatible,
                "the Redis key of this record holds another type than a string: something else uses keys under \
                 `idempotent:`",
            );
        }
        "OOM" => "it is out of memory; raise `maxmemory`, and keep `maxmemory-policy noeviction`",
        "NOREPLICAS" => "fewer replicas are connected than its `min-replicas-to-write` asks for",
        "MISCONF" => "it cannot save to disk and therefore refuses writes; see its log",
        "READONLY" => {
            "it is a replica; connect to the primary, through Sentinel or Cluster where there is failover"
        }
        "NOPERM" => "its ACL user lacks a right; `RedisStore` documents the rules that are needed",
        "NOAUTH" => "it asks for a password; put user and password into the URL",
        "WRONGPASS" => "user or password are wrong",
        "LOADING" => "it is still loading its data",
        "BUSY" => "a script of somebody else blocks it",
        "MASTERDOWN" => "its primary is away",
        "CLUSTERDOWN" => "the cluster does not serve this key's slot; see `CLUSTER INFO`",
        "MOVED" | "ASK" => {
            "it belongs to a cluster; use `RedisStore::cluster` (feature `redis-cluster`)"
        }
        "TRYAGAIN" => "this key's slot is being moved",
        _ => return refused_otherwise(error, doing, place),
    };
    let error = StoreError::new(
        StoreErrorKind::Refused,
        format!("{place} refused {doing} ({code}): {advice}"),
    );
    if is_transient(code) {
        error.transient()
    } else {
        error
    }
}

/// Whether a server that answers with this code expects to serve soon.
pub(super) fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "BUSY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN"
    )
}

fn refused_otherwise(error: &ServerError, doing: &str, place: &str) -> StoreError {
    let detail = error.details().unwrap_or_default();
    // "unknown command 'X', with args beginning with: 'the key'"
    let detail = detail.split(", with args").next().unwrap_or_default();
    let detail = if detail.contains(PREFIX) { "" } else { detail };
    let code = error.code();
    StoreError::new(
        StoreErrorKind::Refused,
        format!("{place} refused {doing} ({code} {detail})"),
    )
}

/// A connection that could not be made: nothing was sent on it.
pub(super) fn connecting(error: RedisError, place: &str) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::AuthenticationFailed => StoreErrorKind::Refused,
        ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => StoreErrorKind::Config,
        _ => StoreErrorKind::NotSent,
    };
    match ServerError::try_from(error) {
        Ok(error) => refused(&error, "the connection", place),
        Err(_) if kind == StoreErrorKind::Refused => StoreError::new(
            kind,
            format!("{place} refused the connection: user or password are wrong"),
        ),
        Err(error) if error.is_connection_refusal() => StoreError::new(
            kind,
            format!("{place} does not accept connections; is the server running?"),
        )
        .with_source(error),
        Err(error) => {
            StoreError::new(kind, format!("cannot connect to {place}")).with_source(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(reply: &str) -> StoreError {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        let error = value.extract_error().expect_err("an error");
        Failure::from(error).explain("a claim", "Redis at cache:6379")
    }

    #[test]
    fn a_refusal_names_its_code_and_what_to_do() {
        for (reply, kind, part) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                StoreErrorKind::Refused,
                "maxmemory",
            ),
            (
                "NOAUTH Authentication required.",
                StoreErrorKind::Refused,
                "password",
            ),
            (
                "READONLY You can't write against a read only replica.",
                StoreErrorKind::Refused,
                "replica",
            ),
            (
                "CLUSTERDOWN Hash slot not served",
                StoreErrorKind::Refused,
                "CLUSTER INFO",
            ),
            (
                "WRONGTYPE Operation against a key",
                StoreErrorKind::Incompatible,
                "another type",
            ),
            (
                "ERR unknown subcommand",
                StoreErrorKind::Refused,
                "unknown subcommand",
            ),
        ] {
            let error = explained(reply);
            assert_eq!(error.kind(), kind, "{reply}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn no_key_argument_or_user_is_shown() {
        for reply in [
            "ERR unknown command 'EVALSHA', with args beginning with: 'hash' '1' 'idempotent:charge|4711'",
            "ERR cannot write idempotent:charge|4711 now",
            "NOPERM User 4711 has no permissions to run the 'set' command",
            "WRONGPASS invalid username-password pair for 4711",
        ] {
            let error = explained(reply);
            assert_eq!(error.kind(), StoreErrorKind::Refused);
            assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        }
    }

    #[test]
    fn a_server_that_expects_to_serve_soon_is_told_from_one_that_refuses() {
        for soon in [
            "BUSY Redis is busy running a script.",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down",
            "CLUSTERDOWN Hash slot not served",
            "TRYAGAIN Multiple keys request during rehashing of slot",
        ] {
            let error = explained(soon);
            assert!(error.is_transient() && !error.is_ambiguous(), "{soon}");
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{soon}");
        }
        for never in [
            "NOPERM User x has no permissions",
            "OOM command not allowed",
            "ERR x",
        ] {
            assert!(!explained(never).is_transient(), "{never}");
        }
    }

    #[test]
    fn what_has_no_answer_may_have_been_carried_out() {
        for kind in [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::TimedOut] {
            let error = Failure::from(RedisError::from(std::io::Error::from(kind)));
            assert!(error.explain("a claim", "Redis").is_ambiguous());
        }
    }
}
