//! Lists records in pages, in the order of their keys.

use tokio_postgres::Row as Answer;

use super::{
    PostgresStore,
    parameter::Parameter::{Number, Text},
};
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
const BYTES: i64 = 8 * 1024 * 1024;

pub(super) async fn page(
    store: &PostgresStore,
    filter: &Filter,
    cursor: Option<&Cursor>,
) -> Result<Page<Found>, StoreError> {
    let wanted = filter.page.clamp(1, ROWS);
    let parameters = || {
        vec![
            Text(cursor.map_or("", Cursor::as_str).to_owned()),
            Text(filter.prefix.clone()),
            Number(i64::try_from(wanted).unwrap_or(i64::MAX)),
            Number(BYTES),
        ]
    };
    let rows = store
        .send(|all| &all.list, &parameters, "a listing")
        .await?;
    let mut records = Vec::new();
    let mut last = None;
    let mut looked_at = 0;
    for row in &rows {
        let Ok(text) = row.try_get::<_, &str>(0) else {
            continue;
        };
        if !text.starts_with(&filter.prefix) {
            return Ok(Page::new(records, None));
        }
        looked_at = row.try_get::<_, i64>(5).unwrap_or(0);
        last = Some(Cursor::new(text));
        if let Ok(found) = found(text, row, filter) {
            records.extend(found);
        }
    }
    // As many as were asked for, or an end because of their size: there may be more.
    let is_whole =
        rows.len() == wanted || usize::try_from(looked_at).is_ok_and(|all| all > rows.len());
    Ok(Page::new(records, last.filter(|_| is_whole)))
}

/// The record of a row, where it is to be shown.
fn found(
    text: &str,
    answer: &Answer,
    filter: &Filter,
) -> Result<Option<Found>, tokio_postgres::Error> {
    let Some(key) = Key::stored(text) else {
        return Ok(None);
    };
    let (renewed, expires) = (answer.try_get(2)?, answer.try_get::<_, i64>(3)?);
    let now = u64::try_from(answer.try_get::<_, i64>(4)?).unwrap_or(0);
    if expires <= signed(now) {
        return Ok(None);
    }
    let row = match Row::read(answer.try_get(1)?, renewed, expires) {
        Ok(row) => row,
        Err(error) => {
            let shown = filter.shows_unreadable();
            return Ok(shown.then(|| Found::new(key, Err(StoreError::from(error)))));
        }
    };
    let Some(current) = protocol::visible(row.current(now), now) else {
        return Ok(None);
    };
    let left = current.lease_left();
    let is_shown = filter.shows(row.record.state, left);
    Ok(is_shown.then(|| Found::new(key, Ok((row.record.clone(), left)))))
}
