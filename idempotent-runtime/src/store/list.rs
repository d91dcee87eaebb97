//! Looking at many records at once: for operators and their tools.

use std::time::Duration;

use super::SharedStore;
use crate::{
    Inspection, StoreError,
    key::Key,
    record::{Record, State},
};

/// Which records a listing shows.
///
/// ```
/// use idempotent_runtime::{record::State, store::Filter};
///
/// // Everything of `payments.…` whose owner has been silent for longer than its lease.
/// let stuck = Filter::new().prefix("payments.").state(State::Running).lapsed(true);
/// # let _ = stuck;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// What the scope begins with; to a [`Store`](super::Store), what [`Key::as_str`] begins with. Empty for all.
    pub prefix: String,
    /// Records in this state only.
    pub state: Option<State>,
    /// `true`: only running records whose lease is over; `false`: all but these.
    pub lapsed: Option<bool>,
    /// How many records a page has, more or less.
    pub page: usize,
}

impl Filter {
    /// About so many records make a page, where nothing else was said.
    pub const DEFAULT_PAGE: usize = 100;

    /// All records, in pages of [`DEFAULT_PAGE`](Self::DEFAULT_PAGE).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            prefix: String::new(),
            state: None,
            lapsed: None,
            page: Self::DEFAULT_PAGE,
        }
    }

    /// Records of the scopes that begin like this.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Records in this state only.
    #[must_use]
    pub const fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// `true`: only running records whose owner has been silent for longer than its lease; `false`: all but these.
    #[must_use]
    pub const fn lapsed(mut self, lapsed: bool) -> Self {
        self.lapsed = Some(lapsed);
        self
    }

    /// About how many records a page has; at least 1.
    #[must_use]
    pub const fn page(mut self, records: usize) -> Self {
        self.page = if records == 0 { 1 } else { records };
        self
    }

    /// Whether a record in this state is shown, with this much of its lease left. Stores ask it of each record that is not
    /// past its end, after the key's [`prefix`](Self::prefix).
    #[must_use]
    pub fn shows(&self, state: State, lease_left: Duration) -> bool {
        let lapsed = state == State::Running && lease_left.is_zero();
        self.state.is_none_or(|wanted| wanted == state)
            && self.lapsed.is_none_or(|wanted| wanted == lapsed)
    }

    /// Whether what cannot be read is shown: where nothing is asked of a record's state.
    #[must_use]
    pub const fn shows_unreadable(&self) -> bool {
        self.state.is_none() && self.lapsed.is_none()
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the next page begins. It means something to the store that gave it, while its process lives; it may show parts
/// of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor with this text, which only its store understands.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of a listing. It may be empty though others follow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// What it shows.
    pub records: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page, and where the next one begins.
    #[must_use]
    pub const fn new(records: Vec<T>, next: Option<Cursor>) -> Self {
        Self { records, next }
    }
}

/// A record that a store has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Its key.
    pub key: Key,
    /// The record, and what is left of a running owner's lease; or why it cannot be read.
    pub record: Result<(Record, Duration), StoreError>,
}

impl Found {
    /// What stands at `key`.
    #[must_use]
    pub const fn new(key: Key, record: Result<(Record, Duration), StoreError>) -> Self {
        Self { key, record }
    }
}

/// A record of a listing, as far as it concerns people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its key, without this handle's namespace. Personal data may be in it: its `Debug` shows a digest only.
    pub key: Key,
    /// What [`inspect`](crate::Operation::inspect) shows of it; or why it cannot be read.
    pub record: Result<Inspection, StoreError>,
}

impl SharedStore {
    /// Lists records, page by page: all that this handle reaches and `filter` shows, those of its own namespace only.
    ///
    /// A record that is there all the time is shown at least once; one that comes, goes or changes meanwhile may be shown
    /// as it was, twice, or not at all. Records past their end are not shown. No page takes long, however large the store.
    ///
    /// **What is in doubt** is `State::Lost`, and also a running record under `on_crash = fail` whose lease has lapsed: it is
    /// called lost only once somebody calls it. To find both, list a second time with
    /// `.state(State::Running).lapsed(true)`, and look at each record's `on_crash`.
    ///
    /// ```
    /// # use idempotent_runtime::{SharedStore, StoreError, record::State, store::{Filter, MemoryStore}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), StoreError> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let in_doubt = Filter::new().prefix("payments.").state(State::Lost);
    /// let mut cursor = None;
    /// loop {
    ///     let page = store.list(&in_doubt, cursor.as_ref()).await?;
    ///     for listed in page.records {
    ///         println!("{} {:?} {:?}", listed.key.scope(), listed.key, listed.record);
    ///     }
    ///     cursor = page.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel-safe: it only looks.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) where the store cannot list; else those of the store.
    pub async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Listed>, StoreError> {
        let namespace = self.namespace_text();
        let inner = Filter {
            prefix: format!("{namespace}{}", Key::scope_text(&filter.prefix)),
            ..filter.clone()
        };
        let page = self.list_keys(&inner, cursor).await?;
        let own = page.records.into_iter().filter_map(|found| {
            // Further namespaces in this one are not its own.
            let rest = found.key.as_str().strip_prefix(&*namespace)?;
            let key = Key::stored(rest).filter(|key| !key.scope().contains('@'))?;
            let verified = found.record.and_then(|(record, lease_left)| {
                self.verify(&found.key, &record)?;
                Ok(self.inspection(record, lease_left))
            });
            let record = match verified {
                Err(_) if !filter.shows_unreadable() => return None,
                record => record,
            };
            Some(Listed { key, record })
        });
        Ok(Page::new(own.collect(), page.next))
    }

    /// What this handle puts before a key's own text.
    fn namespace_text(&self) -> String {
        const OWN: &str = "s|k";
        let key = Key::stored(OWN).unwrap_or_else(Key::empty);
        self.qualified(&key, |key| key.as_str().trim_end_matches(OWN).to_owned())
    }
}
