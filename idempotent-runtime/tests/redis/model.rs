//! Compares the scripts with the protocol's functions: the same steps give the same answers and the
//! same records.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use idempotent_runtime::{
    OnCrash, Store,
    fingerprint::Fingerprint,
    key::Key,
    record::{Nonce, Owner, Record, State},
    store::{
        ClaimReply, ClaimRequest, RedisStore, Settled,
        protocol::{self, Current, Step as Decision, Write},
    },
};
use idempotent_test_support::RedisServer;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::common::*;

/// The two clocks run a little apart; steps in time are far longer than a test, and no lease ends
/// near a step.
const SLACK: Duration = Duration::from_secs(8);

#[derive(Clone, Debug)]
enum Step {
    Claim {
        attempt: u8,
        fail: bool,
        payload: Option<u8>,
        lease: u64,
        ttl: Duration,
        named: bool,
    },
    Read,
    Renew {
        attempt: u8,
    },
    Finish {
        attempt: u8,
        state: State,
    },
    Overrule {
        seen: Seen,
        replacement: u8,
        state: State,
    },
    Elapse(u64),
}

/// The record an operator saw.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Standing,
    Of(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let attempt = || 1..=3u8;
    let state = || prop::sample::select(vec![State::Done, State::Failed, State::Lost]);
    let payload = prop::option::weighted(0.3, 1..=2u8);
    let lease = prop::sample::select(vec![30u64, 30, 30, 100, 86_400]);
    // No sum of steps in time comes near an end, or the end of a grace.
    let ttl = prop::sample::select(vec![72_500u64, 4_007_500, 2_600_002_500]);
    let claim = (attempt(), any::<bool>(), payload, lease, ttl, any::<bool>()).prop_map(
        |(attempt, fail, payload, lease, ttl, named)| Step::Claim {
            attempt,
            fail,
            payload,
            lease,
            ttl: Duration::from_millis(ttl),
            named,
        },
    );
    let seen = prop_oneof![
        Just(Seen::Nothing),
        Just(Seen::Standing),
        attempt().prop_map(Seen::Of)
    ];
    let step = prop_oneof![
        6 => claim,
        1 => Just(Step::Read),
        2 => attempt().prop_map(|attempt| Step::Renew { attempt }),
        3 => (attempt(), state()).prop_map(|(attempt, state)| Step::Finish { attempt, state }),
        1 => (seen, 4..=5u8, state())
            .prop_map(|(seen, replacement, state)| Step::Overrule { seen, replacement, state }),
        4 => prop::sample::select(vec![15u64, 45, 45, 80, 150, 400, 4_050, 7_200, 700_000, 3_000_000])
            .prop_map(Step::Elapse),
    ];
    prop::collection::vec(step, 1..30)
}

fn nonce(number: u8) -> Nonce {
    Nonce::from_bytes([number; 16])
}

/// One side's view: the grants it has seen, by attempt.
#[derive(Default)]
struct Side {
    grants: HashMap<u8, Record>,
}

impl Side {
    /// The attempt's record as its owner has it; made up where it was never granted.
    fn owned(&self, attempt: u8) -> Record {
        let mut made_up = request(0);
        made_up.nonce = nonce(attempt);
        self.grants.get(&attempt).cloned().unwrap_or_else(|| {
            let mut record = made_up.record();
            record.token = 1;
            record
        })
    }

    fn target(&self, key: &Key, attempt: u8, state: State) -> Record {
        match state {
            State::Done => {
                let mut target = done(&self.owned(attempt), &[attempt]);
                target.seal(key);
                target
            }
            // Its policy is `fail` from then on.
            State::Lost => protocol::lost(&self.owned(attempt)),
            state => in_state(&self.owned(attempt), state),
        }
    }

    fn note(&mut self, attempt: u8, reply: &ClaimReply) {
        if let ClaimReply::Granted { record, .. } = reply {
            self.grants.insert(attempt, record.clone());
        }
    }
}

/// The protocol with a record and a clock in memory.
#[derive(Default)]
struct Model {
    slot: Option<Write>,
    written: Duration,
    now: Duration,
}

