//! A thread that wakes at regular times. If it is late, the machine gave this process no time.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::history::{Micros, micros, now};

/// How often it wakes.
pub(crate) const BEAT: Duration = Duration::from_millis(20);
/// From this delay on the process counts as starved: what was late meanwhile was not the library's
/// fault.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// Calls `told` with the beginning of each time in which the process was starved, at its end.
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
