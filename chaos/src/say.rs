//! What a worker writes into the history: its own events, and those that the library emits.

use std::{
    fmt,
    io::Write,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::history::{Event, Kind, Micros, now};

/// An event as a worker writes it. The conductor knows which process it is from.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(crate) struct Line {
    /// When.
    pub(crate) at: Micros,
    /// What.
    pub(crate) event: Event,
}

/// Writes one line to the conductor. If the conductor is gone, the worker ends.
pub(crate) fn say(event: Event) {
    say_since(now(), event);
}

/// Writes that a fault of this process, or of one of its calls, is over.
pub(crate) fn say_fault(kind: Kind, call: Option<u64>, since: Micros, observed: bool) {
    let event = Event::Fault {
        kind,
        process: Some(PROCESS.get().copied().unwrap_or_default()),
        call,
        until: now(),
        observed,
    };
    say_since(since, event);
}

/// The number of this process.
pub(crate) static PROCESS: OnceLock<u32> = OnceLock::new();

fn say_since(at: Micros, event: Event) {
    let line = Line { at, event };
    let mut text = serde_json::to_string(&line).expect("events are plain data");
    text.push('\n');
    let mut output = std::io::stdout().lock();
    if output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .is_err()
    {
        process::exit(1);
    }
}

tokio::task_local! {
    /// The call that is being polled.
    pub(crate) static CALL: Call;
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its number.
    pub(crate) id: u64,
    /// Whether the library has reported that its result is not recorded.
    pub(crate) unrecorded: AtomicBool,
}

/// Turns the library's events into lines of the history.
#[derive(Debug)]
pub(crate) struct Operator;

impl Subscriber for Operator {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "idempotent_fn"
            && metadata.is_event()
            && *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let Message { what, scope } = message;
        let call = CALL.try_with(|call| {
            if what == "unrecorded" {
                call.unrecorded.store(true, Ordering::Relaxed);
            }
            call.id
        });
        say(Event::Noted {
            what,
            call: call.ok(),
            scope,
        });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Message {
    what: String,
    scope: Option<String>,
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "scope" {
            self.scope = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.what = format!("{value:?}");
        }
    }
}