impl Model {
    fn step<R>(&mut self, decide: impl FnOnce(Option<Current<'_>>, u64) -> Decision<R>) -> R {
        let age = self.now.saturating_sub(self.written);
        if self.slot.as_ref().is_some_and(|slot| age >= slot.keep) {
            self.slot = None;
        }
        let current = self.slot.as_ref().map(|slot| Current {
            record: &slot.record,
            age,
        });
        let micros = 1_000_000_000_000 + u64::try_from(self.now.as_micros()).expect("short");
        let Decision { write, reply } = decide(current, micros);
        if write.is_some() {
            self.slot = write;
            self.written = self.now;
        }
        // Each step takes a moment, as the server's clock does.
        self.now += Duration::from_micros(10);
        reply
    }

    fn record(&mut self) -> Option<Record> {
        self.step(|current, _| Decision::keep(current.map(|current| current.record.clone())))
    }
}

/// Without what is the clock's.
fn plain(record: &Record) -> Record {
    let mut record = record.clone();
    record.token = 0;
    record.expires = 0;
    record.check = 0;
    record
}

#[derive(Debug, PartialEq)]
enum Answer {
    Granted { record: Record, takeover: bool },
    Held(Record),
    Applied,
    PutBack,
    Stale(Record),
    Absent,
    Read(Option<Record>),
}

fn claimed(reply: &ClaimReply) -> (Answer, Duration) {
    match reply {
        ClaimReply::Granted { record, takeover } => (
            Answer::Granted {
                record: plain(record),
                takeover: *takeover,
            },
            Duration::ZERO,
        ),
        ClaimReply::Held { record, lease_left } => (Answer::Held(plain(record)), *lease_left),
        other => panic!("{other:?}"),
    }
}

fn settled(settled: &Settled) -> (Answer, Duration) {
    match settled {
        Settled::Applied => (Answer::Applied, Duration::ZERO),
        Settled::PutBack => (Answer::PutBack, Duration::ZERO),
        Settled::Absent => (Answer::Absent, Duration::ZERO),
        Settled::Stale { record, lease_left } => (Answer::Stale(plain(record)), *lease_left),
        other => panic!("{other:?}"),
    }
}

fn seen_as(read: Option<(Record, Duration)>) -> (Answer, Duration) {
    match read {
        Some((record, left)) => (Answer::Read(Some(plain(&record))), left),
        None => (Answer::Read(None), Duration::ZERO),
    }
}

struct Pair<'a> {
    runtime: &'a Runtime,
    server: &'a RedisServer,
    store: &'a RedisStore,
    key: Key,
    model: Model,
    /// What Redis answered, and what the model did.
    redis: Side,
    ideal: Side,
    largest: u64,
}

