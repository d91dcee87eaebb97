//! A thread that only wants to run now and then: where it could not, the machine had no time for
//! this process.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::history::{Micros, micros, now};

/// How often it wants to.
pub(crate) const BEAT: Duration = Duration::from_millis(20);
/// So much later than it wanted, and what others did late meanwhile was not their fault.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// Tells from when on the process was starved, each time it was, until now.
pub(crate) fn start(told: impl Fn(Micros) + Send + 'static) {
    thread::spawn(move || {
        loop {
            let (begun, since) = (Instant::now(), now());
            thread::sleep(BEAT);
            if begun.elapsed() > BEAT + LATE {
                told(since + micros(BEAT));
            }
        }
    });
}
