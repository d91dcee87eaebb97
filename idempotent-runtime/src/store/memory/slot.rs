//! What is kept for one key.

use std::time::Duration;

use super::{
    packed::{Packed, pack},
    protocol::{Current, Step},
};
use crate::record::{HOLD, MAX_TTL, Record, RecordRef, State};

/// What is kept for one key.
pub(super) enum Slot {
    /// Few, and only while their bodies run.
    Running(Box<Running>),
    /// Many, and kept for long: packed.
    Settled(Box<[u8]>),
}

pub(super) struct Running {
    record: Record,
    /// When it was granted or renewed, on the store's clock in µs.
    written: u64,
}

impl Slot {
    /// The slot of a record, and when it is to be removed. A running one is settled by its owner, or taken over.
    pub(super) fn new(record: Record, retain: Duration, now: u64) -> (Self, Option<u64>) {
        if record.state == State::Running {
            let running = Running {
                record,
                written: now,
            };
            return (Self::Running(Box::new(running)), None);
        }
        let gone = later(now, retain.clamp(Duration::from_millis(1), MAX_TTL));
        (Self::Settled(pack(&record, gone)), Some(gone))
    }

    pub(super) fn gone(&self) -> u64 {
        match self {
            Self::Running(running) => later(running.written, HOLD),
            Self::Settled(bytes) => Packed::new(bytes).gone(),
        }
    }

    /// Shows the record, unless it is past its end.
    pub(super) fn peek(&self, now: u64, look: &mut dyn FnMut(RecordRef<'_>)) {
        if now >= self.gone() {
            return;
        }
        match self {
            Self::Running(running) => look(running.record.as_ref()),
            Self::Settled(bytes) => look(Packed::new(bytes).peek()),
        }
    }

    /// `decide`s about the record, and writes what it says. Also answers when the new record is to be removed.
    pub(super) fn step<R>(
        &mut self,
        now: u64,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> (R, Option<u64>) {
        let is_kept = now < self.gone();
        let Step { write, reply } = match self {
            Self::Running(running) if is_kept => {
                let Running { record, written } = &**running;
                let age = Duration::from_micros(now.saturating_sub(*written));
                decide(Some(Current { record, age }), now)
            }
            Self::Settled(bytes) if is_kept => {
                let (record, age) = (&Packed::new(bytes).record(), Duration::ZERO);
                decide(Some(Current { record, age }), now)
            }
            Self::Running(_) | Self::Settled(_) => decide(None, now),
        };
        let Some((record, retain)) = write else {
            return (reply, None);
        };
        let (slot, gone) = Self::new(record, retain, now);
        *self = slot;
        (reply, gone)
    }
}

fn later(now: u64, by: Duration) -> u64 {
    now.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX))
}
