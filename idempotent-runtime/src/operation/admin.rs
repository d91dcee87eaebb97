//! What an operator does by hand: inspect a key, settle it if it is in doubt, reset it.

use std::time::Duration;

use tokio::task::coop::unconstrained;

use crate::{
    Error, Key, OnCrash, Operation, SharedStore,
    codec::redact::shape_of,
    context::Context,
    record::{DONE_HEADER, MIN_LEASE, Nonce, Record, RecordedBytes, State, clamp_ttl, too_large},
    store::{ClaimReply, ClaimRequest, Settled, inspection::Inspection, protocol::replacement},
};

/// How an operation that is in doubt is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution<T> {
    /// Its effects did not happen: the next call runs.
    Rerun,
    /// Its effects happened, and this is the result. It is recorded and replayed, for the `ttl` of
    /// the attempt in doubt, or for as long as [`ttl_with`](Operation::ttl_with) says.
    Done(T),
}

/// What a decision may be about, beside a key in doubt or one that was released.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    InDoubt,
    /// Also a key without a record.
    Unseen,
    /// A recorded result, and nothing else.
    Recorded,
}

/// What a decision does to an owner whose lease is not over when it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The decision is refused.
    Spared,
    Stopped,
}

/// How often a decision is tried if the record changes in between.
const TRIES: u32 = 8;

// Not beside the builder, because no call does this.
impl<T, E, F> Operation<T, E, F> {
    /// The key's current record; `None` if there is none.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, record::State, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = || operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// assert!(charge().inspect().await?.is_none());
    /// charge().run(async { Ok(4711) }).await?;
    /// let seen = charge().inspect().await?.expect("a record");
    /// assert_eq!((seen.state, seen.attempts), (State::Done, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel-safe: it changes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::Config`], [`Error::Unavailable`], [`Error::Incompatible`].
    pub async fn inspect(self) -> Result<Option<Inspection>, Error> {
        let look = async {
            let (store, key) = self.options.store_and_key()?;
            let read = unconstrained(store.read(&key))
                .await
                .map_err(|error| Error::store(self.options.operation_id(), error))?;
            Ok(read.map(|(record, lease_left)| Inspection::of(&store, record, lease_left)))
        };
        self.note_outcome(look).await
    }

    /// Runs an operator's call, and notes its end with the body that it may be made in. If it is
    /// refused for now, that body's `Err` is not final, as after any refused call.
    async fn note_outcome<R>(
        &self,
        work: impl Future<Output = Result<R, Error>>,
    ) -> Result<R, Error> {
        let ended = work.await;
        let (scope, key) = (self.options.scope, &self.options.key);
        Context::with(|context| context.note_by_hand(scope, key, ended.as_ref().err()));
        ended
    }

    /// Settles a key that is in doubt ([`Error::Indeterminate`]), once you have found out what
    /// happened. Nothing that its vanished owner still sends undoes it. A key that was released may
    /// be given a result too. A key without a record is an error, because it may be the wrong key;
    /// see [`resolve_unseen`](Self::resolve_unseen). With a [`fingerprint`](Self::fingerprint), a
    /// record of another payload is an error.
    ///
    /// The record keeps its lease, `on_crash` and number of attempts. It keeps its fingerprint too:
    /// the result answers only the payload of the attempt in doubt. A released key has no payload
    /// of its own. There, the result is bound to the [`fingerprint`](Self::fingerprint) that you
    /// give here, or else to that of the last attempt. If that had none either, the result answers
    /// every payload.
    ///
    /// The result is kept for the `ttl` of the attempt in doubt, unless this operation has a [`ttl`](Self::ttl)
    /// or [`ttl_with`](Self::ttl_with) of its own.
    ///
    /// The record does not know the function's code. So name again what differs from the defaults:
    /// the [`store`](Self::store) with its namespace, and the codec
    /// ([`operation_with_codec`](crate::operation_with_codec)). A result in another codec is
    /// [`Error::Incompatible`] to the function.
    ///
    /// Cancel-safe: a dropped call has decided or has not, and may be made again.
    ///
    /// ```
    /// # use std::{future::pending, time::Duration};
    /// # use idempotent_fn::{Error, OnCrash, SharedStore, operation, operation::Resolution, record::State, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = || {
    ///     let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]);
    ///     charge.on_crash(OnCrash::Fail).store(&store)
    /// };
    /// // The bank has not answered in time: nobody knows whether it has charged.
    /// let late = charge().timeout(Duration::from_millis(20)).run(pending()).await;
    /// assert!(late.is_err());
    /// // The bank says that the charge went through, with this receipt.
    /// charge().resolve(Resolution::Done(4711)).await?;
    /// let seen = charge().inspect().await?.expect("a record");
    /// assert_eq!(seen.state, State::Done);
    /// assert_eq!(charge().run(async { Ok(0) }).await?, 4711);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InFlight`] while an owner runs; [`Error::KeyReused`] if the key was used with
    /// another payload; [`Error::AlreadyRecorded`] if a result is recorded (see
    /// [`forget`](Self::forget)); [`Error::Config`] if there is no record, or if the given result
    /// cannot be recorded; those of [`inspect`](Self::inspect).
    pub async fn resolve(self, resolution: Resolution<T>) -> Result<(), Error> {
        self.decide(resolution, About::InDoubt).await
    }

