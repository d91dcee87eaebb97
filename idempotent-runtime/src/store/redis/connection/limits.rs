//! The largest value that the server takes.
//!
//! A server closes the connection on which a larger value arrives, and with it every call that
//! shares the connection. So a value known to be too large is not sent, and one that may be is sent
//! on a connection of its own.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::{Cmd, Value};

use crate::{StoreError, StoreErrorKind, store::redis::scripts};

/// Smaller values pass every limit that a server can have, except limits on the memory of clients.
const HARMLESS: u64 = 512 * 1024;

/// The room for what shares a client's buffer with a value: the rest of its command, and the
/// beginning of the next.
const BUFFER_OVERHEAD: u64 = 64 * 1024;

const BULK: &str = "proto-max-bulk-len";
const QUERY: &str = "client-query-buffer-limit";
const OUTPUT: &str = "client-output-buffer-limit";
const CLIENTS: &str = "maxmemory-clients";
const MEMORY: &str = "maxmemory";

/// How long a refusal is remembered if the server does not tell its limits, which may be raised.
const REFUSAL_MEMORY: Duration = Duration::from_secs(10);

/// How many attempts that lost a connection with a large value are remembered. Beyond that, the
/// loss counts as an outage.
const MAX_SUSPECTS: usize = 64;

/// The limits in a server's configuration; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerLimits(Option<Bounds>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    largest: u64,
    /// The setting that says so.
    by: &'static str,
    /// Larger ones are sent apart.
    apart: u64,
}

impl ServerLimits {
    /// Whether a value is larger than the server takes.
    pub(crate) fn refuses(self, size: usize) -> bool {
        self.0.is_some_and(|bounds| size as u64 > bounds.largest)
    }

    /// Whether a value may make the server hang up, so that it gets a connection of its own.
    pub(crate) fn needs_own_connection(self, size: usize) -> bool {
        size as u64 > self.0.map_or(HARMLESS, |bounds| bounds.apart)
    }
}

/// What happened to large values, for servers that do not tell their limits.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// The size of a value that was refused for its size, and when.
    refused: Mutex<Option<(u64, Instant)>>,
    /// The nonces of attempts whose large value once closed its connection.
    lost: Mutex<Vec<[u8; 16]>>,
}

impl Limits {
    /// Asks for the settings that limit a value.
    pub(crate) fn question() -> Cmd {
        let mut question = redis::cmd("CONFIG");
        question
            .arg("GET")
            .arg(&[BULK, QUERY, OUTPUT, CLIENTS, MEMORY]);
        question
    }

