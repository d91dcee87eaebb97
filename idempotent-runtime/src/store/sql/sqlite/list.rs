//! Lists records in pages, in the order of their keys.

use rusqlite::{Connection, params};

use super::statements::{self, Statements};
use crate::{
    StoreError,
    key::Key,
    store::{
        Cursor, Filter, Found, Page, protocol,
        sql::table::{Row, signed},
    },
};

/// The most rows that one page looks at.
const ROWS: usize = 1000;
/// A page ends once it has this many bytes: each record may be as large as a result.
const BYTES: usize = 8 * 1024 * 1024;

pub(super) fn page(
    connection: &Connection,
    statements: &Statements,
    filter: &Filter,
    cursor: Option<&Cursor>,
) -> rusqlite::Result<Page<Found>> {
    let now = statements::now();
    let wanted = filter.page.clamp(1, ROWS);
    let from = cursor.map_or("", Cursor::as_str);
    let limit = i64::try_from(ROWS).unwrap_or(i64::MAX);
    let mut list = connection.prepare_cached(&statements.list)?;
    let mut rows = list.query(params![from, filter.prefix, limit])?;
    let (mut records, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
    let mut last = None;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str()?;
        if !text.starts_with(&filter.prefix) {
            return Ok(Page::new(records, None));
        }
        let record = row.get_ref(1)?.as_blob()?;
        let expires: i64 = row.get(3)?;
        looked_at += 1;
        bytes += record.len();
        if expires > signed(now) {
            let stored = Row::read(record, row.get(2)?, expires).map_err(StoreError::from);
            records.extend(found(text, stored, filter, now));
        }
        last = Some(Cursor::new(text));
        if records.len() == wanted || bytes >= BYTES {
            return Ok(Page::new(records, last));
        }
    }
    Ok(Page::new(records, last.filter(|_| looked_at == ROWS)))
}

/// The record of a row, where it is to be shown.
fn found(text: &str, stored: Result<Row, StoreError>, filter: &Filter, now: u64) -> Option<Found> {
    let key = Key::stored(text)?;
    let row = match stored {
        Ok(row) => row,
        Err(error) => {
            return filter
                .shows_unreadable()
                .then(|| Found::new(key, Err(error)));
        }
    };
    let current = protocol::visible(row.current(now), now)?;
    let left = current.lease_left();
    let is_shown = filter.shows(row.record.state, left);
    is_shown.then(|| Found::new(key, Ok((row.record.clone(), left))))
}
