//! Lists records in pages: `SCAN` on each primary, and the values in pipelines. No command takes
//! long, however many records there are.

use std::sync::Arc;

use redis::Value;

#[cfg(feature = "redis-cluster")]
use super::connection::target::Target;
use super::{
    RedisStore,
    connection::{liveness::Connection, per_runtime::Hub},
    scripts::{self, Answer, PREFIX},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    store::{Cursor, Filter, Found, Page},
};

/// The most keys that one `SCAN` examines; more if few of them are records.
const MAX_EXAMINED: usize = 1_000;
/// The most `SCAN`s for one page that finds nothing.
const SCANS: usize = 8;
/// The most values in one pipeline: each may be as large as a result.
const VALUES: usize = 32;
/// The cursor at which a scan begins, and with which it ends.
const START: &str = "0";

pub(super) async fn list(
    store: &RedisStore,
    filter: &Filter,
    cursor: Option<&Cursor>,
) -> Result<Page<Found>, StoreError> {
    let hub = store.hub()?;
    #[cfg(feature = "redis-cluster")]
    if let Target::Cluster(_) = store.inner.connector.target {
        return cluster::list(store, &hub, filter, cursor).await;
    }
    let at = cursor.map_or(START, Cursor::as_str);
    let connection = store.connection(&hub, None).await?;
    let (records, next) = page(store, &hub, &connection, filter, at).await?;
    Ok(Page::new(
        records,
        (next != START).then(|| Cursor::new(next)),
    ))
}

/// A page of one server's records from `at` on, and the cursor of the next.
async fn page(
    store: &RedisStore,
    hub: &Arc<Hub>,
    connection: &Connection,
    filter: &Filter,
    at: &str,
) -> Result<(Vec<Found>, String), StoreError> {
    if at.is_empty() || !at.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(foreign_cursor());
    }
    let mut at = at.to_owned();
    let mut count = filter.page.clamp(1, MAX_EXAMINED);
    let mut keys = Vec::new();
    for _ in 0..SCANS {
        (at, keys) = scan(store, connection, filter, &at, count).await?;
        if !keys.is_empty() || at == START {
            break;
        }
        count = (count * 4).min(MAX_EXAMINED);
    }
    let mut records = Vec::new();
    for keys in keys.chunks(VALUES) {
        read_all(store, hub, connection, keys, filter, &mut records).await?;
    }
    Ok((records, at))
}

async fn scan(
    store: &RedisStore,
    connection: &Connection,
    filter: &Filter,
    at: &str,
    count: usize,
) -> Result<(String, Vec<Key>), StoreError> {
    let mut command = redis::cmd("SCAN");
    command
        .arg(at)
        .arg("MATCH")
        .arg(pattern(&filter.prefix))
        .arg("COUNT")
        .arg(count);
    let answer = connection.send(&command).await;
    let answer = answer.map_err(|failure| failure.explain("a listing", store.server_name()))?;
    let Value::Array(parts) = answer else {
        return Err(scripts::unexpected());
    };
    let Ok([next, Value::Array(names)]) = <[Value; 2]>::try_from(parts) else {
        return Err(scripts::unexpected());
    };
    let next = text(next).ok_or_else(scripts::unexpected)?;
    // Keys of connection trials are not records.
    let mut keys: Vec<_> = names
        .into_iter()
        .filter_map(|name| Key::stored(text(name)?.strip_prefix(PREFIX)?))
        .collect();
    keys.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    keys.dedup();
    Ok((next, keys))
}

