//! The table: its name, its keys and its rows.

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

/// The table's name, unless an option says another.
pub(super) const TABLE: &str = "idempotent_records";
/// The version of the table's columns. It stands in a comment on the table, after [`MARK`].
pub(super) const SCHEMA_NUMBER: u32 = 1;
/// What the comment on the table begins with.
pub(super) const MARK: &str = "idempotent-fn ";

/// Longer keys are shortened: PostgreSQL indexes 2,704 bytes.
const MAX_KEY: usize = 1024;
/// How much of a shortened key is left, at most.
const KEPT: usize = 200;

/// The key as a row has it. Of one over [`MAX_KEY`] bytes, which only namespaces within namespaces make, the beginning is
/// left, with `~` and its SHA-256 in hex; no other key has a `~` there.
pub(super) fn row_key(key: &Key) -> Cow<'_, str> {
    let text = key.as_str();
    if text.len() <= MAX_KEY {
        return Cow::Borrowed(text);
    }
    let end = (0..=KEPT).rev().find(|end| text.is_char_boundary(*end));
    let mut short = text[..end.unwrap_or(0)].to_owned();
    short.push('~');
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// The name of a table, with the schema that it is in where one was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl TableName {
    /// Letters, digits and `_`, with at most one dot between. So it needs no escaping in a statement.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
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

/// A row, read.
pub(super) struct Row {
    pub(super) record: Record,
    /// When it was granted, renewed or ended, in µs since 1970.
    pub(super) renewed: i64,
    /// From when on it is as if it were not there, in µs since 1970.
    pub(super) expires: i64,
}

impl Row {
    pub(super) fn read(record: &[u8], renewed: i64, expires: i64) -> Result<Self, DecodeError> {
        Ok(Self {
            record: Record::decode(record)?,
            renewed,
            expires,
        })
    }

    /// What is to be decided about, `now`; none where the row has done its time, and is only not deleted yet.
    pub(super) fn current(&self, now: u64) -> Option<Current<'_>> {
        let now = signed(now);
        let age = u64::try_from(now.saturating_sub(self.renewed)).unwrap_or(0);
        (now < self.expires).then_some(Current {
            record: &self.record,
            age: Duration::from_micros(age),
        })
    }
}

/// A time as a column has it.
pub(super) fn signed(micros: u64) -> i64 {
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
        assert!(row_key(&one).len() <= KEPT + 65);
        assert!(one.as_str().starts_with(&row_key(&one)[..KEPT]));
        assert_ne!(row_key(&one), row_key(&other));
        // Cut between two characters.
        assert!(row_key(&key("é")).len() <= KEPT + 65);
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
