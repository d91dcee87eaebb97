//! Which parts of a server's error text may be shown.
//!
//! A server's text may contain a key, an argument, a value or a user's name, and each release words
//! it differently. So it is never shown as it came. A recognised error is described in our own
//! words; of any other only the code is shown.

use redis::ServerError;

use super::is_transient;
use crate::{StoreError, StoreErrorKind};

/// A right that a user may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// A command, in upper case if it is known.
    Command(Option<&'static str>),
    Key,
    Channel,
}

/// The meaning of a server's error, from a command or within a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The ACL user may not do this.
    Forbidden(Right),
    /// The server has no such command: it is another server, or `rename-command` removed it.
    UnknownCommand,
    /// The server knows the command, but does not run the script as Redis 7 does.
    ScriptFailed,
    /// An argument is longer than the server takes; it hangs up after this answer.
    TooLong,
    /// Anything else.
    Other,
}

/// The commands that the store sends, or has its scripts send, in lower case as servers name them.
const COMMANDS: [(&str, &str); 20] = [
    ("set", "SET"),
    ("get", "GET"),
    ("pttl", "PTTL"),
    ("pexpire", "PEXPIRE"),
    ("time", "TIME"),
    ("evalsha", "EVALSHA"),
    ("eval", "EVAL"),
    ("publish", "PUBLISH"),
    ("spublish", "SPUBLISH"),
    ("subscribe", "SUBSCRIBE"),
    ("ssubscribe", "SSUBSCRIBE"),
    ("unsubscribe", "UNSUBSCRIBE"),
    ("sunsubscribe", "SUNSUBSCRIBE"),
    ("info", "INFO"),
    ("scan", "SCAN"),
    ("select", "SELECT"),
    ("hello", "HELLO"),
    ("script|load", "SCRIPT LOAD"),
    ("cluster|slots", "CLUSTER SLOTS"),
    ("config|get", "CONFIG GET"),
];

/// Texts that contain nothing of the caller's. They are shown as written here if a server's text
/// begins with them.
const HARMLESS: [&str; 17] = [
    "unknown command",
    "Unknown Redis command called from script",
    "Unknown command called from script",
    "unknown subcommand",
    "wrong number of arguments",
    "syntax error",
    "value is not an integer or out of range",
    "invalid expire time",
    "Protocol error: invalid bulk length",
    "Protocol error: invalid multibulk length",
    "max number of clients reached",
    "DB index is out of range",
    "invalid DB index",
    "SELECT is not allowed in cluster mode",
    "This instance has cluster support disabled",
    "Write commands are not allowed from read-only scripts",
    "Error compiling script",
];

/// What the error means.
pub(crate) fn meaning(error: &ServerError) -> Meaning {
    let text = error.details().unwrap_or_default();
    let is_right = error.code() == "NOPERM" || text.starts_with("ACL failure in script");
    // What Redis 7.0 says within scripts.
    let before_7_2 = text.starts_with("The user executing the script can't");
    if is_right || before_7_2 {
        return Meaning::Forbidden(if contains(text, &["access a key", "of the keys"]) {
            Right::Key
        } else if contains(
            text,
            &[
                "access a channel",
                "of the channels",
                "publish to the channel",
            ],
        ) {
            Right::Channel
        } else {
            Right::Command(command(text))
        });
    }
    if contains(text, &["unknown command", "unknown subcommand"])
        || text.starts_with("Unknown Redis command called from script")
        || text.starts_with("Unknown command called from script")
    {
        return Meaning::UnknownCommand;
    }
    if text.starts_with("Protocol error: invalid bulk length") {
        return Meaning::TooLong;
    }
    let is_script = [
        "user_script:",
        "Error compiling script",
        "Error running script",
    ]
    .iter()
    .any(|part| text.contains(part))
        || text.starts_with("Unexpected flag in script shebang")
        || text.starts_with("Unexpected engine in script shebang");
    if error.code() == "ERR" && is_script {
        return Meaning::ScriptFailed;
    }
    Meaning::Other
}

/// The forbidden command that the server names: `… has no permissions to run the 'get' command`.
fn command(text: &str) -> Option<&'static str> {
    // The user's name comes before, and may contain anything.
    let (_, named) = text.rsplit_once("run the '")?;
    let (named, _) = named.split_once('\'')?;
    COMMANDS
        .iter()
        .find_map(|(lower, upper)| (*lower == named).then_some(*upper))
}

