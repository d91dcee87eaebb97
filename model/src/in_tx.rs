//! Calls in their callers' own transactions (`in_tx`): two of them with one key, and a third call through
//! a store on the same table.
//!
//! What a record means is the runtime's own [`protocol`]. The database is written here: a row with its
//! lock, and for each transaction what it has changed and not committed. A transaction that is rolled back
//! stands for all that ends one: its process dies, its connection is lost, the server is restarted.

use std::{fmt, time::Duration};

use idempotent_runtime::{
    OnCrash,
    record::{Nonce, Record, RecordedBytes, State},
    store::{
        ClaimReply, ClaimRequest,
        protocol::{self, Current, Step},
    },
};
use stateright::{Checker, Model, Property};

/// Two in transactions, and one through a store.
const CALLERS: usize = 3;
const STORE: usize = 2;
/// The server's time, in which nothing here depends on.
const NOW: u64 = 1_764_000_000_000_000;

/// What is done wrongly, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The record has a transaction of its own, which is committed after the effect's.
    RecordOutside,
    /// The record is read first, and inserted later: nobody waits for the row.
    ReadFirst,
    /// What is written at the beginning says `rerun`.
    RunningMayRerun,
    /// A row of another transaction that is not committed yet is no reason to wait, but is taken for none.
    NoLock,
}

/// The model, whole or with a flaw.
#[derive(Clone, Debug)]
pub struct InTx {
    /// How many faults there are, of all kinds.
    pub faults: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// A record in the bytes that the table has.
type Row = Option<Vec<u8>>;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    committed: Row,
    /// Committed effects of bodies in transactions.
    effects: u8,
    /// Whose transaction has the row.
    holder: Option<u8>,
    /// Whether the record that runs is older than its lease.
    lapsed: bool,
    callers: [Caller; CALLERS],
    faults: u8,
    /// Results that were answered and stand.
    replies: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Caller {
    phase: Phase,
    /// What the transaction has changed: the row, and effects.
    row: Option<Row>,
    effects: u8,
    attempts: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    Start,
    /// With the flaw [`Flaw::ReadFirst`]: it has seen nothing.
    SawNothing,
    Body,
    Ran,
    /// Recorded, or released: to be committed.
    Finished,
    /// Answered with a result that it found.
    Replayed(u8),
    /// Dropped midway, and not rolled back.
    Dropped,
    /// With the flaw [`Flaw::RecordOutside`]: the effect is committed, the record is not.
    Halfway,
    Ended,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A call begins, or is refused.
    Begin(usize),
    /// The body has its effect.
    Run(usize),
    /// The result is recorded.
    Record(usize),
    /// The body has no effect and returns an `Err` under `rerun`, and its caller commits.
    Fail(usize),
    /// The transaction is committed.
    Commit(usize),
    /// The transaction is committed, its caller has no answer, and calls again.
    CommitUnheard(usize),
    /// The transaction is rolled back, and its caller calls again.
    Rollback(usize),
    /// The caller goes back to a savepoint from before the call, and calls again.
    Savepoint(usize),
    /// The call is dropped midway.
    Drop(usize),
    /// The record that runs becomes older than its lease.
    Lapse,
}

fn nonce(caller: usize, attempts: u8) -> Nonce {
    let mut bytes = [0; 16];
    bytes[0] = u8::try_from(caller).unwrap_or(u8::MAX);
    bytes[1] = attempts;
    Nonce::from_bytes(bytes)
}

fn decoded(row: &Row) -> Option<Record> {
    row.as_ref()
        .map(|bytes| Record::decode(bytes).expect("what was written"))
}

/// The caller whose result it is.
fn result_of(record: &Record) -> Option<u8> {
    match &record.outcome {
        Some(RecordedBytes::Ok(bytes)) => bytes.first().copied(),
        _ => None,
    }
}

fn done(record: &Record, caller: usize) -> Record {
    let mut done = record.clone();
    done.state = State::Done;
    done.codec = 1;
    let result = [u8::try_from(caller).unwrap_or(u8::MAX)];
    done.outcome = Some(RecordedBytes::Ok(result[..].into()));
    done
}

impl World {
    /// What a transaction sees of the row: what it has written, or else what is committed.
    fn seen(&self, caller: usize) -> &Row {
        self.callers[caller].row.as_ref().unwrap_or(&self.committed)
    }

    fn request(&self, flaw: Option<Flaw>, caller: usize) -> ClaimRequest {
        let mut request = ClaimRequest::new(nonce(caller, self.callers[caller].attempts));
        if caller != STORE {
            request.lease = Duration::from_millis(1);
            if flaw != Some(Flaw::RunningMayRerun) {
                request.on_crash = OnCrash::Fail;
            }
        }
        request
    }

