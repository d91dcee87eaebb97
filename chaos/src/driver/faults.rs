//! Faults of one worker and of its link: one at a time, each with a proof that it happened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use idempotent_test_support::Direction;

use super::{Driver, PATIENCE, spawn};
use crate::{
    functions::LEASE_MS,
    history::{BRIEF_MS, Entry, Event, Kind, Micros, now},
    site::Site,
};

/// A fault that is in force.
pub(super) struct Active {
    pub(super) kind: Kind,
    /// The process that it befalls. When it ends, another may have taken its place.
    process: u32,
    since: Micros,
    pub(super) until: Instant,
    /// The link's counter before the fault.
    before: u64,
}

/// Requests that are held back.
pub(super) struct Late {
    process: u32,
    since: Micros,
    due: Instant,
    before: u64,
}

/// How many calls in a row are held without a poll at the beginning of a calm.
const HELD: u32 = 2;

impl Driver {
    /// Stops the worker for as long as the workers are to be quiet.
    pub(super) fn hush(&mut self) {
        let signals = Arc::clone(&self.shared.signals);
        if !signals.hush.is_wanted() {
            return;
        }
        self.end_fault();
        let since = now();
        self.worker.pause();
        signals.hush.pass();
        let observed = self.worker.is_paused();
        self.worker.resume();
        self.report(Kind::Stop, self.process, since, observed);
    }

    /// Injects no faults during a calm. As often as not the last fault before makes the worker
    /// connect anew, and the first calls then are held without a poll.
    pub(super) fn calm(&mut self) {
        let signals = Arc::clone(&self.shared.signals);
        let wanted = signals.calm.is_wanted();
        if wanted && !self.is_calm {
            self.end_fault();
            match (&*self.shared.site, self.rng.u8(..4)) {
                (Site::Memory, _) | (_, 3) => {}
                (_, 0) => self.kill(),
                _ if self.link.is_some() => {
                    self.inject(Kind::Cut, 0);
                    self.end_fault();
                }
                _ => {}
            }
            self.to_hold = HELD;
            signals.calm.come();
        } else if !wanted && self.is_calm {
            signals.calm.go();
        }
        self.is_calm = wanted;
    }

    pub(super) fn begin_fault(&mut self) {
        let lease = LEASE_MS;
        let kinds: &[Kind] = match (&*self.shared.site, &self.link) {
            // Its records die with it, and its clock stops with it.
            (Site::Memory, _) => return,
            (_, None) => &[Kind::Kill, Kind::Stop],
            (_, Some(_)) => &[
                Kind::Kill,
                Kind::Stop,
                Kind::DropReplies,
                Kind::DropReplies,
                Kind::HalfOpen,
                Kind::Delay,
                Kind::Late,
                Kind::Late,
                Kind::Cut,
                Kind::Cut,
            ],
        };
        let kind = kinds[self.rng.usize(..kinds.len())];
        let length = match kind {
            Kind::Stop => self.rng.u64(lease..lease * 3),
            Kind::HalfOpen => self.rng.u64(100..lease * 2),
            _ => self.rng.u64(50..lease),
        };
        self.inject(kind, length);
    }

    /// Injects one fault for this many milliseconds.
    fn inject(&mut self, kind: Kind, length: u64) {
        let since = now();
        let until = Instant::now() + Duration::from_millis(length);
        let before = self.counted(kind);
        match (kind, &self.link) {
            (Kind::Kill, _) => return self.kill(),
            (Kind::Stop, _) => self.worker.pause(),
            (Kind::DropReplies, Some(link)) => link.drop_replies(true),
            (Kind::HalfOpen, Some(link)) => link.black_hole(true),
            (Kind::Delay, Some(link)) => {
                let delay = Duration::from_millis(self.rng.u64(5..250));
                link.delay(Direction::Requests, delay);
                link.delay(Direction::Replies, delay / 2);
            }
            (Kind::Late, Some(link)) => {
                let delay = Duration::from_millis(self.rng.u64(BRIEF_MS..BRIEF_MS * 3));
                link.delay(Direction::Requests, delay);
            }
            (_, Some(link)) => {
                link.cut();
                self.to_hold = 1;
            }
            (_, None) => return,
        }
        self.active = Some(Active {
            kind,
            process: self.process,
            since,
            until,
            before,
        });
    }

