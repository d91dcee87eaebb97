//! The adapter: load, decide, swap.

use std::{fmt, time::Duration};

use tokio::time;

use super::{CasTable, Loaded, Put, Swapped, Time, value::Stored};
use crate::{
    StoreError, StoreErrorKind,
    backoff::Backoff,
    key::Key,
    record::Record,
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, Page, Settled, Store, Subscription,
        protocol::{self, Current, Step, Write},
    },
};

/// How often a step is tried. Losing a race is rare more than once: the loser finds the winner's
/// record, which usually is its answer.
const TRIES: u32 = 12;
/// Pauses between the tries, except before the second: the write that was in the way has happened.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));

/// A [`Store`] over a [`CasTable`]. It loads a row, lets the [`protocol`](crate::store::protocol)
/// decide, and writes the decision if the row's version is still the same; if not, it decides
/// again.
///
/// It does not guess what became of a write without an answer: it reads the row back. If the row
/// shows what happened, that is the answer. If the row is as before (the write may still arrive),
/// the answer is [`Ambiguous`](StoreErrorKind::Ambiguous), and the runtime asks again with the same
/// nonce.
#[derive(Clone, Default)]
pub struct CasStore<T> {
    table: T,
}

/// Shows what the table [says of itself](CasTable::describe), not the table's fields.
impl<T: CasTable> fmt::Debug for CasStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CasStore")
            .field(&self.table.describe())
            .finish()
    }
}

/// What is unknown when a row is loaded again.
enum Doubt<V> {
    /// Nothing was sent.
    None,
    /// Another write came first. It may be our own, if the client has repeated it: then the row
    /// shows it.
    Conflict,
    /// The write that expected this version had no answer.
    Unanswered(Option<V>, StoreError),
}

impl<T: CasTable> CasStore<T> {
    /// The store that keeps its records in `table`.
    pub const fn new(table: T) -> Self {
        Self { table }
    }

    /// The table.
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// One atomic step on one key. It holds nothing across an await. If it is dropped, the row is
    /// written or not.
    async fn step<R: Send>(
        &self,
        key: &Key,
        decide: impl Fn(Option<Current<'_>>, u64) -> Step<R> + Send + Sync,
    ) -> Result<R, StoreError> {
        let decide = |row: Option<&Stored>, time: Time| {
            decide(row.and_then(|row| row.current(time)), time.reached())
        };
        self.step_on_row(key, decide).await
    }

    async fn step_on_row<R: Send>(
        &self,
        key: &Key,
        decide: impl Fn(Option<&Stored>, Time) -> Step<R> + Send + Sync,
    ) -> Result<R, StoreError> {
        let mut doubt = Doubt::None;
        let mut pauses = PAUSES;
        for tried in 0..TRIES {
            if tried > 1 {
                time::sleep(pauses.pause()).await;
            }
            let was_sent = !matches!(doubt, Doubt::None);
            let loaded = self.table.load(key).await;
            let Loaded { row, time } = loaded.map_err(|error| load_error(error, &doubt))?;
            let (value, version) =
                row.map_or((None, None), |row| (Some(row.value), Some(row.version)));
            if let Doubt::Unanswered(expected, error) = doubt
                && expected == version
            {
                return Err(error);
            }
            let stored = value.as_deref().map(Stored::read).transpose()?;
            let Step { write, reply } = decide(stored.as_ref(), time);
            let Some(write) = write else {
                return Ok(reply);
            };
            let put = dated(write, time);
            doubt = match self.table.swap(key, version.as_ref(), &put).await {
                Ok(Swapped::Stored) => return Ok(reply),
                Ok(Swapped::Conflict) => Doubt::Conflict,
                Err(error) if error.is_ambiguous() => Doubt::Unanswered(version, error),
                // An earlier try may have written what this one was to write again.
                Err(error) if was_sent => return Err(error.of_kind(StoreErrorKind::Ambiguous)),
                Err(error) => return Err(error),
            };
        }
        Err(match doubt {
            Doubt::Unanswered(_, error) => error,
            Doubt::None | Doubt::Conflict => StoreError::new(
                StoreErrorKind::Ambiguous,
                "the row changed too often while it was being written; try again",
            ),
        })
    }
}

/// The error for a row that could not be loaded: ambiguous if a write of the same step may have
/// been carried out.
fn load_error<V>(error: StoreError, doubt: &Doubt<V>) -> StoreError {
    match doubt {
        Doubt::None if error.is_ambiguous() => error.of_kind(StoreErrorKind::NotSent),
        Doubt::None => error,
        Doubt::Conflict => error.of_kind(StoreErrorKind::Ambiguous),
        Doubt::Unanswered(_, unanswered) => unanswered.clone(),
    }
}

/// Dates a write by this machine's clock. The decision was made by the time that all clocks have
/// reached: see [`Time`].
fn dated(write: Write, time: Time) -> Put {
    Put::new(&Write::new(write.record, time.micros()), time)
}

impl<T: CasTable> Store for CasStore<T> {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        let decide = |row: Option<&Stored>, time: Time| {
            let current = row.and_then(|row| row.current(time));
            let ahead = row.map_or(Duration::ZERO, |row| row.ahead(time));
            let step = protocol::claim(current, request, time.reached());
            protocol::redated(step, ahead, time.reached())
        };
        self.step_on_row(key, decide).await
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let decide = |current: Option<Current<'_>>, now| protocol::renew(current, owned, now);
        self.step(key, decide).await
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let decide = |current: Option<Current<'_>>, now| protocol::finish(current, target, now);
        let settled = self.step(key, decide).await?;
        self.table.notify(key).await;
        Ok(settled)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.step(key, protocol::read).await
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let decide =
            |current: Option<Current<'_>>, now| protocol::overrule(current, seen, replacement, now);
        let settled = self.step(key, decide).await?;
        self.table.notify(key).await;
        Ok(settled)
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.table.subscribe(key).await
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let scanned = self.table.scan(&filter.prefix, cursor, filter.page).await;
        let scanned = scanned.map_err(|error| load_error(error, &Doubt::<()>::None))?;
        let found = scanned
            .rows
            .iter()
            .filter_map(|(key, value)| found(key, value, scanned.time, filter));
        Ok(Page::new(found.collect(), scanned.next))
    }

    fn clock(&self) -> Option<u64> {
        self.table.clock()
    }

    fn needs_io(&self) -> bool {
        self.table.needs_io()
    }

    fn describe(&self) -> String {
        self.table.describe()
    }
}

/// The record of a row, if the filter shows it.
fn found(key: &str, value: &[u8], time: Time, filter: &Filter) -> Option<Found> {
    let key = Key::stored(key).filter(|_| key.starts_with(&filter.prefix))?;
    let stored = match Stored::read(value) {
        Ok(stored) => stored,
        Err(error) => {
            return filter
                .shows_unreadable()
                .then(|| Found::new(key, Err(error)));
        }
    };
    let current = protocol::visible(stored.current(time), time.reached())?;
    let left = current.lease_left();
    let record = current.record;
    let is_shown = filter.shows(record.state, left);
    is_shown.then(|| Found::new(key, Ok((record.clone(), left))))
}
