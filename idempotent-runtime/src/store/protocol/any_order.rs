//! Messages in any order, however late: a key's tokens never shrink, and no message makes a
//! finished key run again.
//!
//! These tests compare with no second implementation. They check only what must never be observed,
//! whatever is sent.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::record::RecordedBytes;

const SECOND: u64 = 1_000_000;
/// How far a clock may go back: less than a finished record is kept past its end.
const BEHIND: u64 = 20 * SECOND;

/// An event. Attempts, each with its own nonce, send the messages of the protocol in any order and
/// at any time.
#[derive(Clone, Copy, Debug)]
enum Event {
    Claim(u8),
    Renew(u8),
    Finish(u8, State),
    /// An operator decides about the record that a reader sees.
    Overrule(State),
    /// Time passes: the store's clock, in seconds.
    Pass(u64),
    /// The next event is served by a node whose clock is behind.
    Behind(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let attempt = || 1..5_u8;
    let end = || prop::sample::select(vec![State::Done, State::Failed, State::Lost]);
    vec(
        prop_oneof![
            4 => attempt().prop_map(Event::Claim),
            3 => attempt().prop_map(Event::Renew),
            4 => (attempt(), end()).prop_map(|(attempt, state)| Event::Finish(attempt, state)),
            1 => prop::sample::select(vec![State::Done, State::Failed]).prop_map(Event::Overrule),
            4 => prop::sample::select(vec![0_u64, 1, 2, 5]).prop_map(Event::Pass),
            2 => (1..BEHIND / SECOND).prop_map(Event::Behind),
        ],
        1..60,
    )
}

/// One record in a store, kept and dropped as the protocol says.
#[derive(Default)]
struct Place {
    kept: Option<(Record, u64, Duration)>,
    now: u64,
    /// The largest token that anybody was granted.
    token: u64,
    /// Attempts whose record was observed done or failed: none of their messages may make it run
    /// again.
    finished: HashSet<Nonce>,
}

impl Place {
    fn step<R>(
        &mut self,
        now: u64,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> (R, bool) {
        let age = |written: u64| Duration::from_micros(self.now.saturating_sub(written));
        // The server drops the record when its time is over by the server's own clock.
        self.kept = self
            .kept
            .take()
            .filter(|(_, written, keep)| age(*written) < *keep);
        let current = self.kept.as_ref().map(|(record, written, _)| Current {
            record,
            age: age(*written),
        });
        let Step { write, reply } = decide(current, now);
        let is_written = write.is_some();
        if let Some(Write { record, keep }) = write {
            if matches!(record.state, State::Done | State::Failed) {
                self.finished.insert(record.nonce);
            }
            self.kept = Some((record, self.now, keep));
        }
        (reply, is_written)
    }

    fn seen(&mut self, now: u64) -> Option<Record> {
        let (read, _) = self.step(now, read);
        read.map(|(record, _)| record)
    }

    /// Whether the current record is a finished one of this attempt.
    fn has_finished(&self, nonce: Nonce) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|(record, ..)| record.nonce == nonce) && self.finished.contains(&nonce)
    }
}

fn attempt(number: u8, ttl: u64) -> ClaimRequest {
    ClaimRequest {
        nonce: Nonce::from_bytes([number; 16]),
        lease: Duration::from_secs(2),
        on_crash: if number.is_multiple_of(2) {
            OnCrash::Fail
        } else {
            OnCrash::Rerun
        },
        fingerprint: None,
        ttl: Duration::from_secs(ttl),
        owner: None,
        trace: None,
    }
}

fn ended(record: &Record, state: State) -> Record {
    Record {
        state,
        outcome: (state == State::Done).then(|| RecordedBytes::Ok([1][..].into())),
        ..record.clone()
    }
}

fn hold_for(events: &[Event], ttl: u64) -> Result<(), TestCaseError> {
    let mut place = Place {
        now: 1_800_000_000 * SECOND,
        ..Place::default()
    };
    let mut behind = 0;
    let mut grants: [Option<Record>; 5] = Default::default();
    let mut operators = 100;
    for event in events {
        let now = place.now - std::mem::take(&mut behind);
        let owned = |attempt: u8| grants[usize::from(attempt)].clone();
        match *event {
            Event::Pass(seconds) => place.now += seconds * SECOND,
            Event::Behind(seconds) => behind = seconds * SECOND,
            Event::Claim(number) => {
                let request = attempt(number, ttl);
                // A claim that comes after other attempts' records counts as a new attempt: the
                // store does not remember it.
                let was_finished = place.has_finished(request.nonce);
                let (reply, is_written) =
                    place.step(now, |current, now| claim(current, &request, now));
                if let ClaimReply::Granted { record, .. } = reply {
                    let is_new = owned(number).is_none_or(|before| before.token != record.token);
                    if is_new {
                        prop_assert!(record.token > place.token, "a token shrinks: {:?}", record);
                        place.token = record.token;
                    }
                    prop_assert!(
                        !(is_written && was_finished),
                        "a late claim revives {:?}",
                        record
                    );
                    place.finished.remove(&record.nonce);
                    grants[usize::from(number)] = Some(record);
                }
            }
            Event::Renew(number) => {
                let Some(owned) = owned(number) else { continue };
                let was_finished = place.finished.contains(&owned.nonce);
                let (_, is_written) = place.step(now, |current, now| renew(current, &owned, now));
                prop_assert!(
                    !(is_written && was_finished),
                    "a late heartbeat revives {:?}",
                    owned
                );
            }
            Event::Finish(number, state) => {
                let Some(owned) = owned(number) else { continue };
                let target = match state {
                    State::Lost => lost(&owned),
                    state => ended(&owned, state),
                };
                let was_finished = place.finished.contains(&owned.nonce);
                let (_, is_written) = place.step(now, |current, now| finish(current, &target, now));
                prop_assert!(
                    !(is_written && was_finished),
                    "a late finish writes {:?}",
                    target
                );
            }
            Event::Overrule(state) => {
                let seen = place.seen(now);
                operators += 1;
                let mut request = attempt(1, ttl);
                request.nonce = Nonce::from_bytes([operators; 16]);
                let result = (state == State::Done).then(|| (1, RecordedBytes::Ok([2][..].into())));
                let replacement = replacement(seen.as_ref(), &request, result);
                let decide = |current: Option<Current<'_>>, now| {
                    overrule(current, seen.as_ref(), &replacement, now)
                };
                let (reply, is_written) = place.step(now, decide);
                prop_assert_eq!(reply, Settled::Applied);
                prop_assert!(is_written);
                let token = place.kept.as_ref().map_or(0, |(record, ..)| record.token);
                prop_assert!(token > place.token, "a token shrinks by a decision");
                place.token = token;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Each nonce belongs to one attempt, and all events are within 30 seconds. So every late
    /// message arrives within the [`grace`] period.
    #[test]
    fn no_order_of_late_messages_makes_a_token_shrink_or_a_finished_key_live(
        events in events(),
        ttl in 1..3_u64,
    ) {
        let mut past = 0;
        let within_grace: Vec<Event> = events
            .into_iter()
            .take_while(|event| {
                if let Event::Pass(seconds) = event {
                    past += seconds;
                }
                // The shortest grace period.
                past <= 30
            })
            .collect();
        hold_for(&within_grace, ttl)?;
    }
}
