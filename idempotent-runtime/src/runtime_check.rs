//! Checks that the runtime has what a call needs: timers, and I/O if its store needs it.
//!
//! Tokio (as of 1.54) cannot be asked for that. It panics when a timer or a socket is created in a
//! runtime without it. So this module creates one, once for each runtime and before anything is
//! claimed. It catches the panic, and keeps it from the program's panic hook. If panics abort the
//! process, the program ends here, with Tokio's own message.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Handle, Id},
    time,
};

/// How many runtimes are remembered. Most programs have one or two.
const MAX_REMEMBERED: usize = 64;

/// A runtime that has timers, and I/O if `io`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    runtime: Id,
    io: bool,
}

thread_local! {
    /// The runtime that this thread has checked last.
    static LAST: Cell<Option<Found>> = const { Cell::new(None) };
    /// Whether this thread is creating a timer or a socket for a check.
    static IS_PROBING: Cell<bool> = const { Cell::new(false) };
}

/// The runtimes that were checked. It is locked during a check, because there is only one panic
/// hook.
static CHECKED: Mutex<Vec<Found>> = Mutex::new(Vec::new());

/// Checks `runtime`, which must be the current one. The error says what it lacks, and what to do
/// about it.
#[inline]
pub(crate) fn check(runtime: &Handle, needs_io: bool) -> Result<(), &'static str> {
    let runtime = runtime.id();
    match LAST.get() {
        Some(last) if last.runtime == runtime && (last.io || !needs_io) => Ok(()),
        _ => probe(Found {
            runtime,
            io: needs_io,
        }),
    }
}

/// Checks the current runtime, and remembers it.
#[cold]
fn probe(needed: Found) -> Result<(), &'static str> {
    // A panicking thread must not change the hook, and may be running in it.
    if thread::panicking() {
        return Ok(());
    }
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_good = |found: &Found| found.runtime == needed.runtime && (found.io || !needed.io);
    if !checked.iter().any(is_good) {
        with_hook_muted(|| {
            does_not_panic(|| drop(time::sleep(Duration::ZERO)))
                .then_some(())
                .ok_or(" with timers: build it with `enable_time` or `enable_all`")?;
            (!needed.io || does_not_panic(open_socket))
                .then_some(())
                .ok_or(" with I/O: build it with `enable_io` or `enable_all`")
        })?;
        if checked.len() == MAX_REMEMBERED {
            checked.remove(0);
        }
        checked.push(needed);
    }
    LAST.set(Some(needed));
    Ok(())
}

/// Registers a socket with the runtime. It sends nothing.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn open_socket() {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    // If no such socket can be bound, this is no test, and connecting will report it.
    drop(socket.map(tokio::net::UdpSocket::from_std));
}

#[cfg(not(any(feature = "postgres", feature = "redis")))]
fn open_socket() {}

fn does_not_panic(probe: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(probe)).is_ok()
}

/// Runs `work`, while panics of this thread, and only these, are kept from the panic hook.
fn with_hook_muted<R>(work: impl FnOnce() -> R) -> R {
    let hook = Arc::new(panic::take_hook());
    let others = Arc::clone(&hook);
    panic::set_hook(Box::new(move |info| {
        if !IS_PROBING.get() {
            others(info);
        }
    }));
    IS_PROBING.set(true);
    let result = work();
    IS_PROBING.set(false);
    drop(panic::take_hook());
    match Arc::try_unwrap(hook) {
        Ok(hook) => panic::set_hook(hook),
        Err(shared) => panic::set_hook(Box::new(move |info| shared(info))),
    }
    result
}
