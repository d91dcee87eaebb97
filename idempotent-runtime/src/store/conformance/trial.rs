//! What the rules share: a store under test, and short forms of common expectations.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use super::Subject;
use crate::{
    OnCrash, StoreError,
    fingerprint::Fingerprint,
    key::Key,
    record::{Nonce, Record, RecordedBytes, State},
    store::{ClaimReply, ClaimRequest, Settled, Store},
};

pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The lease of a [`request`], much longer than a rule takes.
pub(super) const LEASE: Duration = HOUR;

/// The `ttl` of a [`request`].
pub(super) const TTL: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// A store that has not answered for this long hangs. No rule asserts that anything is fast.
pub(super) const HANGS: Duration = Duration::from_secs(60);

/// A handle of the store under test, with the subject to make its records older.
pub(super) struct Trial<'a, S: Subject> {
    pub(super) subject: &'a S,
    pub(super) store: S::Store,
}

impl<'a, S: Subject> Trial<'a, S> {
    pub(super) async fn of(subject: &'a S) -> Self {
        Self {
            subject,
            store: subject.store().await,
        }
    }

    pub(super) async fn elapse(&self, key: &Key, time: Duration) {
        self.subject.elapse(key, time).await;
    }

    pub(super) async fn claim(&self, key: &Key, request: &ClaimRequest) -> ClaimReply {
        answered("claim", self.store.claim(key, request).await)
    }

    /// A claim that must be granted. Returns the record, and whether it was reported as a takeover.
    pub(super) async fn grant(
        &self,
        key: &Key,
        request: &ClaimRequest,
        rule: &str,
    ) -> (Record, bool) {
        match self.claim(key, request).await {
            ClaimReply::Granted { record, takeover } => {
                assert_eq!(
                    record.state,
                    State::Running,
                    "claim: a granted record is running; {rule}"
                );
                assert_eq!(
                    record.nonce, request.nonce,
                    "claim: a granted record has the claimer's nonce; {rule}"
                );
                (record, takeover)
            }
            held @ ClaimReply::Held { .. } => {
                panic!("{rule}; the claim must be granted, but the answer is {held:?}")
            }
        }
    }

    /// A new attempt that must be granted.
    pub(super) async fn start(&self, key: &Key) -> Record {
        self.grant(
            key,
            &request(),
            "protocol::claim: a key without a record, or with a failed one, is free",
        )
        .await
        .0
    }

    /// A claim that must be shown another attempt's record. Returns that, and what is left of its
    /// lease.
    pub(super) async fn held(
        &self,
        key: &Key,
        request: &ClaimRequest,
        rule: &str,
    ) -> (Record, Duration) {
        match self.claim(key, request).await {
            ClaimReply::Held { record, lease_left } => (record, lease_left),
            granted @ ClaimReply::Granted { .. } => {
                panic!("{rule}; the claim must not be granted, but the answer is {granted:?}")
            }
        }
    }

    pub(super) async fn renew(&self, key: &Key, owned: &Record) -> Settled {
        answered("renew", self.store.renew(key, owned).await)
    }

    pub(super) async fn finish(&self, key: &Key, target: &Record) -> Settled {
        answered("finish", self.store.finish(key, target).await)
    }

    /// A finish that must be applied. Returns the record as the store then has it.
    pub(super) async fn finished(&self, key: &Key, target: &Record) -> Record {
        let settled = self.finish(key, target).await;
        assert_eq!(
            settled,
            Settled::Applied,
            "protocol::finish: an owner's open record becomes the target"
        );
        self.record(key)
            .await
            .expect("contract 4 (retention): a record that was just written is there")
    }

    pub(super) async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Settled {
        answered(
            "overrule",
            self.store.overrule(key, seen, replacement).await,
        )
    }

    pub(super) async fn record(&self, key: &Key) -> Option<Record> {
        answered("read", self.store.read(key).await).map(|(record, _)| record)
    }

    /// Asserts that the key has exactly this record.
    pub(super) async fn stands(&self, key: &Key, record: &Record, rule: &str) {
        assert_eq!(self.record(key).await.as_ref(), Some(record), "{rule}");
    }
}

/// Polls `future` this many times and drops it, as a caller does that goes away.
pub(super) async fn drop_after(polls: usize, future: impl Future + Send) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            break;
        }
        tokio::task::yield_now().await;
    }
}

fn answered<T>(method: &str, answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| {
        panic!(
            "`{method}` answered with an error ({:?}): {error}",
            error.kind()
        )
    })
}

/// Asserts that the answer is another attempt's record, unchanged.
#[track_caller]
pub(super) fn refused(settled: &Settled, standing: &Record, rule: &str) {
    match settled {
        Settled::Stale { record, lease_left } => {
            assert_eq!(
                record, standing,
                "Stale shows the record that stands; {rule}"
            );
            let most = if record.state == State::Running {
                record.lease
            } else {
                Duration::ZERO
            };
            assert!(
                *lease_left <= most,
                "lease_left is {lease_left:?} of {most:?}; {rule}"
            );
        }
        other => panic!("{rule}; expected Stale, but the answer is {other:?}"),
    }
}

/// A key nobody has used.
pub(super) fn new_key() -> Key {
    Key::new("conformance", &[&unique()]).expect("a valid key")
}

/// A text nobody has used.
pub(super) fn unique() -> String {
    format!("{:032x}", u128::from_be_bytes(*new_nonce().as_bytes()))
}

pub(super) fn new_nonce() -> Nonce {
    Nonce::random().expect("randomness from the operating system")
}

/// A new attempt: [`LEASE`], [`TTL`], `rerun`, no fingerprint, owner or trace.
pub(super) fn request() -> ClaimRequest {
    ClaimRequest {
        nonce: new_nonce(),
        lease: LEASE,
        on_crash: OnCrash::Rerun,
        fingerprint: None,
        ttl: TTL,
        owner: None,
        trace: None,
    }
}

/// The same record with another `ttl`.
pub(super) fn kept(record: Record, ttl: Duration) -> Record {
    Record { ttl, ..record }
}

/// A new attempt with this lease.
pub(super) fn leasing(lease: Duration) -> ClaimRequest {
    ClaimRequest { lease, ..request() }
}

/// A new attempt under `fail`.
pub(super) fn failing() -> ClaimRequest {
    ClaimRequest {
        on_crash: OnCrash::Fail,
        ..request()
    }
}

/// A new attempt with this payload.
pub(super) fn paying(fingerprint: Fingerprint) -> ClaimRequest {
    ClaimRequest {
        fingerprint: Some(fingerprint),
        ..request()
    }
}

pub(super) fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint::from_bytes([byte; 16])
}

/// The target of a complete.
pub(super) fn done(owned: &Record, result: &[u8]) -> Record {
    Record {
        state: State::Done,
        codec: 7,
        outcome: Some(RecordedBytes::Ok(result.into())),
        ..owned.clone()
    }
}

/// The target of a release.
pub(super) fn released(owned: &Record) -> Record {
    Record {
        state: State::Failed,
        ..owned.clone()
    }
}

/// The target of an abandon under `fail`.
pub(super) fn lost(owned: &Record) -> Record {
    Record {
        state: State::Lost,
        ..owned.clone()
    }
}