    /// As [`resolve`](Self::resolve), also if the key has no record: because the store has lost it,
    /// say, or because the effect happened before this library was in use. The `ttl`, `on_crash`,
    /// lease and fingerprint are then this operation's own. So if the function has a fingerprint,
    /// give the same value to [`fingerprint`](Self::fingerprint). Without one, the result answers
    /// every payload.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, operation::Resolution, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = || operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// assert!(charge().resolve(Resolution::Done(4711)).await.is_err()); // nobody has ever called it
    /// charge().resolve_unseen(Resolution::Done(4711)).await?;
    /// assert_eq!(charge().run(async { Ok(0) }).await?, 4711);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel-safe: a dropped call has decided or has not, and may be made again.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve), except for the missing record.
    pub async fn resolve_unseen(self, resolution: Resolution<T>) -> Result<(), Error> {
        self.decide(resolution, About::Unseen).await
    }

    /// Replaces the recorded result by `value`, in one step: a wrong one that was given by hand, say, or one that the
    /// function cannot read. The key is never free in between, as it is between a [`forget`](Self::forget) and a
    /// [`resolve_unseen`](Self::resolve_unseen). The new result is kept for the record's `ttl` from now on, or for as
    /// long as this operation says. Whoever got the old result keeps it, and the near caches of other processes may
    /// replay it for a while.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, operation::Resolution, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = || operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// charge().resolve_unseen(Resolution::Done(4711)).await?; // a slip
    /// charge().correct(4712).await?;
    /// assert_eq!(charge().run(async { Ok(0) }).await?, 4712);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel-safe: it is done or it is not; doing it again does no harm.
    ///
    /// # Errors
    /// [`Error::Config`] where no result is recorded; else those of [`resolve`](Self::resolve). A record that is damaged
    /// is [`Error::Incompatible`], and stays.
    pub async fn correct(self, value: T) -> Result<(), Error> {
        self.decide(Resolution::Done(value), About::Recorded).await
    }

    async fn decide(self, resolution: Resolution<T>, about: About) -> Result<(), Error> {
        self.note_outcome(self.settle(resolution, about)).await
    }

    async fn settle(&self, resolution: Resolution<T>, about: About) -> Result<(), Error> {
        let (store, key) = self.options.store_and_key()?;
        let operation = self.options.operation_id();
        let (outcome, ttl) = match resolution {
            Resolution::Rerun => (None, None),
            Resolution::Done(value) => {
                let outcome = self.outcome(&store, &value)?;
                (Some(outcome), self.policy.ttl.map(|ttl| ttl(&Ok(value))))
            }
        };
        let fingerprint = self.options.fingerprint();
        self.overrule(&store, &key, ttl, Owner::Spared, |seen, lease_left| {
            if seen.is_some_and(|seen| seen.conflicts_with(fingerprint)) {
                return Err(Error::KeyReused { operation });
            }
            match seen.map(|seen| seen.state) {
                None if about == About::InDoubt => {
                    return Err(Error::config(
                        operation,
                        "there is no record of this key, so it may be the wrong one; `resolve_unseen` decides all the same",
                    ));
                }
                Some(State::Running) if !lease_left.is_zero() => {
                    return Err(Error::in_flight(operation, Duration::ZERO, lease_left));
                }
                Some(State::Done) if about != About::Recorded => {
                    return Err(Error::AlreadyRecorded { operation });
                }
                None | Some(State::Running | State::Failed | State::Lost)
                    if about == About::Recorded =>
                {
                    return Err(Error::config(
                        operation,
                        "there is no recorded result to correct; `resolve` settles a key in doubt",
                    ));
                }
                _ => {}
            }
            Ok(outcome.clone())
        })
        .await
    }

