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
    operation::options::Chosen,
    record::Record,
    store::{ClaimRequest, counters::Turn},
};

/// One call on its way through the store.
pub(crate) struct Attempt {
    pub(crate) scope: &'static str,
    pub(crate) key: Key,
    pub(crate) store: Chosen,
    pub(crate) request: ClaimRequest,
    pub(crate) wait: Duration,
    /// How long the body may run, where that is limited.
    pub(crate) timeout: Option<Duration>,
    /// The runtime that finishes what the caller leaves behind. Kept, because a drop may happen outside of it.
    pub(crate) runtime: Handle,
    /// The body this call was made from.
    pub(crate) caller: Context,
    pub(crate) progress: Progress,
}

/// What changes while a call is on its way.
#[derive(Default)]
pub(crate) struct Progress {
    /// The grant's fencing token, and its number; zero before.
    token: AtomicU64,
    attempts: AtomicU32,
    /// Whether the caller has gone and the runtime carries on.
    orphaned: AtomicBool,
    /// Whether something would be left in the store if the call just ended here.
    armed: AtomicBool,
    /// What the body was refused by other operations.
    pub(crate) refusals: Refusals,
    /// Whether the body's `Err` comes of such a refusal.
    refused_within: AtomicBool,
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
    /// Made where it is needed: the digest costs more than the rest of a call.
    pub(crate) fn operation_id(&self) -> OperationId {
        OperationId::of(self.scope, &self.key)
    }

    pub(crate) fn granted(&self, record: &Record) {
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

    pub(crate) fn arm(&self, armed: bool) {
        self.progress.armed.store(armed, Ordering::Relaxed);
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.progress.armed.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, turn: Turn) {
        self.store.counters().count(self.scope, turn);
    }

    /// The body, or what is asked about its result, panicked.
    pub(crate) fn panicked(&self) {
        self.count(Turn::Panicked);
        events::panicked(self);
    }

    /// The call was answered with a result of its function.
    pub(crate) fn answered(&self, outcome: Observed, recorded: bool, record: &Record) {
        if observe::is_watched() {
            let observation = Observation::of(outcome, recorded, record);
            self.caller
                .answered(self.scope, Some(&self.key), observation);
            if self.progress.refused_within.load(Ordering::Relaxed) {
                self.caller.refused_within(self.scope, Some(&self.key));
            }
        }
    }

    /// The body's `Err` comes of a call in it that was refused for now.
    pub(crate) fn ended_by_refusal(&self) {
        self.progress.refused_within.store(true, Ordering::Relaxed);
    }

    /// The call was refused. Nobody is refused whose caller has gone.
    pub(crate) fn refused(&self, error: &Error) {
        if !self.is_orphaned() {
            self.count(Turn::of(error));
            self.caller.refused(self.scope, Some(&self.key), error);
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
