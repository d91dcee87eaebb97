//! The texts of servers of many releases, and what is shown of them.

use redis::ServerError;

use super::server_text::*;
use crate::{StoreError, StoreErrorKind};

fn error(reply: &str) -> ServerError {
    let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
    let redis::Value::ServerError(error) = value else {
        panic!("an error")
    };
    error
}

fn explained(reply: &str) -> StoreError {
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
        let error = explained(reply);
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
        let text = explained(reply).to_string();
        assert!(text.contains("ACL") && text.contains(advice), "{text}");
        assert!(!text.contains("4711"), "{text}");
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
