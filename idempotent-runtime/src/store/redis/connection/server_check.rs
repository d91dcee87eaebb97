//! Checks that a server is fit to keep records.

use redis::Value;

use crate::{StoreError, StoreErrorKind, store::redis::scripts::text};

/// The first version with scripts' flags, `SET NX GET` and shard channels.
const MIN_VERSION: u32 = 7;

/// Checks a server's answers to `INFO server` and `INFO memory`; `None` if it refused.
pub(crate) fn check(
    server: Option<&str>,
    memory: Option<&str>,
    allow_eviction: bool,
) -> Result<(), StoreError> {
    match server.and_then(version) {
        Some(Version::Valkey) => {}
        Some(Version::Redis { major, .. }) if major >= MIN_VERSION => {}
        Some(Version::Redis { text, .. }) => {
            return Err(config(format!(
                "this server is Redis {text}; version 7.0 or later, or Valkey, is needed"
            )));
        }
        None => crate::store::warning::warn(
            "the Redis server would not tell its version (ACL without `+info`?); 7.0 or later is needed",
        ),
    }
    match memory.and_then(eviction) {
        Some(policy) if allow_eviction => crate::store::warning::warn(&format!(
            "the Redis server evicts keys when memory is full (`maxmemory-policy {policy}`); an evicted record lets its \
             operation run again"
        )),
        Some(policy) => {
            return Err(config(format!(
                "this Redis server evicts keys when memory is full (`maxmemory-policy {policy}`), and an evicted record \
                 lets its operation run again; set `maxmemory-policy noeviction`, or say `allow_eviction(true)`"
            )));
        }
        None if memory.is_none() => crate::store::warning::warn(
            "the Redis server would not tell its eviction policy (ACL without `+info`?); `noeviction` is needed",
        ),
        None => {}
    }
    Ok(())
}

fn config(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Config, message)
}

#[derive(Debug, PartialEq, Eq)]
enum Version<'a> {
    Redis { major: u32, text: &'a str },
    Valkey,
}

fn version(info: &str) -> Option<Version<'_>> {
    // Every Valkey is new enough; for old clients it also reports a Redis version.
    if field(info, "valkey_version").is_some() || field(info, "server_name") == Some("valkey") {
        return Some(Version::Valkey);
    }
    let text = field(info, "redis_version")?;
    let major = text.split('.').next()?.parse().ok()?;
    Some(Version::Redis { major, text })
}

/// The server's eviction policy, if it evicts.
fn eviction(info: &str) -> Option<&str> {
    let limited = field(info, "maxmemory")? != "0";
    field(info, "maxmemory_policy").filter(|policy| limited && *policy != "noeviction")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// The text of an `INFO` answer; `None` if it was refused.
pub(crate) fn info(value: Value) -> Option<String> {
    String::from_utf8(text(value)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(server: &str, memory: &str, allow_eviction: bool) -> Result<(), String> {
        check(Some(server), Some(memory), allow_eviction).map_err(|error| {
            assert_eq!(error.kind(), StoreErrorKind::Config);
            error.to_string()
        })
    }

    const REDIS_7: &str = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\n";
    const UNLIMITED: &str =
        "# Memory\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:allkeys-lru\r\n";

    #[test]
    fn a_current_server_passes() {
        assert_eq!(judge(REDIS_7, UNLIMITED, false), Ok(()));
        assert_eq!(judge("redis_version:10.1.0\r\n", UNLIMITED, false), Ok(()));
    }

    #[test]
    fn an_old_server_is_refused_by_its_version() {
        for old in ["6.2.14", "5.0.7", "2.8.24"] {
            let error =
                judge(&format!("redis_version:{old}\r\n"), UNLIMITED, false).expect_err(old);
            assert!(error.contains(old), "{error}");
        }
    }

    #[test]
    fn a_valkey_passes_whatever_redis_it_calls_itself() {
        assert_eq!(
            judge(
                "redis_version:6.9.9\r\nserver_name:valkey\r\n",
                UNLIMITED,
                false
            ),
            Ok(())
        );
        assert_eq!(
            judge(
                "redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n",
                UNLIMITED,
                false
            ),
            Ok(())
        );
    }

    #[test]
    fn eviction_is_refused_unless_allowed() {
        let evicts = "maxmemory:1048576\r\nmaxmemory_policy:volatile-lru\r\n";
        let error = judge(REDIS_7, evicts, false).expect_err("evicts");
        assert!(
            error.contains("volatile-lru") && error.contains("allow_eviction"),
            "{error}"
        );
        assert_eq!(judge(REDIS_7, evicts, true), Ok(()));
        assert_eq!(
            judge(
                REDIS_7,
                "maxmemory:1048576\r\nmaxmemory_policy:noeviction\r\n",
                false
            ),
            Ok(())
        );
    }

    #[test]
    fn a_server_that_would_not_say_is_used() {
        assert!(check(None, None, false).is_ok());
    }
}