/// Reads several records, each as [`RedisStore::look`] does.
async fn read_all(
    store: &RedisStore,
    hub: &Arc<Hub>,
    connection: &Connection,
    keys: &[Key],
    filter: &Filter,
    found: &mut Vec<Found>,
) -> Result<(), StoreError> {
    let mut questions = redis::pipe();
    for key in keys {
        questions.add_command(scripts::READ.by_hash(key, &[]));
    }
    let answers = connection.send_all(&questions, keys.len()).await;
    let answers = answers.map_err(|failure| failure.explain("a listing", store.server_name()))?;
    for (key, answer) in keys.iter().zip(answers) {
        let record = match answer {
            // The server does not know the script, or the slot has moved. Read on its own, the
            // record is found.
            Value::ServerError(_) => store.look(hub, key).await,
            answer => Answer::parse(answer).and_then(|answer| answer.visible()),
        };
        match record {
            Ok(Some((record, left))) if filter.shows(record.state, left) => {
                found.push(Found::new(key.clone(), Ok((record, left))));
            }
            Ok(_) => {}
            Err(error) if error.kind() == StoreErrorKind::Incompatible => {
                if filter.shows_unreadable() {
                    found.push(Found::new(key.clone(), Err(error)));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A pattern for the keys that begin with this text, with its special characters escaped.
fn pattern(prefix: &str) -> String {
    let mut pattern = PREFIX.to_owned();
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(scripts::text(value)?).ok()
}

fn foreign_cursor() -> StoreError {
    StoreError::new(
        StoreErrorKind::Config,
        "this cursor is not one that a listing of this store ended with",
    )
}

#[cfg(feature = "redis-cluster")]
mod cluster {
    //! Lists one primary after the other. If a slot has another owner at the end than at the
    //! beginning, it may have been missed, so the listing starts over. Keys that move during a
    //! migration which outlasts the listing are not seen.

    use std::sync::Arc;

    use super::super::connection::{per_runtime::Hub, slot_map::Slots};
    use super::{START, foreign_cursor, page};
    use crate::{
        StoreError,
        store::{Cursor, Filter, Found, Page, redis::RedisStore},
    };

    /// The contents of a cursor: the slots' owners, the node and its position, and the nodes that
    /// are done.
    struct Position {
        owners: u64,
        at: String,
        node: String,
        done: Vec<String>,
    }

    impl Position {
        fn read(cursor: &Cursor) -> Option<Self> {
            let mut words = cursor.as_str().split(' ').map(str::to_owned);
            Some(Self {
                owners: words.next()?.parse().ok()?,
                at: words.next()?,
                node: words.next()?,
                done: words.collect(),
            })
        }

        fn cursor(&self) -> Cursor {
            let mut text = format!("{} {} {}", self.owners, self.at, self.node);
            for done in &self.done {
                text.push(' ');
                text.push_str(done);
            }
            Cursor::new(text)
        }

        /// The start of a listing, on the first node.
        fn first(slots: &Slots) -> Option<Self> {
            Some(Self {
                owners: slots.owners_digest(),
                at: START.to_owned(),
                node: slots.primaries().first()?.to_string(),
                done: Vec::new(),
            })
        }

        /// The position after a page that ended at `next`; `None` at the end.
        fn after(mut self, next: String, slots: &Slots) -> Option<Self> {
            self.at = next;
            if self.at == START {
                self.done.push(self.node);
                let mut others = slots.primaries().iter().map(ToString::to_string);
                self.node = others.find(|node| !self.done.contains(node))?;
            }
            Some(self)
        }
    }

    pub(super) async fn list(
        store: &RedisStore,
        hub: &Arc<Hub>,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let connector = &store.inner.connector;
        let position = match cursor {
            Some(cursor) => Some(Position::read(cursor).ok_or_else(foreign_cursor)?),
            None => None,
        };
        let slots = hub.cluster.slots_now(hub, connector).await?;
        let position = position.filter(|position| position.owners == slots.owners_digest());
        let Some(position) = position.or_else(|| Position::first(&slots)) else {
            return Ok(Page::new(Vec::new(), None));
        };
        let address = slots
            .primaries()
            .iter()
            .find(|address| address.to_string() == position.node)
            .ok_or_else(foreign_cursor)?;
        let node = hub.cluster.node(address);
        let connection = node.connection(hub, connector, None).await?;
        let (records, next) = page(store, hub, &connection, filter, &position.at).await?;
        let owners = position.owners;
        let mut next = position.after(next, &slots);
        if next.is_none() {
            let slots = hub.cluster.slots_now(hub, connector).await?;
            next = Position::first(&slots).filter(|_| slots.owners_digest() != owners);
        }
        Ok(Page::new(records, next.map(|position| position.cursor())))
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_prefix_matches_itself_whatever_is_in_it() {
        assert_eq!(pattern(""), "idempotent:*");
        assert_eq!(pattern("a*b?[c]\\"), "idempotent:a\\*b\\?\\[c\\]\\\\*");
    }
}
