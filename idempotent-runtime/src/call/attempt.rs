//! One call with a key, from its preparation to its end.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    Error, Key, OperationId,
    context::{
        Context, Home, RunningBody,
        observe::{self, Observation, Observed, Refusals},
    },
    events::{self, Subject},
    operation::options::ChosenStore,
    record::Record,
    store::{ClaimRequest, counters::Turn},
};

/// One call with a key: what it asks of the store, and how far it has come.
pub(crate) struct Attempt {
    pub(crate) scope: &'static str,
    pub(crate) key: Key,
    pub(crate) store: ChosenStore,
    pub(crate) request: ClaimRequest,
    pub(crate) wait: Duration,
    /// The limit of the body's running time, if there is one.
    pub(crate) timeout: Option<Duration>,
    /// The runtime that finishes what the caller leaves behind. Stored, because a drop may happen
    /// outside of any runtime.
    pub(crate) runtime: Handle,
    /// The context that the call was made in.
    pub(crate) caller: Context,
    pub(crate) progress: Progress,
}

/// The part of an attempt that changes while the call runs.
#[derive(Default)]
pub(crate) struct Progress {
    /// The fencing token and the number of the grant. Zero before the grant.
    token: AtomicU64,
    attempts: AtomicU32,
    /// Whether the caller has gone and the runtime carries the call on.
    orphaned: AtomicBool,
    /// Whether the store would have to be told something if the call ended now.
    armed: AtomicBool,
    /// The calls made by the body that were refused for now.
    pub(crate) refusals: Refusals,
    /// Whether the body returned `Err` while it had such refusals.
    failed_by_refusal: AtomicBool,
}

impl Subject for Attempt {
    fn scope(&self) -> &'static str {
        self.scope
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl Attempt {
    /// Computed on request: its digest costs more than the rest of a call in memory.
    pub(crate) fn operation_id(&self) -> OperationId {
        OperationId::of(self.scope, &self.key)
    }

    pub(crate) fn set_granted(&self, record: &Record) {
        self.progress.token.store(record.token, Ordering::Relaxed);
        self.progress
            .attempts
            .store(record.attempts, Ordering::Relaxed);
    }

    pub(crate) fn orphan(&self) {
        self.progress.orphaned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.progress.orphaned.load(Ordering::Relaxed)
    }

    pub(crate) fn set_armed(&self, armed: bool) {
        self.progress.armed.store(armed, Ordering::Relaxed);
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.progress.armed.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, turn: Turn) {
        self.store.counters().count(self.scope, turn);
    }

    /// Counts and reports a panic of the body, or of the user's code that examines its result.
    pub(crate) fn emit_panic(&self) {
        self.count(Turn::Panicked);
        events::panicked(self);
    }

    /// Reports to observers, and to the body that made this call, that it returned a result.
    pub(crate) fn emit_answer(&self, outcome: Observed, recorded: bool, record: &Record) {
        if observe::is_watched() {
            let observation = Observation::of(outcome, recorded, record);
            self.caller
                .note_answer(self.scope, Some(&self.key), observation);
            if self.progress.failed_by_refusal.load(Ordering::Relaxed) {
                self.caller
                    .note_failed_by_refusal(self.scope, Some(&self.key));
            }
        }
    }

    /// Notes that the body returned `Err` after one of its calls was refused for now.
    pub(crate) fn set_failed_by_refusal(&self) {
        self.progress
            .failed_by_refusal
            .store(true, Ordering::Relaxed);
    }

    /// Counts and reports that the call was refused, unless its caller has gone.
    pub(crate) fn emit_refusal(&self, error: &Error) {
        if !self.is_orphaned() {
            self.count(Turn::of(error));
            self.caller.note_refusal(self.scope, Some(&self.key), error);
        }
    }
}

impl RunningBody for Attempt {
    fn caller(&self) -> &Context {
        &self.caller
    }

    fn refusals(&self) -> &Refusals {
        &self.progress.refusals
    }

    fn holds(&self, home: Home<'_>, key: &Key) -> bool {
        matches!(home, Home::Store(store) if self.store.is(store)) && self.key == *key
    }

    fn fencing_token(&self) -> u64 {
        self.progress.token.load(Ordering::Relaxed)
    }

    fn attempt(&self) -> u32 {
        self.progress.attempts.load(Ordering::Relaxed)
    }

    fn is_protected(&self) -> bool {
        true
    }
}