    /// The protocol's decision about a claim of the row that is seen.
    fn claim(&self, flaw: Option<Flaw>, caller: usize) -> Step<ClaimReply> {
        let record = decoded(self.seen(caller));
        let age = if self.lapsed {
            Duration::from_secs(3600)
        } else {
            Duration::ZERO
        };
        let current = record.as_ref().map(|record| Current { record, age });
        protocol::claim(current, &self.request(flaw, caller), NOW)
    }

    fn begin(&mut self, flaw: Option<Flaw>, caller: usize) {
        self.callers[caller].attempts += 1;
        let Step { write, reply } = self.claim(flaw, caller);
        let write = write.map(|write| write.bytes());
        let phase = match reply {
            ClaimReply::Granted { .. } => Phase::Body,
            ClaimReply::Held { record, .. } => match result_of(&record) {
                Some(result) => Phase::Replayed(result),
                None => Phase::Ended, // refused
            },
            _ => unreachable!("there are no other answers"),
        };
        if caller == STORE {
            // A statement of its own, committed at once.
            if let Some(write) = write {
                self.committed = Some(write);
                self.lapsed = false;
            }
        } else if phase == Phase::Body {
            self.callers[caller].row = Some(write);
            if flaw != Some(Flaw::NoLock) {
                self.holder = u8::try_from(caller).ok();
            }
        }
        self.end_if_answered(caller, phase);
    }

    /// Through a store, an answer needs no commit.
    fn end_if_answered(&mut self, caller: usize, phase: Phase) {
        self.callers[caller].phase = match phase {
            Phase::Replayed(result) if caller == STORE => {
                self.replies.push(result);
                Phase::Ended
            }
            phase => phase,
        };
    }

    fn record(&mut self, caller: usize) {
        if caller == STORE {
            let owned = self.request(None, caller).record();
            let record = decoded(&self.committed);
            let current = record.as_ref().map(|record| Current {
                record,
                age: Duration::ZERO,
            });
            let mut target = done(record.as_ref().unwrap_or(&owned), caller);
            target.nonce = owned.nonce;
            if let Some(write) = protocol::finish(current, &target, NOW).write {
                self.committed = Some(write.bytes());
                self.replies.push(u8::try_from(caller).unwrap_or(u8::MAX));
            }
            self.callers[caller].phase = Phase::Ended;
            return;
        }
        let record = decoded(self.seen(caller)).expect("its own");
        let write = protocol::Write::new(done(&record, caller), NOW);
        self.callers[caller].row = Some(Some(write.bytes()));
        self.callers[caller].phase = Phase::Finished;
    }

    fn commit(&mut self, flaw: Option<Flaw>, caller: usize, heard: bool) {
        let phase = self.callers[caller].phase;
        self.effects += self.callers[caller].effects;
        self.callers[caller].effects = 0;
        if flaw == Some(Flaw::RecordOutside) && phase == Phase::Finished {
            self.callers[caller].phase = Phase::Halfway;
            return;
        }
        if let Some(row) = self.callers[caller].row.take() {
            self.committed = row;
            self.lapsed = false;
        }
        self.leave(caller);
        if !heard {
            self.callers[caller].phase = Phase::Start;
            return;
        }
        let own = u8::try_from(caller).unwrap_or(u8::MAX);
        match phase {
            Phase::Replayed(result) => self.replies.push(result),
            Phase::Finished | Phase::Halfway
                if decoded(&self.committed).is_some_and(|it| it.state == State::Done) =>
            {
                self.replies.push(own);
            }
            _ => {}
        }
        self.callers[caller].phase = Phase::Ended;
    }

    fn rollback(&mut self, caller: usize) {
        let Caller { row, effects, .. } = &mut self.callers[caller];
        (*row, *effects) = (None, 0);
        self.leave(caller);
        self.callers[caller].phase = Phase::Start;
    }