    /// Resets the key, whatever is recorded: the next call runs. A running body is stopped at its
    /// next heartbeat. Its result is not recorded, and the next call does not wait for it. The near
    /// caches of other processes may replay an old result for a while.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = || operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// charge().run(async { Ok(4711) }).await?;
    /// charge().forget().await?;
    /// assert_eq!(charge().run(async { Ok(4712) }).await?, 4712); // it ran again
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel-safe: a dropped call has decided or has not, and may be made again.
    ///
    /// # Errors
    /// Those of [`inspect`](Self::inspect).
    pub async fn forget(self) -> Result<(), Error> {
        let reset = async {
            let (store, key) = self.options.store_and_key()?;
            self.overrule(&store, &key, None, Owner::Stopped, |_, _| Ok(None))
                .await
        };
        self.note_outcome(reset).await
    }

    /// A claim that makes a lapsed record of `fail` lost, and takes one of `rerun`. If this process
    /// ends before the decision, the key is free.
    fn lapsed_claim(&self, store: &SharedStore) -> Result<ClaimRequest, Error> {
        let nonce = Nonce::random().map_err(|error| self.options.config(error.to_string()))?;
        Ok(ClaimRequest {
            lease: MIN_LEASE,
            on_crash: OnCrash::Rerun,
            fingerprint: None,
            ..self.options.request(store, nonce)
        })
    }

    /// Replaces the record, as `decide` says: by a done record with the outcome that it returns,
    /// or, if that is `None`, by a released one. A done record is kept for `ttl`, if given.
    async fn overrule(
        &self,
        store: &SharedStore,
        key: &Key,
        ttl: Option<Duration>,
        owner: Owner,
        decide: impl Fn(Option<&Record>, Duration) -> Result<Option<RecordedBytes>, Error>,
    ) -> Result<(), Error> {
        let operation = self.options.operation_id();
        let failed = |error| Error::store(operation, error);
        // One nonce for all tries. If an answer is lost, the store knows by it what it has done
        // already.
        let nonce = Nonce::random().map_err(|error| Error::config(operation, error.to_string()))?;
        let request = self.options.request(store, nonce);
        let claim = self.lapsed_claim(store)?;
        let mut seen = unconstrained(store.read(key)).await.map_err(failed)?;
        for _ in 0..TRIES {
            let outcome = decide(
                seen.as_ref().map(|(record, _)| record),
                seen.as_ref().map_or(Duration::ZERO, |s| s.1),
            )?;
            let seen_record = seen.as_ref().map(|(record, _)| record);
            let result = outcome.map(|outcome| (self.policy.ok.codec, outcome));
            let mut replacement = replacement(seen_record, &request, result);
            if let Some(ttl) = ttl {
                replacement.ttl = clamp_ttl(ttl);
            } else if self.options.ttl.is_some() {
                replacement.ttl = request.ttl;
            }
            let current = match seen_record {
                // The owner may renew its lease after it was seen to be over. A claim takes the
                // record only if the lease is over, in the same step.
                Some(record) if record.state == State::Running && owner == Owner::Spared => {
                    let claimed = unconstrained(store.claim(key, &claim)).await;
                    match claimed.map_err(failed)? {
                        ClaimReply::Granted { record, .. } => Some(record),
                        ClaimReply::Held { record, lease_left } => {
                            seen = Some((record, lease_left));
                            continue;
                        }
                    }
                }
                _ => seen_record.cloned(),
            };
            let overruled = store.overrule(key, current.as_ref(), &replacement);
            seen = match unconstrained(overruled).await.map_err(failed)? {
                Settled::Applied | Settled::PutBack => return Ok(()),
                Settled::Stale { record, lease_left } => Some((record, lease_left)),
                Settled::Absent => None,
            };
        }
        let lease_left = seen.map_or(Duration::ZERO, |(_, lease_left)| lease_left);
        Err(Error::in_flight(operation, Duration::ZERO, lease_left))
    }

    fn outcome(&self, store: &SharedStore, value: &T) -> Result<RecordedBytes, Error> {
        let mut bytes = Vec::new();
        let refused = |reason: String| {
            Error::config(
                self.options.operation_id(),
                format!("the given result cannot be recorded: {reason}"),
            )
        };
        (self.policy.ok.encode)(value, &mut bytes).map_err(|error| refused(shape_of(&error)))?;
        let limit = store.result_limit();
        if DONE_HEADER + bytes.len() > limit {
            return Err(refused(too_large(bytes.len(), limit)));
        }
        Ok(RecordedBytes::Ok(bytes.into()))
    }
}