impl Pair<'_> {
    fn check(&mut self, step: &Step) {
        let before = (record(self.server, &self.key), self.model.record());
        let Some((real, ideal)) = self.perform(step, before.0.as_ref()) else {
            return;
        };
        assert_eq!(real.0, ideal.0, "after {step:?}");
        assert_eq!(
            real.1.is_zero(),
            ideal.1.is_zero(),
            "lease left after {step:?}: {} {}",
            real.1.as_secs(),
            ideal.1.as_secs()
        );
        assert!(
            real.1.abs_diff(ideal.1) < SLACK,
            "lease left after {step:?}: {:?} {:?}",
            real.1,
            ideal.1
        );
        let after = (record(self.server, &self.key), self.model.record());
        for record in [&after.0, &after.1].into_iter().flatten() {
            assert!(record.is_sound(&self.key), "after {step:?}: {record:?}");
        }
        assert_eq!(
            after.0.as_ref().map(plain),
            after.1.as_ref().map(plain),
            "the record after {step:?}"
        );
        self.check_tokens(
            step,
            (before.0, after.0.as_ref()),
            (before.1, after.1.as_ref()),
        );
    }

    fn check_tokens(
        &mut self,
        step: &Step,
        real: (Option<Record>, Option<&Record>),
        ideal: (Option<Record>, Option<&Record>),
    ) {
        if let (Some(before), Some(after), Some(model_before), Some(model_after)) =
            (real.0, real.1, ideal.0, ideal.1)
        {
            let (real, ideal) = (
                after.token.cmp(&before.token),
                model_after.token.cmp(&model_before.token),
            );
            // A finish or renew after a put-back brings its owner's token along, whichever that is.
            assert_eq!(real, ideal, "the token's way after {step:?}");
        } else if let (Some(after), Step::Claim { .. }) = (real.1, step) {
            assert!(
                after.token > self.largest,
                "a fresh grant's token after {step:?}"
            );
        }
        self.largest = self.largest.max(real.1.map_or(0, |record| record.token));
    }

    fn perform(
        &mut self,
        step: &Step,
        standing: Option<&Record>,
    ) -> Option<((Answer, Duration), (Answer, Duration))> {
        let Self {
            runtime,
            store,
            key,
            model,
            redis,
            ideal,
            ..
        } = self;
        Some(match *step {
            Step::Elapse(seconds) => {
                let by = Duration::from_secs(seconds);
                if standing.is_some() {
                    elapse(self.server, &self.key, by);
                }
                self.model.now += by;
                return None;
            }
            Step::Claim {
                attempt,
                fail,
                payload,
                lease,
                ttl,
                named,
            } => {
                let mut request = ClaimRequest::new(nonce(attempt));
                request.ttl = ttl;
                request.owner = Owner::new("host:1").filter(|_| named);
                request.trace = named.then_some([7; 16]);
                request.lease = Duration::from_secs(lease);
                request.on_crash = if fail { OnCrash::Fail } else { OnCrash::Rerun };
                request.fingerprint = payload.map(|byte| Fingerprint::from_bytes([byte; 16]));
                let real = runtime.block_on(store.claim(key, &request)).expect("claim");
                let model = model.step(|current, now| protocol::claim(current, &request, now));
                redis.note(attempt, &real);
                ideal.note(attempt, &model);
                (claimed(&real), claimed(&model))
            }
            Step::Read => {
                let real = runtime.block_on(store.read(key)).expect("read");
                let ideal = model.step(protocol::read);
                (seen_as(real), seen_as(ideal))
            }
            Step::Renew { attempt } => {
                let real = runtime
                    .block_on(store.renew(key, &redis.owned(attempt)))
                    .expect("renew");
                let model =
                    model.step(|current, now| protocol::renew(current, &ideal.owned(attempt), now));
                (settled(&real), settled(&model))
            }
            Step::Finish { attempt, state } => {
                let target = redis.target(key, attempt, state);
                let real = runtime
                    .block_on(store.finish(key, &target))
                    .expect("finish");
                let target = ideal.target(key, attempt, state);
                let model = model.step(|current, now| protocol::finish(current, &target, now));
                (settled(&real), settled(&model))
            }
            Step::Overrule {
                seen,
                replacement,
                state,
            } => {
                let replacement = in_state_of(key, replacement, state);
                // Only state and nonce are named, and those agree.
                let seen = match seen {
                    Seen::Nothing => None,
                    Seen::Standing => standing.cloned(),
                    Seen::Of(attempt) => Some(redis.owned(attempt)),
                };
                let real = store.overrule(key, seen.as_ref(), &replacement);
                let real = runtime.block_on(real).expect("overrule");
                let model = model.step(|current, now| {
                    protocol::overrule(current, seen.as_ref(), &replacement, now)
                });
                (settled(&real), settled(&model))
            }
        })
    }
}

fn in_state_of(key: &Key, number: u8, state: State) -> Record {
    Side::default().target(key, number, state)
}

#[test]
fn redis_answers_as_the_protocol_does() {
    static CASE: AtomicU32 = AtomicU32::new(0);
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let store = store(&server);
    let config = ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps())| {
        let case = CASE.fetch_add(1, Ordering::Relaxed);
        let mut pair = Pair {
            runtime: &runtime,
            server: &server,
            store: &store,
            key: key(&format!("case-{case}")),
            model: Model::default(),
            redis: Side::default(),
            ideal: Side::default(),
            largest: 0,
        };
        for step in &steps {
            pair.check(step);
        }
    });
}