    /// Refuses a value whose `size` the server would not take.
    pub(crate) fn check(
        &self,
        server_limits: ServerLimits,
        size: usize,
        server_name: &str,
    ) -> Result<(), StoreError> {
        let size = size as u64;
        if let Some(Bounds { largest, by, .. }) = server_limits.0 {
            return if size <= largest {
                Ok(())
            } else {
                Err(too_large(
                    size,
                    &format!(
                        "{server_name} takes at most {largest} by its `{by}`, so it was not sent"
                    ),
                ))
            };
        }
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused {
            Some((least, when)) if size >= least && when.elapsed() < REFUSAL_MEMORY => {
                Err(too_large(
                    size,
                    &format!("{server_name} has just refused one of {least}, so it was not sent"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Remembers that the server refused a value of this size.
    pub(crate) fn refuse(&self, size: usize) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let size = size as u64;
        let least = refused.map_or(size, |(least, _)| least.min(size));
        *refused = Some((least, Instant::now()));
    }

    /// Remembers that the connection closed while this attempt's value was sent. Returns `true` the
    /// second time.
    pub(crate) fn note_lost_connection(&self, attempt: [u8; 16]) -> bool {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = lost.iter().position(|known| *known == attempt) {
            lost.remove(index);
            return true;
        }
        if lost.len() == MAX_SUSPECTS {
            lost.remove(0);
        }
        lost.push(attempt);
        false
    }
}

/// The error for a value that is not sent, or not sent again.
pub(crate) fn too_large(size: u64, why: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::TooLarge,
        format!(
            "a record of {size} bytes is too large ({why}); keep results smaller, lower `max_result`, or raise the \
             server's limit"
        ),
    )
}

/// The limits in an answer to [`Limits::question`]; none where it was refused.
pub(crate) fn parse(answer: &Value) -> ServerLimits {
    ServerLimits(bounds(answer))
}

fn bounds(answer: &Value) -> Option<Bounds> {
    let setting = |name: &str| find(answer, name);
    let number = |name: &str| setting(name)?.parse::<u64>().ok();
    let mut largest = (number(BULK)?, BULK);
    let mut narrow = |limit: u64, by| {
        if limit < largest.0 {
            largest = (limit, by);
        }
    };
    let mut apart = u64::MAX;
    if let Some(limit) = number(QUERY).filter(|limit| *limit > 0) {
        narrow(limit.saturating_sub(BUFFER_OVERHEAD), QUERY);
    }
    // Replays count towards this limit, and two answers may be buffered.
    let output = setting(OUTPUT).and_then(|limits| hard_limit(&limits));
    if let Some(limit) = output.filter(|limit| *limit > 0) {
        narrow(limit / 2, OUTPUT);
        apart = apart.min(limit / 8);
    }
    let clients = setting(CLIENTS).and_then(|limit| match limit.strip_suffix('%') {
        Some(percent) => Some(number(MEMORY)? / 100 * percent.parse::<u64>().ok()?),
        None => limit.parse().ok(),
    });
    // A client's buffer keeps the size of its last value. The server evicts the largest client
    // first.
    if let Some(limit) = clients.filter(|limit| *limit > 0) {
        narrow((limit / 2).saturating_sub(BUFFER_OVERHEAD).max(1), CLIENTS);
        apart = apart.min(limit / 8);
    }
    let (largest, by) = largest;
    Some(Bounds { largest, by, apart })
}

/// The hard limit of `normal HARD SOFT SECONDS slave …`.
fn hard_limit(limits: &str) -> Option<u64> {
    let mut words = limits.split_whitespace();
    words.find(|word| *word == "normal")?;
    words.next()?.parse().ok()
}

/// The setting in an answer of either protocol.
fn find(answer: &Value, name: &str) -> Option<String> {
    let text = |value: &Value| {
        let bytes = scripts::text(value.clone())?;
        String::from_utf8(bytes).ok()
    };
    match answer {
        Value::Map(pairs) => pairs
            .iter()
            .find(|(key, _)| text(key).as_deref() == Some(name))
            .and_then(|(_, value)| text(value)),
        Value::Array(words) => words
            .chunks_exact(2)
            .find(|pair| text(&pair[0]).as_deref() == Some(name))
            .and_then(|pair| text(&pair[1])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn answer(settings: &[(&str, &str)]) -> Value {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Map(
            settings
                .iter()
                .map(|(name, value)| (bulk(name), bulk(value)))
                .collect(),
        )
    }

    #[test]
    fn the_narrowest_of_a_servers_limits_counts() {
        let bulk = ("proto-max-bulk-len", "536870912");
        for (setting, largest) in [
            (("maxmemory", "0"), 512 * MIB),
            (
                ("client-query-buffer-limit", "1048576"),
                MIB - BUFFER_OVERHEAD,
            ),
            (("maxmemory-clients", "0"), 512 * MIB),
            (("maxmemory-clients", "1048576"), MIB / 2 - BUFFER_OVERHEAD),
            (
                (
                    "client-output-buffer-limit",
                    "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
                ),
                512 * MIB,
            ),
            (
                (
                    "client-output-buffer-limit",
                    "slave 1 1 1 normal 8388608 0 0",
                ),
                4 * MIB,
            ),
        ] {
            let told = bounds(&answer(&[setting, bulk])).expect("it is told");
            assert_eq!(told.largest, largest, "{setting:?}");
        }
        let percent = [
            bulk,
            ("maxmemory-clients", "5%"),
            ("maxmemory", "104857600"),
        ];
        let told = bounds(&answer(&percent)).expect("it is told");
        assert_eq!(told.largest, 5 * MIB / 2 - BUFFER_OVERHEAD);
    }

    #[test]
    fn exactly_the_limit_is_taken() {
        let limits = Limits::default();
        let told = parse(&answer(&[("proto-max-bulk-len", "1048576")]));
        assert!(
            limits
                .check(ServerLimits::default(), usize::MAX, "Redis")
                .is_ok()
        );
        assert!(limits.check(told, 1_048_576, "Redis").is_ok());
        let error = limits
            .check(told, 1_048_577, "Redis")
            .expect_err("too large");
        assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    }

    #[test]
    fn where_the_server_would_not_say_a_refusal_teaches() {
        let limits = Limits::default();
        let told = parse(&Value::Nil);
        assert!(told.needs_own_connection(600 * 1024) && !told.needs_own_connection(100 * 1024));
        limits.refuse(2_000_000);
        assert!(limits.check(told, 1_999_999, "Redis").is_ok());
        assert!(limits.check(told, 2_000_000, "Redis").is_err());
    }

    #[test]
    fn a_second_loss_of_the_same_attempt_is_its_own() {
        let limits = Limits::default();
        assert!(!limits.note_lost_connection([1; 16]) && !limits.note_lost_connection([2; 16]));
        assert!(limits.note_lost_connection([1; 16]) && limits.note_lost_connection([2; 16]));
        for attempt in 0..100 {
            assert!(!limits.note_lost_connection([attempt; 16]));
        }
    }
}
