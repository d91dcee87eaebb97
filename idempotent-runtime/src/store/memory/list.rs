//! Lists records, shard by shard.

use std::time::Duration;

use super::{
    Cursor, Filter, Found, Page, age,
    layout::Packed,
    table::{Mark, Records},
};
use crate::{StoreError, StoreErrorKind, key::Key, record::State};

/// The position of a listing: this shard, after this mark.
struct Place {
    shard: usize,
    after: Option<Mark>,
}

impl Place {
    fn of(cursor: Option<&Cursor>) -> Result<Self, StoreError> {
        let Some(cursor) = cursor else {
            return Ok(Self {
                shard: 0,
                after: None,
            });
        };
        let parts = cursor.as_str().split_once('.');
        let place = parts.and_then(|(shard, mark)| {
            let after = match mark {
                "" => None,
                mark => Some(Mark(mark.parse().ok()?)),
            };
            Some(Self {
                shard: shard.parse().ok()?,
                after,
            })
        });
        place.ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Config,
                "this cursor is not of a memory store",
            )
        })
    }

    fn cursor(&self) -> Cursor {
        let mark = self
            .after
            .map_or(String::new(), |Mark(mark)| mark.to_string());
        Cursor::new(format!("{}.{mark}", self.shard))
    }
}

/// About how many records one page examines: a listing that matches little must not block its
/// thread for long.
const LOOKED_AT: usize = 4_096;

/// Returns a page, shard by shard in the order of the marks. Records that share a mark stay on one
/// page.
pub(super) fn list(
    records: &Records,
    now: u64,
    filter: &Filter,
    cursor: Option<&Cursor>,
) -> Result<Page<Found>, StoreError> {
    let mut place = Place::of(cursor)?;
    let mut page = Vec::new();
    let mut looked_at = 0;
    while place.shard < records.shards() {
        let mut kept = records.of_shard(place.shard);
        kept.retain(|(mark, _)| place.after.is_none_or(|after| *mark > after));
        kept.sort_unstable_by_key(|(mark, _)| *mark);
        for (mark, packed) in &kept {
            let is_full = page.len() >= filter.page || looked_at >= LOOKED_AT;
            if is_full && place.after != Some(*mark) {
                return Ok(Page::new(page, Some(place.cursor())));
            }
            page.extend(found(packed, now, filter));
            looked_at += 1;
            place.after = Some(*mark);
        }
        place = Place {
            shard: place.shard + 1,
            after: None,
        };
    }
    Ok(Page::new(page, None))
}

/// The record, if the filter shows it.
fn found(packed: &Packed, now: u64, filter: &Filter) -> Option<Found> {
    let key = str::from_utf8(packed.key()).ok()?;
    let view = packed.view();
    if !key.starts_with(&filter.prefix) || view.has_ended(now) || now >= packed.gone() {
        return None;
    }
    let left = match view.state() {
        State::Running => view
            .lease()
            .saturating_sub(age(view.state(), packed.gone(), now)),
        _ => Duration::ZERO,
    };
    if !filter.shows(view.state(), left) {
        return None;
    }
    let key = Key::stored(key)?;
    Some(Found::new(key, Ok((packed.record(), left))))
}
