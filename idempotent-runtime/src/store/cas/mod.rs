//! A store over any database with conditional puts: load a row with its version, write it if the
//! version is still the same.
//!
//! You write a [`CasTable`]: two methods, each one request to the database. [`CasStore`] makes a
//! [`Store`](super::Store) of it: it adds the protocol's decisions, the retries, and the care for
//! lost answers. [WRITING_A_STORE] shows one from the first line to the last.
//!
//! ```
//! use std::{collections::HashMap, sync::Mutex, time::Duration};
//! use idempotent_fn::{
//!     SharedStore, StoreError,
//!     key::Key,
//!     store::cas::{CasStore, CasTable, Loaded, Put, Row, Swapped, Time},
//! };
//!
//! /// A database with conditional puts: here, a map under a lock. Each value has the number of its writing.
//! #[derive(Default)]
//! struct Table(Mutex<(u64, HashMap<String, (u64, Vec<u8>)>)>);
//!
//! impl CasTable for Table {
//!     type Version = u64;
//!
//!     async fn load(&self, key: &Key) -> Result<Loaded<u64>, StoreError> {
//!         let table = self.0.lock().unwrap();
//!         let row = table.1.get(key.as_str()).map(|(version, value)| Row::new(value.clone(), *version));
//!         Ok(Loaded::new(row, Time::of_this_machine(Duration::ZERO)))
//!     }
//!
//!     async fn swap(&self, key: &Key, expected: Option<&u64>, put: &Put) -> Result<Swapped, StoreError> {
//!         let (writings, rows) = &mut *self.0.lock().unwrap();
//!         if rows.get(key.as_str()).map(|(version, _)| version) != expected {
//!             return Ok(Swapped::Conflict);
//!         }
//!         *writings += 1;
//!         rows.insert(key.as_str().to_owned(), (*writings, put.value.clone()));
//!         Ok(Swapped::Stored)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), idempotent_fn::Error> {
//! let store = SharedStore::new(CasStore::new(Table::default()));
//! # let charge = || idempotent_fn::operation::<Result<u64, idempotent_fn::Error>, _>("payments.charge", &[&42]);
//! # charge().store(&store).run(async { Ok(1) }).await?;
//! # assert_eq!(charge().store(&store).run(async { Ok(2) }).await?, 1);
//! # Ok(()) }
//! ```
//!
//! [WRITING_A_STORE]: https://github.com/idempotent-fn/idempotent-fn/blob/main/docs/WRITING_A_STORE.md

mod store;
mod time;
mod value;

use std::{fmt, future::Future};

pub use store::CasStore;
pub use time::Time;
pub use value::value;

use super::{Cursor, Subscription, protocol::Write};
use crate::{StoreError, StoreErrorKind, key::Key};

/// A database's table, or anything else that keeps one value per key and writes it on a condition.
///
/// # Contract
/// 1. **Loads see every acknowledged write**, of every process: no replica, no cache, no eventually
///    consistent read.
/// 2. **A swap is one atomic step** on the database: nothing comes between its condition and its
///    writing. Keys do not wait for each other.
/// 3. **A version stands for one writing of one key**, and never comes back: not after an equal
///    number of writes, and not after the row was deleted. A counter that starts again with a new
///    row breaks this; a random number, a revision of the whole database, or a hash of the value
///    does not.
/// 4. **The value comes back byte for byte**, and keys are compared byte for byte.
/// 5. **Rows stay** until [`Put::delete_at`]. They may stay longer: [`CasStore`] knows which it
///    takes for absent.
/// 6. **Errors are honest**, see [`swap`](Self::swap). A client that repeats requests on its own is
///    best told not to.
/// 7. **A future may be dropped** at any await; what it has sent may or may not be carried out.
pub trait CasTable: Send + Sync + 'static {
    /// Identifies one writing of a row. It is compared with the version of a later load.
    type Version: PartialEq + Send + Sync;

    /// The row of `key`, if there is one, and the time: see [`Time`].
    ///
    /// # Errors
    /// An error of any kind means that nothing was read. A load changes nothing, so a missing
    /// answer is not [`Ambiguous`](StoreErrorKind::Ambiguous): [`CasStore`] turns that into
    /// [`NotSent`](StoreErrorKind::NotSent).
    fn load(
        &self,
        key: &Key,
    ) -> impl Future<Output = Result<Loaded<Self::Version>, StoreError>> + Send;

    /// Writes the row of `key` if its version is still `expected`; for `None`, if there is no row.
    ///
    /// # Errors
    /// Whether the row was written is all that counts:
    ///
    /// | what happened | kind |
    /// |---|---|
    /// | the request did not leave: no connection | [`NotSent`](StoreErrorKind::NotSent) |
    /// | no answer, or one that does not say whether it was written: a timeout, a connection that broke, most 5xx | [`Ambiguous`](StoreErrorKind::Ambiguous) |
    /// | the database says that it has not written it: throttled, no rights, no room | [`Refused`](StoreErrorKind::Refused), with [`transient`](StoreError::transient) if it will soon |
    /// | the value is too large for it | [`TooLarge`](StoreErrorKind::TooLarge) |
    /// | there is no such table, or another mistake that waiting does not mend | [`Config`](StoreErrorKind::Config) |
    ///
    /// When in doubt: `Ambiguous`. A condition that does not hold is not an error but
    /// [`Swapped::Conflict`].
    fn swap(
        &self,
        key: &Key,
        expected: Option<&Self::Version>,
        put: &Put,
    ) -> impl Future<Output = Result<Swapped, StoreError>> + Send;

    /// Rows whose key's text begins with `prefix`, about `page` of them, starting at `cursor`: for
    /// [`Store::list`](super::Store::list). The order is yours. Rows that are there all the time
    /// are shown at least once.
    ///
    /// By default it answers [`Config`](StoreErrorKind::Config): this table cannot be listed.
    fn scan(
        &self,
        prefix: &str,
        cursor: Option<&Cursor>,
        page: usize,
    ) -> impl Future<Output = Result<Scanned, StoreError>> + Send {
        let _ = (prefix, cursor, page);
        let reason = "this store cannot list its records";
        std::future::ready(Err(StoreError::new(StoreErrorKind::Config, reason)))
    }

    /// As [`Store::subscribe`](super::Store::subscribe). By default waiters poll.
    fn subscribe(
        &self,
        key: &Key,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send {
        let _ = key;
        std::future::ready(Ok(Subscription::polling()))
    }

    /// Wakes the subscribers of `key` in every process: its row has been written. A failure is not
    /// reported, because waiters also poll, only less often. By default nobody is told.
    fn notify(&self, key: &Key) -> impl Future<Output = ()> + Send {
        let _ = key;
        std::future::ready(())
    }

    /// As [`Store::clock`](super::Store::clock).
    fn clock(&self) -> Option<u64> {
        None
    }

    /// As [`Store::needs_io`](super::Store::needs_io), but by default it does.
    fn needs_io(&self) -> bool {
        true
    }

    /// As [`Store::describe`](super::Store::describe).
    fn describe(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }
}

