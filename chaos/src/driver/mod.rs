//! Drives one worker: sends its orders, and reads its output.

mod faults;

use std::{
    collections::{HashMap, HashSet},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use idempotent_test_support::{Proxy, Worker};

use self::faults::{Active, Late};
use crate::{
    history::{Answer, DRAINED, Entry, Event, Kind},
    ledger::Log,
    load::Load,
    say::Line,
    signals::Signals,
    site::Site,
    worker::Order,
};

/// The most calls in progress in a worker, those of a wave not counted.
const SLOTS: usize = 32;
/// The time between two waves of all workers, in milliseconds: one is to be answered before the
/// next.
const WAVES: std::ops::Range<u64> = 1_200..2_600;
/// How long calling every key once more may take before the rest is given up.
const EPILOGUE: Duration = Duration::from_secs(120);
/// How long the end of everything may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What all drivers share.
pub(crate) struct Shared {
    pub(crate) site: Arc<Site>,
    pub(crate) load: Load,
    pub(crate) log: Arc<Log>,
    pub(crate) ledger: u16,
    pub(crate) signals: Arc<Signals>,
    /// When the next wave is due.
    pub(crate) wave: Mutex<Instant>,
    /// The mean time between two calls of a worker.
    pub(crate) pause: Duration,
    pub(crate) processes: AtomicU32,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    rng: Rng,
    link: Option<Proxy>,
    worker: Worker,
    process: u32,
    /// The calls in progress, with their keys.
    calls: HashMap<u64, u32>,
    /// Keys whose caller will retry.
    retries: Vec<u32>,
    active: Option<Active>,
    late: Vec<Late>,
    /// The calls in progress that belong to a wave.
    in_wave: HashSet<u64>,
    is_calm: bool,
    /// How many of the next calls are held without a poll.
    to_hold: u32,
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
            late: Vec::new(),
            in_wave: HashSet::new(),
            is_calm: false,
            to_hold: 1,
            drained: false,
        }
    }

    /// Calls and injects faults until told to stop, then waits for what is in progress.
    pub(crate) fn run(&mut self) {
        let mut next_call = Instant::now();
        let mut next_fault = Instant::now() + self.lull();
        while !self.shared.signals.is_over() {
            self.listen(Duration::from_millis(2));
            self.hush();
            self.calm();
            self.end_late(false);
            self.wave();
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
            } else if self.active.is_none() && !self.is_calm && now >= next_fault {
                self.begin_fault();
                next_fault = now + self.lull();
            }
        }
        self.end_fault();
        self.end_late(true);
    }

    /// Waits until every call has ended and nothing is left behind.
    pub(crate) fn settle(&mut self) {
        let since = Instant::now();
        while !self.calls.is_empty() && since.elapsed() < PATIENCE {
            self.listen(Duration::from_millis(5));
        }
        self.drained = false;
        self.order(&Order::Drain);
        while !self.drained && since.elapsed() < PATIENCE {
            self.listen(Duration::from_millis(5));
        }
    }

    /// Calls every key once more, without faults.
    pub(crate) fn epilogue(&mut self, keys: impl Iterator<Item = u32>) {
        let since = Instant::now();
        for key in keys {
            if since.elapsed() > EPILOGUE {
                break;
            }
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
        if self.calls.len() - self.in_wave.len() >= SLOTS || self.paused() {
            return;
        }
        let (load, rng, calm) = (&self.shared.load, &mut self.rng, self.is_calm);
        let order = match self.retries.pop() {
            _ if self.to_hold > 0 => {
                self.to_hold -= 1;
                load.held(rng)
            }
            Some(key) if rng.u8(..) < 200 => load.again(key, rng, calm),
            _ => load.next(rng, calm),
        };
        self.order(&order);
    }

    /// Makes a wave of calls if it is due, or if one is requested now.
    fn wave(&mut self) {
        if self.paused() || !self.in_wave.is_empty() {
            return;
        }
        let signals = &self.shared.signals;
        {
            let mut due = self
                .shared
                .wave
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < *due && !signals.wave.swap(false, SeqCst) {
                return;
            }
            *due = Instant::now() + Duration::from_millis(self.rng.u64(WAVES));
        }
        let order = self.shared.load.wave(&mut self.rng);
        self.order(&order);
    }

    fn order(&mut self, order: &Order) {
        match order {
            Order::Call(task) => drop(self.calls.insert(task.call, task.key)),
            Order::Wave(tasks) => {
                self.calls
                    .extend(tasks.iter().map(|task| (task.call, task.key)));
                self.in_wave.extend(tasks.iter().map(|task| task.call));
            }
            Order::Drain => {}
        }
        self.worker
            .send(&serde_json::to_string(order).expect("plain data"));
    }

    fn paused(&self) -> bool {
        matches!(&self.active, Some(active) if active.kind == Kind::Stop)
    }

    /// Reads what the worker has written.
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
        if let Event::Answered { call, .. } | Event::Left { call } = &event {
            self.in_wave.remove(call);
        }
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
}

fn spawn(shared: &Shared, link: Option<&Proxy>) -> (Worker, u32) {
    let process = shared.processes.fetch_add(1, SeqCst) + 1;
    let place = serde_json::to_string(&shared.site.place(link)).expect("plain data");
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args([
        "worker",
        &process.to_string(),
        &shared.ledger.to_string(),
        &place,
    ]);
    (Worker::spawn(&mut command), process)
}
