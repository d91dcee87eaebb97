//! A body that runs in its caller's own transaction, as the calls made from it see it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{
    Error, Key, OperationId,
    context::{
        Context, Home, RunningBody,
        observe::{Observation, Observed, Refusals},
    },
    events::Subject,
    record::Record,
};

/// One call with a key. The record of it is in the caller's own transaction.
pub(super) struct Execution {
    pub(super) scope: &'static str,
    pub(super) key: Key,
    /// The body this call was made from.
    caller: Context,
    /// The grant's fencing token, and its number; zero before.
    token: AtomicU64,
    attempts: AtomicU32,
    /// What the body was refused by other operations.
    refusals: Refusals,
}

impl Execution {
    pub(super) fn new(scope: &'static str, key: Key) -> Self {
        Self {
            scope,
            key,
            caller: Context::current(),
            token: AtomicU64::new(0),
            attempts: AtomicU32::new(0),
            refusals: Refusals::default(),
        }
    }

    pub(super) fn operation_id(&self) -> OperationId {
        OperationId::of(self.scope, &self.key)
    }

    pub(super) fn check_reentry(&self) -> Result<(), Error> {
        self.caller
            .check_reentry(self.scope, Home::Transaction, &self.key)
    }

    pub(super) fn set_granted(&self, record: &Record) {
        self.token.store(record.token, Ordering::Relaxed);
        self.attempts.store(record.attempts, Ordering::Relaxed);
    }

    /// The call was answered with a result of its function.
    pub(super) fn emit_answer(&self, outcome: Observed, recorded: bool, record: &Record) {
        let observation = Observation::of(outcome, recorded, record);
        self.caller
            .note_answer(self.scope, Some(&self.key), observation);
    }

    /// The body's `Err` comes of a call in it that was refused for now.
    pub(super) fn emit_failed_by_refusal(&self) {
        self.caller
            .note_failed_by_refusal(self.scope, Some(&self.key));
    }

    pub(super) fn emit_refusal(&self, error: &Error) {
        self.caller.note_refusal(self.scope, Some(&self.key), error);
    }
}

impl Subject for Execution {
    fn scope(&self) -> &'static str {
        self.scope
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl RunningBody for Execution {
    fn caller(&self) -> &Context {
        &self.caller
    }

    fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// On whichever connection: on another one, the call would wait for the end of this transaction.
    fn holds(&self, home: Home<'_>, key: &Key) -> bool {
        matches!(home, Home::Transaction) && self.key == *key
    }

    fn fencing_token(&self) -> u64 {
        self.token.load(Ordering::Relaxed)
    }

    fn attempt(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    fn is_protected(&self) -> bool {
        true
    }
}
