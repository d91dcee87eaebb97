//! The table's name, its keys and its rows.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{DecodeError, Record},
    store::protocol::Current,
};

/// The default name of the table.
pub(crate) const TABLE: &str = "idempotent_records";
/// The version of the table's columns. It is in a comment on the table, after [`MARK`].
pub(super) const SCHEMA_NUMBER: u32 = 1;
/// The beginning of the comment on the table.
pub(super) const MARK: &str = "idempotent-fn ";

/// The longest key of a row, in bytes. Longer keys are shortened. (PostgreSQL indexes 2,704 bytes.)
const MAX_KEY: usize = 1024;
/// The most bytes of a long key that are left.
const SHORTENED_KEY: usize = 200;

/// The key of a row. A key over [`MAX_KEY`] bytes, which has many namespaces, becomes its
/// beginning, `~`, and its SHA-256 in hex. No other key has a `~` there.
pub(crate) fn row_key(key: &Key) -> Cow<'_, str> {
    let text = key.as_str();
    if text.len() <= MAX_KEY {
        return Cow::Borrowed(text);
    }
    let end = (0..=SHORTENED_KEY)
        .rev()
        .find(|end| text.is_char_boundary(*end));
    let mut short = text[..end.unwrap_or(0)].to_owned();
    short.push('~');
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// The name of a table, with its schema if one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl TableName {
    /// Accepts letters, digits and `_`, with at most one dot between. So the name needs no escaping
    /// in a statement.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let is_name = |name: &str| {
            let mut characters = name.chars();
            characters
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
                && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.len() <= 48
        };
        if !is_name(name) || !schema.is_none_or(is_name) {
            let reason = format!(
                "a table's name has up to 48 letters, digits and `_`, and may have a schema before a dot, as `{TABLE}` or \
                 `billing.{TABLE}`"
            );
            return Err(StoreError::new(StoreErrorKind::Config, reason));
        }
        Ok(Self {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

/// As statements have it.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A row as it was read.
pub(crate) struct Row {
    pub(crate) record: Record,
    /// When the record was granted, renewed or ended, in µs since 1970.
    pub(super) renewed: i64,
    /// The time from which the row counts as absent, in µs since 1970.
    pub(super) expires: i64,
}

impl Row {
    pub(crate) fn read(record: &[u8], renewed: i64, expires: i64) -> Result<Self, DecodeError> {
        Ok(Self {
            record: Record::decode(record)?,
            renewed,
            expires,
        })
    }

    /// The record that the protocol decides about. `None` if the row's time is over, and it is only
    /// not deleted yet.
    pub(crate) fn current(&self, now: u64) -> Option<Current<'_>> {
        (signed(now) < self.expires).then_some(Current {
            record: &self.record,
            age: between(self.renewed, signed(now)),
        })
    }

    /// How far it is dated ahead of `now`.
    pub(crate) fn ahead(&self, now: u64) -> Duration {
        between(signed(now), self.renewed)
    }
}

/// From one time to a later one; zero if it is none.
fn between(from: i64, to: i64) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// A time in the type of a column.
pub(crate) fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_are_shortened_and_stay_apart() {
        let key = |namespace: &str| {
            let mut key = Key::new("payments.charge", &[&"order"]).expect("a key");
            for _ in 0..6 {
                key = key.in_namespace(&namespace.repeat(190));
            }
            key
        };
        let (one, other) = (key("n"), key("m"));
        assert!(one.as_str().len() > MAX_KEY);
        assert!(row_key(&one).len() <= SHORTENED_KEY + 65);
        assert!(one.as_str().starts_with(&row_key(&one)[..SHORTENED_KEY]));
        assert_ne!(row_key(&one), row_key(&other));
        // Cut between two characters.
        assert!(row_key(&key("é")).len() <= SHORTENED_KEY + 65);
        let short = Key::new("s", &[&"k"]).expect("a key");
        assert_eq!(row_key(&short), "s|k");
    }

    #[test]
    fn a_tables_name_needs_no_escaping() {
        let billing = TableName::parse("billing.records").expect("a name");
        assert_eq!(
            (billing.schema.as_deref(), &*billing.name),
            (Some("billing"), "records")
        );
        assert_eq!(billing.to_string(), "billing.records");
        for text in [
            "", "a.b.c", ".a", "a.", "a b", "a\"b", "1a", "a;b", "é", "a-b",
        ] {
            let error = TableName::parse(text).expect_err(text);
            assert_eq!(error.kind(), StoreErrorKind::Config);
        }
    }
}
