//! One worker and its faults.

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use idempotent_test_support::{Direction, Proxy, Worker};

use crate::{
    functions::LEASE_MS,
    history::{Answer, Entry, Event, Kind, Micros, now},
    ledger::Log,
    load::Load,
    say::Line,
    server_faults::Hush,
    site::Site,
    worker::{DRAINED, Order},
};

/// So many calls are under way in a worker at most.
const SLOTS: usize = 32;
/// How long the end of everything may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What all drivers share.
pub(crate) struct Shared {
    pub(crate) site: Arc<Site>,
    pub(crate) load: Load,
    pub(crate) log: Arc<Log>,
    pub(crate) ledger: u16,
    pub(crate) stop: AtomicBool,
    pub(crate) hush: Arc<Hush>,
    /// The mean time between two calls of a worker.
    pub(crate) pause: Duration,
    pub(crate) processes: AtomicU32,
}

/// A fault that is in force.
struct Active {
    kind: Kind,
    since: Micros,
    until: Instant,
    /// What the link had counted before.
    before: u64,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    rng: Rng,
    link: Option<Proxy>,
    worker: Worker,
    process: u32,
    /// The calls under way, with their keys.
    calls: HashMap<u64, u32>,
    /// Keys whose caller retries.
    retries: Vec<u32>,
    active: Option<Active>,
    drained: bool,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, rng: Rng) -> Self {
        let link = shared.site.link();
        let (worker, process) = spawn(&shared, link.as_ref());
        Self {
            shared,
            rng,
            link,
            worker,
            process,
            calls: HashMap::new(),
            retries: Vec::new(),
            active: None,
            drained: false,
        }
    }

    /// Calls and fails until told to stop; then waits for what is under way.
    pub(crate) fn run(&mut self) {
        let mut next_call = Instant::now();
        let mut next_fault = Instant::now() + self.lull();
        while !self.shared.stop.load(SeqCst) {
            self.listen(Duration::from_millis(2));
            self.hush();
            let now = Instant::now();
            if now >= next_call {
                next_call = now + self.shared.pause.mul_f64(self.rng.f64() * 2.0);
                self.call();
            }
            if self
                .active
                .as_ref()
                .is_some_and(|active| now >= active.until)
            {
                self.end_fault();
                next_fault = now + self.lull();
            } else if self.active.is_none() && now >= next_fault {
                self.begin_fault();
                next_fault = now + self.lull();
            }
        }
        self.end_fault();
    }

    /// Waits until every call has ended and nothing is left behind.
    pub(crate) fn settle(&mut self) {
        let since = Instant::now();
        while !self.calls.is_empty() && since.elapsed() < PATIENCE {
            self.listen(Duration::from_millis(5));
        }
        self.order(&Order::Drain);
        while !self.drained && since.elapsed() < PATIENCE {
            self.listen(Duration::from_millis(5));
        }
    }

    /// Calls every key once more, with nothing in the way.
    pub(crate) fn epilogue(&mut self, keys: impl Iterator<Item = u32>) {
        for key in keys {
            while self.calls.len() >= SLOTS {
                self.listen(Duration::from_millis(1));
            }
            let order = self.shared.load.quiet(key);
            self.order(&order);
        }
        self.settle();
    }

    fn lull(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(200..1_200))
    }

    fn call(&mut self) {
        if self.calls.len() >= SLOTS || self.paused() {
            return;
        }
        let order = match self.retries.pop() {
            Some(key) if self.rng.u8(..) < 200 => self.shared.load.again(key, &mut self.rng),
            _ => self.shared.load.next(&mut self.rng),
        };
        self.order(&order);
    }

    fn order(&mut self, order: &Order) {
        if let Order::Call { call, key, .. } = order {
            self.calls.insert(*call, *key);
        }
        self.worker
            .send(&serde_json::to_string(order).expect("plain data"));
    }

    fn paused(&self) -> bool {
        matches!(
            self.active,
            Some(Active {
                kind: Kind::Stop,
                ..
            })
        )
    }

    /// Takes in what the worker has said.
    fn listen(&mut self, patience: Duration) {
        let mut patience = patience;
        loop {
            match self.worker.line_within(patience) {
                Ok(line) => {
                    let line =
                        serde_json::from_str(&line).expect("a worker that lives says whole lines");
                    self.heard(line);
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!(
                        "worker {} ended by itself: {:?}",
                        self.process,
                        self.worker.wait()
                    )
                }
            }
            patience = Duration::ZERO;
        }
    }

    fn heard(&mut self, Line { at, event }: Line) {
        match &event {
            Event::Answered { call, answer, .. } => {
                let key = self.calls.remove(call);
                let content = matches!(answer, Answer::Ok(_));
                self.retries
                    .extend(key.filter(|_| !content && self.retries.len() < SLOTS));
            }
            Event::Left { call } => {
                let key = self.calls.remove(call);
                self.retries
                    .extend(key.filter(|_| self.retries.len() < SLOTS));
            }
            Event::Noted { what, .. } if what.starts_with(DRAINED) => self.drained = true,
            _ => {}
        }
        self.shared.log.push(Entry {
            at,
            process: self.process,
            event,
        });
    }

    /// Stops the worker for as long as somebody wants it quiet.
    fn hush(&mut self) {
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

    fn begin_fault(&mut self) {
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

    fn end_fault(&mut self) {
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

fn spawn(shared: &Shared, link: Option<&Proxy>) -> (Worker, u32) {
    let process = shared.processes.fetch_add(1, SeqCst) + 1;
    let place = serde_json::to_string(&shared.site.place(link)).expect("plain data");
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["worker", &shared.ledger.to_string(), &place]);
    (Worker::spawn(&mut command), process)
}
