//! Settled records as bytes, one behind the other on pages, so that each costs little more than what it says.
//!
//! A page holds records that end at about the same time, and goes as a whole after the last of them. A record that is
//! replaced earlier stays behind as waste, until its page goes or is mostly waste; then what still counts moves on.

use std::collections::BTreeSet;

use crate::record::Record;

use super::packed::{Packed, pack, packed_len};

/// Records begin at multiples of this many bytes.
const UNIT: usize = 8;
const UNITS_BITS: u32 = 12;
/// A page's size. A longer record has a page of its own.
const PAGE: usize = UNIT << UNITS_BITS;
/// What it takes at first.
const FIRST: usize = 1024;

/// Where a record lies: its page's number and its offset there, in units.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    fn new(page: usize, offset: usize) -> Self {
        // Both fit: `open_page` sees to the number, `takes` to the offset.
        let place = (page << UNITS_BITS) | (offset / UNIT);
        Self(u32::try_from(place).unwrap_or(u32::MAX))
    }

    fn page(self) -> usize {
        (self.0 >> UNITS_BITS) as usize
    }

    fn offset(self) -> usize {
        (self.0 & ((1 << UNITS_BITS) - 1)) as usize * UNIT
    }
}

#[derive(Default)]
pub(super) struct Pages {
    pages: Vec<Page>,
    free: Vec<usize>,
    /// When a page's records are all past their end, with its number.
    ends: BTreeSet<(u64, usize)>,
    /// The page written to last.
    open: Option<usize>,
}

#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    end: u64,
    /// Bytes of records that count.
    live: usize,
    /// Up to where [`Pages::due`] has given the records out.
    swept: usize,
}

impl Page {
    fn get(&self, place: Place) -> Packed<'_> {
        Packed::at(&self.bytes[place.offset()..])
    }

    /// Lets `write` append what takes `len` bytes with its padding.
    fn push(&mut self, number: usize, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Place {
        let Self { bytes, live, .. } = self;
        let start = bytes.len();
        if bytes.capacity() < start + len {
            let capacity = (2 * bytes.capacity()).clamp(FIRST, PAGE);
            bytes.reserve_exact(capacity.max(start + len) - start);
        }
        write(bytes);
        bytes.resize(start + len, 0);
        *live += len;
        Place::new(number, start)
    }

    /// Whether a record belongs here that is past its end at `gone`, or up to `slack` later.
    fn takes(&self, gone: u64, slack: u64, len: usize) -> bool {
        (gone..=gone.saturating_add(slack)).contains(&self.end) && self.bytes.len() + len <= PAGE
    }
}

impl Pages {
    /// Writes a record that is past its end at `gone`. None: there is no room for it.
    pub(super) fn add(&mut self, key: &str, record: &Record, gone: u64, now: u64) -> Option<Place> {
        let len = packed_len(key, record)?.next_multiple_of(UNIT);
        let number = self.page_for(gone, now, len)?;
        Some(self.pages[number].push(number, len, |bytes| pack(bytes, key, record, gone)))
    }

    /// Writes the record at `place` once more, where it can stay.
    pub(super) fn relocate(&mut self, place: Place, now: u64) -> Place {
        let packed = self.get(place);
        let (gone, len) = (packed.gone(), packed.len());
        let packed = packed.bytes().to_vec();
        let number = self.page_for(gone, now, len.next_multiple_of(UNIT));
        let number = number.expect("a terabyte of records is more than any machine here has");
        self.pages[number].push(number, len.next_multiple_of(UNIT), |bytes| {
            bytes.extend_from_slice(&packed)
        })
    }

    /// A page for a record of this length: the last one, or the latest that ends soon enough after it, or a new one.
    fn page_for(&mut self, gone: u64, now: u64, len: usize) -> Option<usize> {
        // Records stay up to an eighth of their time longer, so that they end together.
        let slack = gone.saturating_sub(now) / 8;
        let takes = |page: &usize| self.pages[*page].takes(gone, slack, len);
        if let Some(page) = self.open.filter(takes) {
            return Some(page);
        }
        let end = gone.saturating_add(slack);
        let mut in_time = self.ends.range((gone, 0)..=(end, usize::MAX));
        let found = in_time.next_back().map(|&(_, page)| page).filter(takes);
        let page = match found {
            Some(page) => page,
            None => self.open_page(end)?,
        };
        self.open = Some(page);
        Some(page)
    }

    fn open_page(&mut self, end: u64) -> Option<usize> {
        let page = self.free.pop().unwrap_or(self.pages.len());
        if page >= 1 << (u32::BITS - UNITS_BITS) {
            return None;
        }
        if page == self.pages.len() {
            self.pages.push(Page::default());
        }
        self.pages[page].end = end;
        self.ends.insert((end, page));
        Some(page)
    }

    pub(super) fn get(&self, place: Place) -> Packed<'_> {
        self.pages[place.page()].get(place)
    }

    /// The record at `place` does not count any more.
    pub(super) fn discard(&mut self, place: Place) {
        let len = self.get(place).len().next_multiple_of(UNIT);
        let number = place.page();
        let page = &mut self.pages[number];
        page.live -= len;
        if page.swept > 0 {
            return;
        }
        if place.offset() + len == page.bytes.len() {
            page.bytes.truncate(place.offset());
        } else if page.live < page.bytes.len() / 4 && page.bytes.len() > PAGE / 2 {
            // Mostly waste: due at once.
            self.ends.remove(&(page.end, number));
            page.end = 0;
            self.ends.insert((0, number));
        }
    }

    /// The next record on a page that is past its end or mostly waste. Once all were given out, the page is gone.
    pub(super) fn due(&mut self, now: u64) -> Option<Place> {
        loop {
            let &(end, number) = self.ends.first().filter(|(end, _)| *end <= now)?;
            let page = &mut self.pages[number];
            if page.swept < page.bytes.len() {
                let place = Place::new(number, page.swept);
                page.swept += page.get(place).len().next_multiple_of(UNIT);
                return Some(place);
            }
            *page = Page::default();
            self.ends.remove(&(end, number));
            self.free.push(number);
            self.open = self.open.filter(|open| *open != number);
        }
    }
}
