//! Whether the runtime has what a call needs: timers, and I/O where its store is behind a network.
//!
//! Tokio has no question for that (as of 1.54); it tells by a panic, when a timer or a socket is made. So one is made here,
//! once for each runtime and before anything is claimed, and the panic is caught, and kept from the program's panic hook.
//! Where panics abort the process, nothing can be caught: such a program ends here, with tokio's own message.

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

/// How many runtimes are remembered; programs have one or two.
const REMEMBERED: usize = 64;

/// What was found in a runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    runtime: Id,
    io: bool,
}

thread_local! {
    /// The runtime in which this thread last found what it needed.
    static LAST: Cell<Option<Found>> = const { Cell::new(None) };
    /// Whether this thread is asking tokio.
    static ASKS: Cell<bool> = const { Cell::new(false) };
}

/// The runtimes that have what was needed. It is held while tokio is asked: there is one panic hook.
static GOOD: Mutex<Vec<Found>> = Mutex::new(Vec::new());

/// What the current runtime, which this is, lacks; and what to do about it.
#[inline]
pub(crate) fn check(runtime: &Handle, needs_io: bool) -> Result<(), &'static str> {
    let runtime = runtime.id();
    match LAST.get() {
        Some(last) if last.runtime == runtime && (last.io || !needs_io) => Ok(()),
        _ => ask(Found {
            runtime,
            io: needs_io,
        }),
    }
}

#[cold]
fn ask(needed: Found) -> Result<(), &'static str> {
    // A panicking thread may not touch the hook, and may be inside of it.
    if thread::panicking() {
        return Ok(());
    }
    let mut good = GOOD.lock().unwrap_or_else(PoisonError::into_inner);
    let is_good = |found: &Found| found.runtime == needed.runtime && (found.io || !needed.io);
    if !good.iter().any(is_good) {
        quietly(|| {
            succeeds(|| drop(time::sleep(Duration::ZERO)))
                .then_some(())
                .ok_or(" with timers: build it with `enable_time` or `enable_all`")?;
            (!needed.io || succeeds(open_socket))
                .then_some(())
                .ok_or(" with I/O: build it with `enable_io` or `enable_all`")
        })?;
        if good.len() == REMEMBERED {
            good.remove(0);
        }
        good.push(needed);
    }
    LAST.set(Some(needed));
    Ok(())
}

/// Registers a socket, which sends nothing.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn open_socket() {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    // Where there is not even such a socket, connecting will say so.
    drop(socket.map(tokio::net::UdpSocket::from_std));
}

#[cfg(not(any(feature = "postgres", feature = "redis")))]
fn open_socket() {}

fn succeeds(ask: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(ask)).is_ok()
}

/// Does `ask` while the panic hook hears nothing of this thread. It hears of all others.
fn quietly<R>(ask: impl FnOnce() -> R) -> R {
    let hook = Arc::new(panic::take_hook());
    let others = Arc::clone(&hook);
    panic::set_hook(Box::new(move |info| {
        if !ASKS.get() {
            others(info);
        }
    }));
    ASKS.set(true);
    let answer = ask();
    ASKS.set(false);
    drop(panic::take_hook());
    match Arc::try_unwrap(hook) {
        Ok(hook) => panic::set_hook(hook),
        Err(shared) => panic::set_hook(Box::new(move |info| shared(info))),
    }
    answer
}
