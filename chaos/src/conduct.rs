//! One run on one kind of site.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;

pub use crate::site::Topology;
use crate::{
    driver::{Driver, Shared},
    history::{Entry, Event},
    ledger::{self, Log},
    load::Load,
    server_faults::{self, Hush},
    site::Site,
};

/// How often a worker calls, on average: often enough, and leaves the machine room.
const PAUSE: Duration = Duration::from_millis(10);
/// The same where there is only one worker.
const ALONE: Duration = Duration::from_millis(3);

/// Lets everything run and fail for `duration`, then heals, asks every key once more, and returns what happened.
#[must_use]
pub fn conduct(topology: Topology, seed: u64, duration: Duration) -> Vec<Entry> {
    let site = Arc::new(Site::start(topology));
    let log = Arc::new(Log::default());
    let hush = Arc::new(Hush {
        workers: site.workers(),
        ..Hush::default()
    });
    let shared = Arc::new(Shared {
        ledger: ledger::start(Arc::clone(&log)),
        site: Arc::clone(&site),
        load: Load::default(),
        log: Arc::clone(&log),
        stop: AtomicBool::new(false),
        hush: Arc::clone(&hush),
        pause: if site.workers() == 1 { ALONE } else { PAUSE },
        processes: AtomicU32::new(0),
    });
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
            server_faults::run(&shared.site, rng, &shared.log, &shared.stop, &shared.hush);
        })
    };
    thread::sleep(duration);
    shared.stop.store(true, SeqCst);
    // The servers first: drivers wait for answers.
    faults.join().expect("the faults end");
    let mut drivers: Vec<_> = drivers
        .into_iter()
        .map(|driver| driver.join().expect("a driver ends"))
        .collect();
    for driver in &mut drivers {
        driver.settle();
    }
    log.note(Event::Healed);
    drivers[0].epilogue(0..shared.load.extent().1);
    log.take()
}
