//! Lists records, shard by shard.

use std::time::Duration;

use super::{
    Cursor, Filter, Found, Page,
    layout::Packed,
    step::age,
    table::{KeyHash, RecordTable},
};
use crate::{StoreError, StoreErrorKind, key::Key, record::State};

/// The position of a listing: this shard, after this hash.
struct Position {
    shard: usize,
    after: Option<KeyHash>,
}

impl Position {
    fn of(cursor: Option<&Cursor>) -> Result<Self, StoreError> {
        let Some(cursor) = cursor else {
            return Ok(Self {
                shard: 0,
                after: None,
            });
        };
        let parts = cursor.as_str().split_once('.');
        let position = parts.and_then(|(shard, hash)| {
            let after = match hash {
                "" => None,
                hash => Some(KeyHash(hash.parse().ok()?)),
            };
            Some(Self {
                shard: shard.parse().ok()?,
                after,
            })
        });
        position.ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Config,
                "this cursor is not of a memory store",
            )
        })
    }

    fn cursor(&self) -> Cursor {
        let hash = self
            .after
            .map_or(String::new(), |KeyHash(hash)| hash.to_string());
        Cursor::new(format!("{}.{hash}", self.shard))
    }
}

/// About how many records one page examines: a listing that matches little must not block its
/// thread for long.
const MAX_EXAMINED: usize = 4_096;

/// Returns a page, shard by shard in the order of the hashes. Records that share a hash stay on one
/// page.
pub(super) fn list(
    records: &RecordTable,
    now: u64,
    filter: &Filter,
    cursor: Option<&Cursor>,
) -> Result<Page<Found>, StoreError> {
    let mut position = Position::of(cursor)?;
    let mut page = Vec::new();
    let mut examined = 0;
    while position.shard < records.shards() {
        let mut kept = records.of_shard(position.shard);
        kept.retain(|(hash, _)| position.after.is_none_or(|after| *hash > after));
        kept.sort_unstable_by_key(|(hash, _)| *hash);
        for (hash, packed) in &kept {
            let is_full = page.len() >= filter.page || examined >= MAX_EXAMINED;
            if is_full && position.after != Some(*hash) {
                return Ok(Page::new(page, Some(position.cursor())));
            }
            page.extend(found(packed, now, filter));
            examined += 1;
            position.after = Some(*hash);
        }
        position = Position {
            shard: position.shard + 1,
            after: None,
        };
    }
    Ok(Page::new(page, None))
}

/// The record, if the filter shows it.
fn found(packed: &Packed, now: u64, filter: &Filter) -> Option<Found> {
    let key = str::from_utf8(packed.key()).ok()?;
    let view = packed.view();
    if !key.starts_with(&filter.prefix) || view.has_ended(now) || now >= packed.delete_at() {
        return None;
    }
    let left = match view.state() {
        State::Running => view
            .lease()
            .saturating_sub(age(view.state(), packed.delete_at(), now)),
        _ => Duration::ZERO,
    };
    if !filter.shows(view.state(), left) {
        return None;
    }
    let key = Key::stored(key)?;
    Some(Found::new(key, Ok((packed.record(), left))))
}
