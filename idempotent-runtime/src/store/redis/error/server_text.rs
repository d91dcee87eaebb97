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

/// The store error for a server that has as many clients as it takes.
pub(crate) fn too_many_clients(server_name: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::NotSent,
        format!(
            "cannot connect to {server_name}: it has as many clients as its `maxclients` allows; raise that, or let fewer \
             connect"
        ),
    )
}

/// The store error for a refused login. A missing right or command will not come with time.
pub(crate) fn login(error: &ServerError, server_name: &str) -> StoreError {
    let text = error.details().unwrap_or_default();
    if text.starts_with("max number of clients reached") {
        return too_many_clients(server_name);
    }
    let refusal = refused(error, "the connection", server_name);
    match meaning(error) {
        Meaning::Forbidden(_) | Meaning::UnknownCommand => {
            StoreError::new(StoreErrorKind::Config, refusal.to_string())
        }
        _ => refusal,
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
             the server's configuration (of a Valkey cluster `cluster-databases`)"
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
