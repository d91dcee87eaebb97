//! Lists records in pages, for operators and their tools.

use std::{fmt, time::Duration};

use super::{SharedStore, inspection::Inspection};
use crate::{
    StoreError,
    key::Key,
    record::{Record, State},
};

/// Which records a listing shows.
///
/// ```
/// use idempotent_fn::{record::State, store::{Filter, Lapsed}};
///
/// // Everything of `payments.…` whose owner has been silent for longer than its lease.
/// let stuck = Filter::new().with_prefix("payments.").with_state(State::Running).with_lapsed(Lapsed::Only);
/// # let _ = stuck;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// The beginning of the scope; empty for all. A [`Store`](super::Store) gets the beginning of
    /// [`Key::as_str`] here.
    pub prefix: String,
    /// Whether [`prefix`](Self::prefix) is a whole scope, and not only the beginning of one. A
    /// [`Store`](super::Store) need not look at it: it gets a prefix that ends behind the scope.
    pub whole_scope: bool,
    /// Records in this state only.
    pub state: Option<State>,
    /// Whether to show running records whose lease is over.
    pub lapsed: Lapsed,
    /// About how many records a page has.
    pub page: usize,
}

impl Filter {
    /// About how many records a page has by default.
    pub const DEFAULT_PAGE: usize = 100;

    /// All records, in pages of [`DEFAULT_PAGE`](Self::DEFAULT_PAGE).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            prefix: String::new(),
            whole_scope: false,
            state: None,
            lapsed: Lapsed::Included,
            page: Self::DEFAULT_PAGE,
        }
    }

    /// Only records whose scope begins with `prefix`. So `payments.charge` shows those of
    /// `payments.chargeback` too; see [`with_scope`](Self::with_scope).
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self.whole_scope = false;
        self
    }

    /// Only records of this very scope.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        scope.clone_into(&mut self.prefix);
        self.whole_scope = true;
        self
    }

    /// Records in this state only.
    #[must_use]
    pub const fn with_state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// Whether to show running records whose owner has been silent for longer than its lease: with
    /// the others (the default), alone, or not at all.
    #[must_use]
    pub const fn with_lapsed(mut self, lapsed: Lapsed) -> Self {
        self.lapsed = lapsed;
        self
    }

    /// About how many records a page has; at least 1.
    #[must_use]
    pub const fn with_page(mut self, records: usize) -> Self {
        self.page = if records == 0 { 1 } else { records };
        self
    }

    /// Whether to show a record in this state, with this much of its lease left. Stores call it for
    /// each record that is not past its end and has the [`prefix`](Self::prefix).
    #[must_use]
    pub fn shows(&self, state: State, lease_left: Duration) -> bool {
        let has_lapsed = state == State::Running && lease_left.is_zero();
        self.state.is_none_or(|wanted| wanted == state)
            && match self.lapsed {
                Lapsed::Included => true,
                Lapsed::Only => has_lapsed,
                Lapsed::Excluded => !has_lapsed,
            }
    }

    /// Whether to show records that cannot be read: only if the filter names no state.
    #[must_use]
    pub const fn shows_unreadable(&self) -> bool {
        self.state.is_none() && matches!(self.lapsed, Lapsed::Included)
    }
}

/// What a [`Filter`] shows of running records whose owner has been silent for longer than its
/// lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lapsed {
    /// These records and all others.
    #[default]
    Included,
    /// These records only.
    Only,
    /// All records but these.
    Excluded,
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the next page begins. Only the store that gave it understands it, while its process lives.
/// It may contain parts of keys, so its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

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

/// One page of a listing. It may be empty although others follow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// The records of this page.
    pub records: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page, with the beginning of the next one.
    #[must_use]
    pub const fn new(records: Vec<T>, next: Option<Cursor>) -> Self {
        Self { records, next }
    }
}

/// A record found by a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Its key.
    pub key: Key,
    /// The record and what is left of a running owner's lease, or why it cannot be read.
    pub record: Result<(Record, Duration), StoreError>,
}

impl Found {
    /// The record at `key`, or why it cannot be read.
    #[must_use]
    pub const fn new(key: Key, record: Result<(Record, Duration), StoreError>) -> Self {
        Self { key, record }
    }
}

/// A listed record, as people see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its key, without this handle's namespace. It may contain personal data, so its `Debug` shows
    /// only a digest.
    pub key: Key,
    /// What [`inspect`](crate::Operation::inspect) shows of it, or why it cannot be read.
    pub record: Result<Inspection, StoreError>,
}

// Here, because only this file knows about pages.
impl SharedStore {
    /// Lists records, page by page: those in this handle's own namespace that `filter` shows.
    ///
    /// A record that is there all the time is shown at least once. A record that is added, removed
    /// or changed meanwhile may be shown as it was, twice, or not at all. Records past their end
    /// are not shown. No page takes long, however large the store.
    ///
    /// **What is in doubt** is `State::Lost`, and also a running record under `on_crash = fail`
    /// whose lease has lapsed: it becomes lost only with the next call. To find both, list a second
    /// time with `.with_state(State::Running).with_lapsed(Lapsed::Only)`, and look at each record's
    /// `on_crash`.
    ///
    /// ```
    /// # use idempotent_fn::{SharedStore, StoreError, record::State, store::{Filter, MemoryStore}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), StoreError> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let in_doubt = Filter::new().with_prefix("payments.").with_state(State::Lost);
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
    /// [`Config`](crate::StoreErrorKind::Config) where the store cannot list; else those of the
    /// store.
    pub async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Listed>, StoreError> {
        let namespace = self.namespace_text();
        let inner = Filter {
            prefix: format!(
                "{namespace}{}{}",
                Key::scope_text(&filter.prefix),
                if filter.whole_scope { "|" } else { "" }
            ),
            whole_scope: false,
            ..filter.clone()
        };
        let page = self.list_keys(&inner, cursor).await?;
        let own = page.records.into_iter().filter_map(|found| {
            // Namespaces nested in this one are not part of it.
            let rest = found.key.as_str().strip_prefix(&*namespace)?;
            let key = Key::stored(rest).filter(|key| !key.scope().contains('@'))?;
            let verified = found.record.and_then(|(record, lease_left)| {
                self.verify(&found.key, &record)?;
                Ok(Inspection::of(self, record, lease_left))
            });
            let record = match verified {
                Err(_) if !filter.shows_unreadable() => return None,
                record => record,
            };
            Some(Listed { key, record })
        });
        Ok(Page::new(own.collect(), page.next))
    }

    /// The text before a key in this handle's namespace.
    fn namespace_text(&self) -> String {
        const OWN: &str = "s|k";
        let key = Key::stored(OWN).unwrap_or_else(Key::empty);
        self.qualified(&key)
            .as_str()
            .trim_end_matches(OWN)
            .to_owned()
    }
}
