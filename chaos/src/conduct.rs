//! One run on one kind of servers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

pub use crate::site::Topology;
use crate::{
    driver::{Driver, Shared},
    history::{Entry, Event, Kind, Micros, now},
    ledger::{self, Log},
    load::Load,
    pulse, server_faults,
    signals::Signals,
    site::Site,
};

/// The mean time between two calls of a worker: often enough, and the machine is not overloaded.
const PAUSE: Duration = Duration::from_millis(10);
/// The same if there is only one worker.
const ALONE: Duration = Duration::from_millis(3);
/// About how long a storm and a calm take together.
const CYCLE: Duration = Duration::from_secs(11);
/// How long a calm lasts, if there is time: longer than a call is held without a poll plus the wait
/// of its duplicates.
const CALM: Duration = Duration::from_millis(4_500);
/// How long running work may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs calls and faults for `duration`, then ends all faults, calls every key once more, and
/// returns what happened.
#[must_use]
pub fn conduct(topology: Topology, seed: u64, duration: Duration) -> Vec<Entry> {
    let site = Arc::new(Site::start(topology));
    let log = Arc::new(Log::default());
    let signals = Arc::new(Signals::new(site.workers()));
    let shared = Arc::new(Shared {
        ledger: ledger::start(Arc::clone(&log)),
        site: Arc::clone(&site),
        load: Load::default(),
        log: Arc::clone(&log),
        signals: Arc::clone(&signals),
        wave: Mutex::new(Instant::now()),
        pause: if site.workers() == 1 { ALONE } else { PAUSE },
        processes: AtomicU32::new(0),
    });
    watch_the_machine(&log);
    if let Site::Sqlite(file) = &*site {
        let log = Arc::clone(&log);
        file.watch_the_disk(move |since| log.push(starved(since)));
    }
    let mut rng = Rng::with_seed(seed);
    let drivers: Vec<_> = (0..site.workers())
        .map(|_| {
            let (shared, rng) = (Arc::clone(&shared), rng.fork());
            thread::spawn(move || {
                let mut driver = Driver::new(shared, rng);
                driver.run();
                driver
            })
        })
        .collect();
    let faults = {
        let (shared, rng) = (Arc::clone(&shared), rng.fork());
        thread::spawn(move || {
            server_faults::run(&shared.site, rng, &shared.log, &shared.signals);
        })
    };
    storms_and_calms(&site, &signals, &log, duration);
    signals.stop.store(true, SeqCst);
    signals.calm.open();
    // The servers' faults end first: drivers wait for answers.
    faults.join().expect("the faults end");
    let drivers = drivers.into_iter();
    let drivers = drivers.map(|driver| driver.join().expect("a driver ends"));
    // Every process is asked: a single one of them may be stuck.
    let drivers = together(drivers.collect(), Driver::settle);
    log.note(Event::Healed);
    let (keys, count) = (shared.load.keys(), drivers.len());
    let mut index = 0;
    let shares = drivers.into_iter().map(|driver| {
        let keys: Vec<_> = keys.iter().copied().skip(index).step_by(count).collect();
        index += 1;
        (driver, keys)
    });
    together(shares.collect(), |(driver, keys)| {
        driver.epilogue(keys.drain(..));
    });
    log.take()
}

/// Ends with a calm, so that no lease of an owner is left.
fn storms_and_calms(site: &Site, signals: &Signals, log: &Log, duration: Duration) {
    let cycles = (duration.as_secs_f64() / CYCLE.as_secs_f64())
        .round()
        .max(1.0);
    let cycle = duration.div_f64(cycles);
    let calm = CALM.min(cycle.mul_f64(0.75));
    let end = Instant::now() + duration;
    while Instant::now() + calm.mul_f64(0.5) < end {
        thread::sleep(cycle.saturating_sub(calm));
        let all_calm = signals.calm.close(PATIENCE);
        let at = now();
        watch_the_servers(site, log, calm);
        if all_calm {
            let event = Event::Calm { until: now() };
            let process = 0;
            log.push(Entry { at, process, event });
        }
        if Instant::now() >= end {
            break;
        }
        signals.calm.open();
    }
}

/// Does something with all of them in parallel.
fn together<T: Send + 'static>(
    all: Vec<T>,
    work: impl Fn(&mut T) + Clone + Send + 'static,
) -> Vec<T> {
    let threads: Vec<_> = all
        .into_iter()
        .map(|mut one| {
            let work = work.clone();
            thread::spawn(move || {
                work(&mut one);
                one
            })
        })
        .collect();
    let threads = threads.into_iter();
    threads
        .map(|thread| thread.join().expect("it ends"))
        .collect()
}

/// Notes when the machine gave this process no time. Then servers and workers had none either.
fn watch_the_machine(log: &Arc<Log>) {
    let log = Arc::clone(log);
    pulse::start(move |since| log.push(starved(since)));
}

/// For `duration`, notes when a server was slow to answer because of its disk or its machine.
fn watch_the_servers(site: &Site, log: &Log, duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        for server in site.servers() {
            let (asked, since) = (Instant::now(), now());
            let _role_changes_hang_up = server.try_cli(&["PING"]);
            if asked.elapsed() > pulse::LATE {
                log.push(starved(since));
            }
        }
        thread::sleep(pulse::BEAT);
    }
}

fn starved(since: Micros) -> Entry {
    let event = Event::Fault {
        kind: Kind::Starved,
        process: None,
        call: None,
        until: now(),
        observed: true,
    };
    Entry {
        at: since,
        process: 0,
        event,
    }
}
