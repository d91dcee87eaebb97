//! Faults of one worker and of its link: one at a time, each with its proof.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use idempotent_test_support::Direction;

use super::{Driver, PATIENCE, spawn};
use crate::{
    functions::LEASE_MS,
    history::{Entry, Event, Kind, Micros, now},
    site::Site,
};

/// A fault that is in force.
pub(super) struct Active {
    pub(super) kind: Kind,
    since: Micros,
    pub(super) until: Instant,
    /// What the link had counted before.
    before: u64,
}

impl Driver {
    /// Stops the worker for as long as somebody wants it quiet.
    pub(super) fn hush(&mut self) {
        let hush = Arc::clone(&self.shared.hush);
        if !hush.wanted.load(SeqCst) {
            return;
        }
        self.end_fault();
        let since = now();
        self.worker.pause();
        hush.stopped.fetch_add(1, SeqCst);
        while hush.wanted.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        hush.stopped.fetch_sub(1, SeqCst);
        let observed = self.worker.is_paused();
        self.worker.resume();
        self.report(Kind::Stop, since, observed);
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
            (_, Some(link)) => link.cut(),
            (_, None) => return,
        }
        self.active = Some(Active {
            kind,
            since,
            until,
            before,
        });
    }

    pub(super) fn end_fault(&mut self) {
        let Some(Active {
            kind,
            since,
            before,
            ..
        }) = self.active.take()
        else {
            return;
        };
        let stopped = self.worker.is_paused();
        let counted = self.counted(kind);
        match (kind, &self.link) {
            (Kind::Stop, _) => self.worker.resume(),
            (Kind::DropReplies, Some(link)) => link.drop_replies(false),
            (Kind::HalfOpen, Some(link)) => link.black_hole(false),
            (Kind::Delay, Some(link)) => {
                link.delay(Direction::Requests, Duration::ZERO);
                link.delay(Direction::Replies, Duration::ZERO);
            }
            _ => {}
        }
        let observed = if kind == Kind::Stop {
            stopped
        } else {
            counted > before
        };
        self.report(kind, since, observed);
    }

    /// What the link counts of this fault.
    fn counted(&self, kind: Kind) -> u64 {
        let Some(link) = &self.link else { return 0 };
        let counters = link.counters();
        match kind {
            Kind::DropReplies => counters.lost_replies,
            Kind::HalfOpen => counters.lost_requests + counters.lost_replies,
            Kind::Delay => counters.requests + counters.replies,
            Kind::Cut => counters.cut,
            _ => 0,
        }
    }

    fn report(&self, kind: Kind, since: Micros, observed: bool) {
        let event = Event::Fault {
            kind,
            process: Some(self.process),
            until: now(),
            observed,
        };
        self.shared.log.push(Entry {
            at: since,
            process: 0,
            event,
        });
    }

    /// Kills the worker, reads what it still said, and starts another.
    fn kill(&mut self) {
        use std::os::unix::process::ExitStatusExt;
        let since = now();
        let process = self.process;
        self.worker.kill();
        self.shared.log.note(Event::Killed { process });
        while let Ok(line) = self.worker.line_within(PATIENCE) {
            // The last line may have been cut off.
            if let Ok(line) = serde_json::from_str(&line) {
                self.heard(line);
            }
        }
        // Killed in the middle of something, or it was no fault.
        let observed = self.worker.wait().signal() == Some(9) && !self.calls.is_empty();
        self.report(Kind::Kill, since, observed);
        let orphans = self.calls.drain().map(|(_, key)| key);
        self.retries.extend(orphans);
        (self.worker, self.process) = spawn(&self.shared, self.link.as_ref());
    }
}