fn contains(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

/// The error's code, if it is one: the first word of a proxy's error may be anything.
pub(crate) fn code(error: &ServerError) -> &str {
    shown_code(error.code())
}

pub(crate) fn shown_code(code: &str) -> &str {
    let is_code = (2..=24).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if is_code { code } else { "an error" }
}

/// The rule that grants what a [`Right`] lacks.
pub(crate) fn grant(right: Right) -> String {
    match right {
        Right::Command(Some(command)) => {
            format!("`+{}`", command.to_lowercase().replace(' ', "|"))
        }
        Right::Command(None) => "the rules that `RedisStore` documents".to_owned(),
        Right::Key => "`~idempotent:*`".to_owned(),
        Right::Channel => "`&idempotent:*`".to_owned(),
    }
}

/// The store error for a server's refusal.
pub(crate) fn refused(error: &ServerError, doing: &str, server_name: &str) -> StoreError {
    let (kind, advice) = match meaning(error) {
        Meaning::Forbidden(right) => {
            let grant = grant(right);
            let advice = format!("its ACL user lacks a right; grant {grant}");
            (StoreErrorKind::Refused, advice)
        }
        Meaning::UnknownCommand => (
            StoreErrorKind::Refused,
            "it does not know a command of the store's; is it renamed, or is this a proxy?"
                .to_owned(),
        ),
        Meaning::ScriptFailed => (
            StoreErrorKind::Refused,
            "it does not run the store's scripts as Redis 7 does".to_owned(),
        ),
        Meaning::TooLong => (
            StoreErrorKind::TooLarge,
            "it takes no value of this size; raise `proto-max-bulk-len`".to_owned(),
        ),
        Meaning::Other => match advice(error.code()) {
            Some((kind, advice)) => (kind, advice.to_owned()),
            None => (StoreErrorKind::Refused, harmless(error).to_owned()),
        },
    };
    let code = code(error);
    let error = StoreError::new(
        kind,
        format!("{server_name} refused {doing} ({code}): {advice}"),
    );
    if is_transient(code) {
        error.transient()
    } else {
        error
    }
}

/// The store error for a refused login. A missing right or command will not come with time.
pub(crate) fn login(error: &ServerError, server_name: &str) -> StoreError {
    let told = refused(error, "the connection", server_name);
    match meaning(error) {
        Meaning::Forbidden(_) | Meaning::UnknownCommand => {
            StoreError::new(StoreErrorKind::Config, told.to_string())
        }
        _ => told,
    }
}

/// The store error for a refused database. It will not come with time.
pub(crate) fn select(error: &ServerError, database: i64, server_name: &str) -> StoreError {
    let text = error.details().unwrap_or_default();
    let advice = match meaning(error) {
        Meaning::Forbidden(right) => {
            // If it does not say which right is missing, it can only be this one.
            let right = match right {
                Right::Command(None) => Right::Command(Some("SELECT")),
                right => right,
            };
            let grant = grant(right);
            format!("its ACL user lacks a right; grant {grant}, or use database 0")
        }
        Meaning::UnknownCommand => {
            "it does not know `SELECT`; is it renamed, or is this a proxy? Use database 0".to_owned()
        }
        _ if contains(text, &["DB index", "out of range"]) => format!(
            "it has no database {database}: the number is out of range; name another in the URL, or raise `databases` in \
             the server's configuration"
        ),
        _ if contains(text, &["cluster mode"]) => {
            "it belongs to a cluster, which has database 0 only; use `RedisStore::cluster` (feature `redis-cluster`)"
                .to_owned()
        }
        _ => return refused(error, "SELECT", server_name),
    };
    let code = code(error);
    StoreError::new(
        StoreErrorKind::Config,
        format!("{server_name} refused SELECT ({code}): {advice}"),
    )
}

/// The kind and the advice for known error codes.
fn advice(code: &str) -> Option<(StoreErrorKind, &'static str)> {
    let advice = match code {
        "WRONGTYPE" => {
            return Some((
                StoreErrorKind::Incompatible,
                "the Redis key of this record holds another type than a string: something else uses keys under \
                 `idempotent:`",
            ));
        }
        "OOM" => "it is out of memory; raise `maxmemory`, and keep `maxmemory-policy noeviction`",
        "NOREPLICAS" => "fewer replicas are connected than its `min-replicas-to-write` asks for",
        "MISCONF" => "it cannot save to disk and therefore refuses writes; see its log",
        "READONLY" => {
            "it is a replica; connect to the primary, through Sentinel or Cluster where there is failover"
        }
        "NOAUTH" => "it asks for a password; put user and password into the URL",
        "WRONGPASS" => "user or password are wrong",
        "NOPROTO" => "it does not speak RESP3, which wake-ups need; is this a proxy?",
        "DENIED" => "it is in protected mode; see `protected-mode` in its configuration",
        "LOADING" => "it is still loading its data",
        "BUSY" => "a script of somebody else blocks it",
        "MASTERDOWN" => "its primary is away",
        "CLUSTERDOWN" => "the cluster does not serve this key's slot; see `CLUSTER INFO`",
        "MOVED" | "ASK" => {
            "it belongs to a cluster; use `RedisStore::cluster` (feature `redis-cluster`)"
        }
        "TRYAGAIN" => "this key's slot is being moved",
        _ => return None,
    };
    Some((StoreErrorKind::Refused, advice))
}

fn harmless(error: &ServerError) -> &'static str {
    let text = error.details().unwrap_or_default();
    HARMLESS
        .iter()
        .find(|known| text.starts_with(*known))
        .copied()
        .unwrap_or("its own words are not shown, as they may hold keys or names")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(reply: &str) -> ServerError {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        let redis::Value::ServerError(error) = value else {
            panic!("an error")
        };
        error
    }

    fn told(reply: &str) -> StoreError {
        refused(&error(reply), "a claim", "Redis at cache:6379")
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
                "ERR unknown subcommand 'X'. Try HELP.",
                StoreErrorKind::Refused,
                "does not know",
            ),
            (
                "ERR max number of clients reached",
                StoreErrorKind::Refused,
                "max number of clients",
            ),
            (
                "ERR Protocol error: invalid bulk length",
                StoreErrorKind::TooLarge,
                "proto-max-bulk-len",
            ),
            ("NEWCODE something 4711", StoreErrorKind::Refused, "NEWCODE"),
        ] {
            let error = told(reply);
            assert_eq!(error.kind(), kind, "{reply}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    /// Each as Redis 7.0, Redis 8 and Valkey 9 word it.
    #[test]
    fn a_missing_right_is_told_alike_by_every_release_within_scripts_and_outside() {
        let get = Right::Command(Some("GET"));
        for (reply, right, advice) in [
            (
                "NOPERM this user has no permissions to run the 'get' command",
                get,
                "`+get`",
            ),
            (
                "NOPERM User 4711 has no permissions to run the 'get' command",
                get,
                "`+get`",
            ),
            (
                "ERR ACL failure in script: User 4711 has no permissions to run the 'get' command script: on \
                 @user_script:1.",
                get,
                "`+get`",
            ),
            (
                "ERR ACL failure in script: User run the 'set' has no permissions to run the 'script|load' command",
                Right::Command(Some("SCRIPT LOAD")),
                "`+script|load`",
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: f21, on @user_script:1.",
                Right::Command(None),
                "documents",
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Right::Key,
                "~",
            ),
            (
                "ERR ACL failure in script: No permissions to access a key script: on @user_script:1.",
                Right::Key,
                "~",
            ),
            (
                "ERR The user executing the script can't access at least one of the keys mentioned in the command",
                Right::Key,
                "~",
            ),
            (
                "NOPERM No permissions to access a channel",
                Right::Channel,
                "&",
            ),
            (
                "ERR The user executing the script can't publish to the channel mentioned in the command",
                Right::Channel,
                "&",
            ),
        ] {
            assert_eq!(meaning(&error(reply)), Meaning::Forbidden(right), "{reply}");
            let told = told(reply).to_string();
            assert!(told.contains("ACL") && told.contains(advice), "{told}");
            assert!(!told.contains("4711"), "{told}");
        }
    }

    #[test]
    fn no_key_argument_value_or_user_is_shown() {
        for reply in [
            "ERR unknown command 'EVALSHA', with args beginning with: 'hash' '1' 'idempotent:charge|4711'",
            "ERR cannot write idempotent:charge|4711 now",
            "ERR quota of tenant 4711 exceeded",
            "NOPERM User 4711 has no permissions to run the 'set' command",
            "NOPERM User a has no permissions to run the '4711' command",
            "WRONGPASS invalid username-password pair for 4711",
            "T4711 is not a code",
            "t4711: proxy failure",
            "SOMECODE of 4711",
            "ERR user_script:1: 4711 script: on @user_script:1.",
        ] {
            let error = told(reply);
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
            let error = told(soon);
            assert!(error.is_transient() && !error.is_ambiguous(), "{soon}");
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{soon}");
        }
        for never in [
            "NOPERM User x has no permissions",
            "OOM command not allowed",
            "ERR x",
        ] {
            assert!(!told(never).is_transient(), "{never}");
        }
    }
}
