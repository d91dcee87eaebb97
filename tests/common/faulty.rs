//! A real store with faults: commands and answers are lost, late or refused when a test says so.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use idempotent_fn::{
    StoreError, StoreErrorKind,
    key::Key,
    record::Record,
    store::{ClaimReply, ClaimRequest, MemoryStore, Settled, Store, Subscription},
};

use super::yields;

/// A store's methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Claim,
    Renew,
    Finish,
    Read,
    Overrule,
    Subscribe,
}

/// What happens to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It is carried out as it should be: for plans where only a later one fails.
    None,
    /// It is carried out, its answer is lost.
    LostReply,
    /// It is lost, and the sender does not know.
    LostCommand,
    /// It was not sent, and the sender knows.
    NotSent,
    /// The store refuses it.
    Refused,
    /// The store refuses it because of its size.
    TooLarge,
    /// The store refuses it, and says that it will serve soon.
    Busy,
    /// The sender gets no answer; the command is carried out when the test says
    /// [`Faulty::deliver_late`].
    Late,
    /// Nobody ever answers.
    Hang,
}

type Late = Box<dyn FnOnce(&MemoryStore) -> BoxFuture + Send>;
type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Plan {
    next: HashMap<Op, VecDeque<Fault>>,
    always: HashMap<Op, Fault>,
    sent: HashMap<Op, u32>,
    happened: HashMap<(Op, Fault), u32>,
    late: Vec<Late>,
}

/// A memory store behind a link with faults. It is not local, so it is asked as a network store is;
/// every command is pending `pauses` times before and after it is carried out.
#[derive(Clone)]
pub struct Faulty {
    memory: MemoryStore,
    plan: Arc<Mutex<Plan>>,
    pauses: usize,
    push: bool,
    clock: Option<u64>,
}

impl Faulty {
    pub fn new() -> Self {
        Self::around(MemoryStore::new())
    }

    pub fn around(memory: MemoryStore) -> Self {
        Self {
            memory,
            plan: Arc::default(),
            pauses: 1,
            push: true,
            clock: None,
        }
    }

    /// A slow store: each command is pending so many times before and after it is carried out.
    pub fn pauses(mut self, pauses: usize) -> Self {
        self.pauses = pauses;
        self
    }

    /// A store that does not tell of changes: waiters poll.
    pub fn without_push(mut self) -> Self {
        self.push = false;
        self
    }

    /// A store that tells its time, µs since 1970: this, whatever it keeps its records by.
    pub fn telling(mut self, clock: u64) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The next commands of this kind meet these faults, one each.
    pub fn next(&self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        self.plan().next.entry(op).or_default().extend(faults);
    }

    /// Every command of this kind meets this fault from now on, unless `next` has one for it.
    pub fn always(&self, op: Op, fault: Fault) {
        self.plan().always.insert(op, fault);
    }

    /// How many commands of this kind were sent.
    pub fn sent(&self, op: Op) -> u32 {
        self.plan().sent.get(&op).copied().unwrap_or(0)
    }

    /// How many commands were sent.
    pub fn sent_in_all(&self) -> u32 {
        self.plan().sent.values().sum()
    }

    /// How often this fault happened to a command of this kind.
    pub fn happened(&self, op: Op, fault: Fault) -> u32 {
        self.plan().happened.get(&(op, fault)).copied().unwrap_or(0)
    }

    /// Carries out what was held back as [`Fault::Late`]; returns how many commands that was.
    pub async fn deliver_late(&self) -> usize {
        let late = std::mem::take(&mut self.plan().late);
        let count = late.len();
        for command in late {
            command(&self.memory).await;
        }
        count
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }

    fn fault(&self, op: Op) -> Fault {
        let mut plan = self.plan();
        *plan.sent.entry(op).or_default() += 1;
        let next = plan.next.get_mut(&op).and_then(VecDeque::pop_front);
        let fault = next.or_else(|| plan.always.get(&op).copied());
        let fault = fault.unwrap_or(Fault::None);
        *plan.happened.entry((op, fault)).or_default() += 1;
        fault
    }

    async fn send<R: Send + 'static>(
        &self,
        op: Op,
        command: impl FnOnce(MemoryStore) -> Command<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        let fault = self.fault(op);
        yields(self.pauses).await;
        match fault {
            Fault::None | Fault::LostReply => {
                let reply = command(self.memory.clone()).await;
                yields(self.pauses).await;
                if fault == Fault::LostReply {
                    return Err(failure(StoreErrorKind::Ambiguous));
                }
                reply
            }
            Fault::LostCommand => Err(failure(StoreErrorKind::Ambiguous)),
            Fault::NotSent => Err(failure(StoreErrorKind::NotSent)),
            Fault::Refused => Err(failure(StoreErrorKind::Refused)),
            Fault::TooLarge => Err(failure(StoreErrorKind::TooLarge)),
            Fault::Busy => Err(failure(StoreErrorKind::Refused).transient()),
            Fault::Late => {
                self.plan().late.push(Box::new(move |memory| {
                    let command = command(memory.clone());
                    Box::pin(async move { drop(command.await) })
                }));
                Err(failure(StoreErrorKind::Ambiguous))
            }
            Fault::Hang => std::future::pending().await,
        }
    }
}

type Command<R> = std::pin::Pin<Box<dyn Future<Output = Result<R, StoreError>> + Send>>;

fn failure(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "the link has a fault, as the test asked")
}

impl Store for Faulty {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        let (key, request) = (key.clone(), request.clone());
        let claim =
            |memory: MemoryStore| async move { Store::claim(&memory, &key, &request).await };
        self.send(Op::Claim, |memory| Box::pin(claim(memory))).await
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let (key, owned) = (key.clone(), owned.clone());
        let renew = |memory: MemoryStore| async move { memory.renew(&key, &owned).await };
        self.send(Op::Renew, |memory| Box::pin(renew(memory))).await
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let (key, target) = (key.clone(), target.clone());
        let finish =
            |memory: MemoryStore| async move { Store::finish(&memory, &key, &target).await };
        self.send(Op::Finish, |memory| Box::pin(finish(memory)))
            .await
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        let key = key.clone();
        let read = |memory: MemoryStore| async move { memory.read(&key).await };
        self.send(Op::Read, |memory| Box::pin(read(memory))).await
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let (key, seen, replacement) = (key.clone(), seen.cloned(), replacement.clone());
        let overrule = move |memory: MemoryStore| async move {
            memory.overrule(&key, seen.as_ref(), &replacement).await
        };
        self.send(Op::Overrule, |memory| Box::pin(overrule(memory)))
            .await
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        let (key, push) = (key.clone(), self.push);
        let subscribe = move |memory: MemoryStore| async move {
            if push {
                memory.subscribe(&key).await
            } else {
                Ok(Subscription::polling())
            }
        };
        self.send(Op::Subscribe, |memory| Box::pin(subscribe(memory)))
            .await
    }

    fn clock(&self) -> Option<u64> {
        self.clock
    }

    fn describe(&self) -> String {
        "faulty:".to_owned()
    }
}
