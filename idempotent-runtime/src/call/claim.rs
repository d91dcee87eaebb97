//! The guard of a granted claim: what the store is owed at each stage, and how it is told.

use std::{sync::Arc, time::Duration};

use super::{
    background::{REPLY_TIMEOUT, owe_outcome, report, with_timeout, without_result},
    local,
};
use crate::{
    StoreError,
    call::attempt::Attempt,
    events,
    record::{self, Record, RecordedBytes, RecordedBytesRef, State},
    store::{
        Settled,
        counters::Turn,
        protocol::{abandoned, released},
        single_flight::{FlightOutcome, Lead},
    },
};

/// The guard of a granted claim. Its drop does in the background what the stage asks for:
///
/// | stage | at the drop | the runtime then |
/// |---|---|---|
/// | granted | the body was not polled yet | releases, under `fail` too: nothing ran |
/// | started | the body was polled | abandons: free under `rerun`, lost under `fail` |
/// | encoding | the `ttl` or the codec panicked | finishes as done, without the result |
/// | finishing | the body has returned | finishes, until answered or `ttl` has passed |
/// | settled | the store knows the end | nothing |
pub(crate) struct Claim {
    pub(crate) attempt: Arc<Attempt>,
    stage: Stage,
    /// The record as it was granted. Once the body has returned, the record that the finish writes.
    record: Record,
    /// The lead of this process' flight, if this call has it.
    lead: Option<Lead>,
}

/// See the table at [`Claim`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Granted,
    Started,
    Encoding,
    Finishing,
    Settled,
}

impl Claim {
    /// A claim that the store has just granted. Counts a takeover.
    pub(crate) fn new(
        attempt: Arc<Attempt>,
        lead: Option<Lead>,
        record: Record,
        takeover: bool,
    ) -> Self {
        if takeover {
            attempt.count(Turn::TakenOver);
            events::taken_over(&attempt, &record);
        }
        if let Some(lead) = &lead {
            lead.extend(record.lease);
        }
        Self::granted(attempt, lead, record)
    }

    /// As [`new`](Self::new), for a grant that is no takeover.
    #[inline]
    pub(super) fn granted(attempt: Arc<Attempt>, lead: Option<Lead>, record: Record) -> Self {
        attempt.set_armed(true);
        attempt.set_granted(&record);
        Self {
            attempt,
            stage: Stage::Granted,
            record,
            lead,
        }
    }

    /// The record as it was granted. Once the body has returned, the record that the finish writes.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Called before the body is polled, by `local` and by [`drive`](Self::drive): from then on its
    /// effects may have happened. Returns whether this is its first poll.
    pub(crate) fn start(&mut self) -> bool {
        self.advance(Stage::Granted, Stage::Started)
    }

    /// Called when the body has returned a final result, before the user's code runs that gives its
    /// `ttl` and its bytes.
    pub(crate) fn begin_encoding(&mut self) {
        self.advance(Stage::Started, Stage::Encoding);
    }

    /// Keeps the result for `ttl`, instead of the operation's.
    pub(crate) fn set_ttl(&mut self, ttl: Duration) {
        self.record.ttl = record::clamp_ttl(ttl);
    }

    /// The attempt is over, and the finish is to write `target`. From now on the store is owed
    /// that.
    pub(crate) fn end(&mut self, target: Record) {
        self.record = target;
        self.stage = Stage::Finishing;
    }

    /// As [`end`](Self::end), with a result. A store in this process records it at once; then
    /// nothing is owed any more.
    pub(crate) fn complete(&mut self, codec: u32, outcome: RecordedBytesRef<'_>) {
        let completed = local::complete(&self.attempt, &self.record, codec, outcome);
        self.record.state = State::Done;
        self.record.codec = codec;
        if completed {
            self.set_settled();
        } else {
            self.record.outcome = Some(outcome.to_owned());
            self.stage = Stage::Finishing;
        }
    }

    /// Whether the attempt is over and the store is still owed the finish.
    pub(crate) fn is_ending(&self) -> bool {
        self.stage == Stage::Finishing
    }

    /// Whether nothing is owed to the store any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.stage == Stage::Settled
    }

    fn advance(&mut self, from: Stage, to: Stage) -> bool {
        let is_at = self.stage == from;
        if is_at {
            self.stage = to;
        }
        is_at
    }

    /// Tells this process' followers that the owner is alive and has renewed its lease.
    pub(crate) fn extend(&self, lease: Duration) {
        if let Some(lead) = &self.lead {
            lead.extend(lease);
        }
    }

    /// Another attempt owns the record, so this one owes nothing any more. Its followers ask the
    /// store themselves.
    pub(crate) fn lose(mut self) {
        self.set_settled();
    }

    /// Sends the finish, unless the claim is settled already. Returns the current record and what
    /// is left of its lease if another attempt owns it.
    ///
    /// If the store does not answer, the claim stays owed: its drop hands the finish to the
    /// background, and the caller need not wait.
    pub(crate) async fn finish(&mut self) -> Option<(Record, Duration)> {
        if self.is_settled() {
            return None;
        }
        let settled = match Box::pin(self.send_finish()).await {
            Ok(settled) => settled,
            Err(error) => {
                self.attempt.count(Turn::Unrecorded);
                events::unrecorded(&self.attempt, &error);
                return None; // The drop of this claim hands the finish over.
            }
        };
        self.set_settled();
        report(&self.attempt, &settled);
        if let (Some(lead), Settled::Applied | Settled::PutBack, State::Done) =
            (self.lead.take(), &settled, self.record.state)
        {
            lead.land(FlightOutcome::Record(Arc::new(self.record.clone())));
        }
        match settled {
            Settled::Stale { record, lease_left } => Some((record, lease_left)),
            _ => None,
        }
    }

    /// Sends the finish and returns the store's answer. If the result is too large for the store,
    /// sends it again without the result.
    async fn send_finish(&mut self) -> Result<Settled, StoreError> {
        loop {
            let attempt = &self.attempt;
            let reply = attempt.store.finish(&attempt.key, &self.record);
            let answer = with_timeout(attempt, REPLY_TIMEOUT, reply).await;
            match answer
                .as_ref()
                .err()
                .and_then(|error| without_result(attempt, &self.record, error))
            {
                Some(smaller) => self.record = smaller,
                None => return answer,
            }
        }
    }

    /// Whether the store has acknowledged a result.
    pub(crate) fn is_recorded(&self) -> bool {
        let without = matches!(self.record.outcome, Some(RecordedBytes::NotRecorded(_)));
        self.is_settled() && self.record.state == State::Done && !without
    }

    fn set_settled(&mut self) {
        self.stage = Stage::Settled;
        self.attempt.set_armed(false);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let record = &self.record;
        let target = match self.stage {
            Stage::Settled => return,
            Stage::Granted => released(record),
            Stage::Started => abandoned(record),
            Stage::Encoding => not_recorded(record, "encoding it, or its `ttl`, panicked"),
            Stage::Finishing => record.clone(),
        };
        let attempt = Arc::clone(&self.attempt);
        owe_outcome(attempt, target);
        self.set_settled();
    }
}

/// The done record of an attempt whose result is not recorded, for this `reason`. It is done
/// nevertheless, so that a retry does not run it again.
pub(crate) fn not_recorded(record: &Record, reason: &str) -> Record {
    Record {
        state: State::Done,
        codec: 0,
        outcome: Some(RecordedBytes::NotRecorded(reason.as_bytes().into())),
        ..record.clone()
    }
}