    pub(super) fn end_fault(&mut self) {
        let Some(Active {
            kind,
            process,
            since,
            before,
            ..
        }) = self.active.take()
        else {
            return;
        };
        let stopped = self.worker.is_paused();
        self.report_lock(kind, since);
        let counted = self.counted(kind);
        match (kind, &self.link) {
            (Kind::Stop, _) => self.worker.resume(),
            (Kind::DropReplies, Some(link)) => link.drop_replies(false),
            (Kind::HalfOpen, Some(link)) => link.black_hole(false),
            (Kind::Delay | Kind::Late, Some(link)) => {
                link.delay(Direction::Requests, Duration::ZERO);
                link.delay(Direction::Replies, Duration::ZERO);
            }
            _ => {}
        }
        match kind {
            Kind::Stop => self.report(kind, process, since, stopped),
            // The requests that it holds back arrive some time later.
            Kind::Late => self.late.push(Late {
                process,
                since,
                due: Instant::now() + Duration::from_millis(BRIEF_MS * 3),
                before,
            }),
            _ => self.report(kind, process, since, counted > before),
        }
    }

    /// Reports held requests that have arrived by now; with `all`, also those that may not have.
    pub(super) fn end_late(&mut self, all: bool) {
        let arrived = self.counted(Kind::Late);
        let due = |late: &mut Late| all || Instant::now() >= late.due;
        let ended: Vec<_> = self.late.extract_if(.., due).collect();
        for late in ended {
            let observed = arrived > late.before;
            self.report(Kind::Late, late.process, late.since, observed);
        }
    }

    /// The link's counter for this fault.
    fn counted(&self, kind: Kind) -> u64 {
        let Some(link) = &self.link else { return 0 };
        let counters = link.counters();
        match kind {
            Kind::DropReplies => counters.lost_replies,
            Kind::HalfOpen => counters.lost_requests + counters.lost_replies,
            Kind::Delay => counters.requests + counters.replies,
            Kind::Late => counters.late_requests,
            Kind::Cut => counters.cut,
            _ => 0,
        }
    }

    fn report(&self, kind: Kind, process: u32, since: Micros, observed: bool) {
        let event = Event::Fault {
            kind,
            process: Some(process),
            call: None,
            until: now(),
            observed,
        };
        self.shared.log.push(Entry {
            at: since,
            process: 0,
            event,
        });
    }

    /// A worker that was stopped in the middle of a batch has held up all of them.
    fn report_lock(&self, kind: Kind, since: Micros) {
        let Site::Sqlite(file) = &*self.shared.site else {
            return;
        };
        if kind == Kind::Stop && file.is_locked() {
            let event = Event::Fault {
                kind: Kind::LockHeld,
                process: None,
                call: None,
                until: now(),
                observed: true,
            };
            let (at, process) = (since, 0);
            self.shared.log.push(Entry { at, process, event });
        }
    }

    /// Kills the worker, reads the rest of its output, and starts another.
    fn kill(&mut self) {
        use std::os::unix::process::ExitStatusExt;
        let since = now();
        let process = self.process;
        self.worker.kill();
        self.shared.log.note(Event::Killed { process });
        while let Ok(line) = self.worker.line_within(PATIENCE) {
            // The last line may be cut off.
            if let Ok(line) = serde_json::from_str(&line) {
                self.heard(line);
            }
        }
        // It was a fault only if the worker was killed while calls were in progress.
        let observed = self.worker.wait().signal() == Some(9) && !self.calls.is_empty();
        self.report(Kind::Kill, process, since, observed);
        self.in_wave.clear();
        self.to_hold = 1;
        let orphans = self.calls.drain().map(|(_, key)| key);
        self.retries.extend(orphans);
        (self.worker, self.process) = spawn(&self.shared, self.link.as_ref());
    }
}
