//! A granted claim: what is owed to the store at each stage, also when everybody has gone.

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

/// The guard of a claim that was granted: dropping it does what the stage asks for.
///
/// | dropped while | the runtime then |
/// |---|---|
/// | the body has not been polled yet | releases, under `fail` too |
/// | the body runs | abandons: free at once under `rerun`, lost under `fail` |
/// | its result is asked for its `ttl` or encoded (a panic) | finishes, without the result: what has run must not run again |
/// | the body has returned | finishes, until answered or `ttl` has passed |
pub(crate) struct Claim {
    pub(crate) attempt: Arc<Attempt>,
    stage: Stage,
    /// As it was granted, and once the body has returned, as it is to end.
    record: Record,
    lead: Option<Lead>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Granted,
    Started,
    Encoding,
    Finishing,
    Settled,
}

impl Claim {
    /// The claim that was granted as `record` says.
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

    /// The same without a turn to count.
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

    /// As it was granted, and once the body has returned, as it is to end.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// The body is about to be polled: from the first time on, its effects may have happened. Answers whether this is it.
    pub(crate) fn start(&mut self) -> bool {
        self.advance(Stage::Granted, Stage::Started)
    }

    /// The body has returned a result that is final; it is about to be asked for its `ttl`, and encoded.
    pub(crate) fn begin_encoding(&mut self) {
        self.advance(Stage::Started, Stage::Encoding);
    }

    /// The result is to be kept for as long, whatever the operation says.
    pub(crate) fn set_ttl(&mut self, ttl: Duration) {
        self.record.ttl = record::clamp_ttl(ttl);
    }

    /// The body has returned: so its record is to end, and the store is owed that from now on.
    pub(crate) fn end(&mut self, target: Record) {
        self.record = target;
        self.stage = Stage::Finishing;
    }

    /// [`end`](Self::end), with a result: at once, where a store in this process takes it from where it lies.
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

    /// Whether the body has returned, and the store is owed that.
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

    /// The owner was just seen alive.
    pub(crate) fn extend(&self, lease: Duration) {
        if let Some(lead) = &self.lead {
            lead.extend(lease);
        }
    }

    /// Somebody else owns the record: this claim owes nothing any more. Its followers ask for themselves.
    pub(crate) fn lose(mut self) {
        self.set_settled();
    }

    /// Tells the store how the attempt [ends](Self::end), if it does not know, and answers with the record that stands in its
    /// stead, if it is another attempt's. A store that does not answer is told by the runtime, in the background, and the
    /// caller need not wait.
    pub(crate) async fn finish(&mut self) -> Option<(Record, Duration)> {
        if self.is_settled() {
            return None;
        }
        let settled = match Box::pin(self.send_finish()).await {
            Ok(settled) => settled,
            Err(error) => {
                self.attempt.count(Turn::Unrecorded);
                events::unrecorded(&self.attempt, &error);
                return None; // and the drop hands the finish over
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

    /// The answer to the finish; or, where the store does not take what it carries, to one without that.
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

    /// Whether the store knows of a result.
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

/// The record of an attempt that has run to its end, without the result: a retry must not run it again because of that.
pub(crate) fn not_recorded(record: &Record, reason: &str) -> Record {
    Record {
        state: State::Done,
        codec: 0,
        outcome: Some(RecordedBytes::NotRecorded(reason.as_bytes().into())),
        ..record.clone()
    }
}