/// What a load found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded<V> {
    /// The row, if there is one.
    pub row: Option<Row<V>>,
    /// The time, read with the row or right after it.
    pub time: Time,
}

impl<V> Loaded<V> {
    /// This row, or none, at this time.
    #[must_use]
    pub const fn new(row: Option<Row<V>>, time: Time) -> Self {
        Self { row, time }
    }
}

/// A row of the table.
#[derive(Clone)]
#[non_exhaustive]
pub struct Row<V> {
    /// Its value: what [`Put::value`] was.
    pub value: Vec<u8>,
    /// Which writing of the row this is.
    pub version: V,
}

impl<V> Row<V> {
    /// A row with this value and version.
    #[must_use]
    pub const fn new(value: Vec<u8>, version: V) -> Self {
        Self { value, version }
    }
}

/// Shows how long the value is, and none of it.
impl<V: fmt::Debug> fmt::Debug for Row<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("version", &self.version)
            .finish()
    }
}

/// What is to be written.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Put {
    /// The row's whole value: a record's bytes, and eight more bytes that say when it was written.
    pub value: Vec<u8>,
    /// When the row may be deleted, in microseconds since 1970: for the database's own expiry, or
    /// for a job that deletes old rows.
    pub delete_at: u64,
}

impl Put {
    fn new(write: &Write, time: Time) -> Self {
        // Twice the bound: the clock that deletes may be ahead of the writer's by the bound, and a
        // reader's clock behind it by the bound.
        let spare = time::micros(time.bound().saturating_mul(2));
        Self {
            value: value(&write.bytes(), time.micros()),
            delete_at: write.delete_at(time.micros()).saturating_add(spare),
        }
    }

    /// [`delete_at`](Self::delete_at) in whole seconds, rounded up.
    #[must_use]
    pub const fn delete_at_secs(&self) -> u64 {
        self.delete_at.div_ceil(1_000_000)
    }
}

/// Shows how long the value is, and none of it.
impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("delete_at", &self.delete_at)
            .finish()
    }
}

/// The result of a swap that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Swapped {
    /// The row is written.
    Stored,
    /// The row's version was another: nothing is written.
    Conflict,
}

/// A part of a table. It may be empty although others follow.
#[derive(Clone)]
#[non_exhaustive]
pub struct Scanned {
    /// Keys' texts ([`Key::as_str`]) with their values.
    pub rows: Vec<(String, Vec<u8>)>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<Cursor>,
    /// The time, as in [`Loaded`].
    pub time: Time,
}

impl Scanned {
    /// These rows, read at this time.
    #[must_use]
    pub const fn new(rows: Vec<(String, Vec<u8>)>, next: Option<Cursor>, time: Time) -> Self {
        Self { rows, next, time }
    }
}

/// Shows no key.
impl fmt::Debug for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanned")
            .field("rows", &self.rows.len())
            .field("next", &self.next)
            .field("time", &self.time)
            .finish()
    }
}