    fn leave(&mut self, caller: usize) {
        if self.holder == u8::try_from(caller).ok() {
            self.holder = None;
        }
    }
}

impl Model for InTx {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            committed: None,
            effects: 0,
            holder: None,
            lapsed: false,
            callers: Default::default(),
            faults: self.faults,
            replies: Vec::new(),
        }]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        let running = decoded(&world.committed).is_some_and(|it| it.state == State::Running);
        if running && !world.lapsed {
            acts.push(Act::Lapse);
        }
        for caller in 0..CALLERS {
            let is_free = world
                .holder
                .is_none_or(|holder| usize::from(holder) == caller);
            let faults = world.faults > 0;
            match world.callers[caller].phase {
                // Waits for the row, unless nobody has it.
                Phase::Start if is_free => acts.push(Act::Begin(caller)),
                Phase::SawNothing => acts.push(Act::Begin(caller)),
                Phase::Body => {
                    acts.push(Act::Run(caller));
                    if caller != STORE {
                        acts.push(Act::Fail(caller));
                    }
                }
                // A store's finish waits for the row, too.
                Phase::Ran if is_free || caller != STORE => acts.push(Act::Record(caller)),
                Phase::Finished | Phase::Replayed(_) | Phase::Dropped | Phase::Halfway => {
                    acts.push(Act::Commit(caller));
                    if faults {
                        acts.push(Act::CommitUnheard(caller));
                    }
                }
                Phase::Start | Phase::Ran | Phase::Ended => {}
            }
            let is_open = !matches!(world.callers[caller].phase, Phase::Start | Phase::Ended);
            if faults && is_open && caller != STORE {
                acts.push(Act::Rollback(caller));
                if matches!(
                    world.callers[caller].phase,
                    Phase::Body | Phase::Ran | Phase::Finished
                ) {
                    acts.push(Act::Savepoint(caller));
                }
                if matches!(world.callers[caller].phase, Phase::Body | Phase::Ran) {
                    acts.push(Act::Drop(caller));
                }
            }
        }
    }

    fn next_state(&self, last: &World, act: Act) -> Option<World> {
        let mut world = last.clone();
        match act {
            Act::Lapse => world.lapsed = true,
            Act::Begin(caller) => {
                let reads_first = self.flaw == Some(Flaw::ReadFirst) && caller != STORE;
                let phase = world.callers[caller].phase;
                if reads_first && phase == Phase::Start && world.seen(caller).is_none() {
                    world.callers[caller].phase = Phase::SawNothing;
                } else if phase == Phase::SawNothing {
                    // It writes what it would have written then.
                    let first = world.request(self.flaw, caller).record().encode();
                    world.callers[caller].attempts += 1;
                    world.callers[caller].row = Some(Some(first));
                    world.callers[caller].phase = Phase::Body;
                } else {
                    world.begin(self.flaw, caller);
                }
            }
            Act::Run(caller) => {
                world.callers[caller].phase = Phase::Ran;
                if caller != STORE {
                    world.callers[caller].effects += 1;
                }
            }
            Act::Record(caller) => world.record(caller),
            Act::Fail(caller) => {
                world.callers[caller].row = Some(None);
                world.callers[caller].phase = Phase::Finished;
            }
            Act::Commit(caller) => world.commit(self.flaw, caller, true),
            Act::CommitUnheard(caller) => {
                world.faults -= 1;
                world.commit(self.flaw, caller, false);
            }
            Act::Rollback(caller) | Act::Savepoint(caller) => {
                world.faults -= 1;
                world.rollback(caller);
            }
            Act::Drop(caller) => {
                world.faults -= 1;
                world.callers[caller].phase = Phase::Dropped;
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("exactly once", |_: &Self, world: &World| world.effects <= 1),
            Property::always("an effect has its record", |_: &Self, world: &World| {
                world.effects == 0 || world.committed.is_some()
            }),
            Property::always("a result has its effect", |_: &Self, world: &World| {
                let result = decoded(&world.committed).as_ref().and_then(result_of);
                result.is_none_or(|by| usize::from(by) == STORE || world.effects == 1)
            }),
            Property::always("replies agree", |_: &Self, world: &World| {
                world.replies.windows(2).all(|pair| pair[0] == pair[1])
            }),
            Property::always("every call ends", |model: &Self, world: &World| {
                let mut acts = Vec::new();
                model.actions(world, &mut acts);
                let ended = |caller: &Caller| caller.phase == Phase::Ended;
                !acts.is_empty() || world.holder.is_none() && world.callers.iter().all(ended)
            }),
            Property::sometimes("an effect is committed", |_: &Self, world: &World| {
                world.effects == 1
            }),
        ]
    }
}

/// What was found in all states.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many there are.
    pub states: usize,
    /// What does not hold.
    pub fails: Vec<&'static str>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, not: {:?}", self.states, self.fails)
    }
}

impl InTx {
    /// Explores all states.
    #[must_use]
    pub fn check(self) -> Found {
        let always: Vec<&'static str> = self.properties().iter().map(|it| it.name).collect();
        let checker = self.checker().spawn_bfs().join();
        let found = |name: &&&'static str| checker.discovery(name).is_some();
        let mut fails: Vec<_> = always.iter().filter(found).copied().collect();
        // The last one is to be found.
        let seen = fails.pop_if(|name| *name == "an effect is committed");
        fails.extend(seen.is_none().then_some("an effect is committed"));
        Found {
            states: checker.unique_state_count(),
            fails,
        }
    }
}
