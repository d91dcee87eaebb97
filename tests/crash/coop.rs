//! Bodies that use up Tokio's cooperative budget in each poll: their lease is renewed all the same,
//! also if another future in the caller's task uses up the budget.
//!
//! Leases use a clock that stands still, so nothing lapses because the machine is busy. The body
//! advances the clock by two thirds of a lease for each heartbeat that it has seen. Without
//! heartbeats, the lease would lapse.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::common::{Answer, GENEROUS, settled, until, yields};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, StoreError, StoreErrorKind,
    key::Key,
    operation,
    record::Record,
    store::{
        ClaimReply, ClaimRequest, LocalStore, ManualClock, MemoryStore, Settled, Store,
        Subscription,
    },
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{consume_budget, unconstrained},
};

const LEASE: Duration = Duration::from_millis(90);
const HEARTBEATS: u32 = 3;
/// How long a heartbeat is waited for. Without the budget it needs, it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce(MemoryStore) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A memory store that counts heartbeats; or else one behind tokio's channels, as a network store's
/// client is: its commands are carried out in a task, and their answers need the sender's budget.
#[derive(Clone)]
struct Counting {
    memory: MemoryStore,
    task: Option<mpsc::Sender<Work>>,
    renewed: Arc<AtomicU32>,
}

impl Counting {
    fn local(clock: &ManualClock) -> Self {
        Self {
            memory: MemoryStore::with_clock(clock),
            task: None,
            renewed: Arc::default(),
        }
    }

    fn behind_channels(clock: &ManualClock) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Work>(8);
        let store = Self::local(clock);
        let memory = store.memory.clone();
        tokio::spawn(async move {
            while let Some(work) = receiver.recv().await {
                work(memory.clone()).await;
            }
        });
        Self {
            task: Some(sender),
            ..store
        }
    }

    async fn send<R: Send + 'static>(
        &self,
        command: impl FnOnce(MemoryStore) -> Pin<Box<dyn Future<Output = R> + Send>> + Send + 'static,
    ) -> Result<R, StoreError> {
        let Some(task) = &self.task else {
            return Ok(command(self.memory.clone()).await);
        };
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(|memory| {
            Box::pin(async move {
                let _ = answer.send(command(memory).await);
            })
        });
        let gone = || StoreError::new(StoreErrorKind::Ambiguous, "the runtime ends");
        task.send(work).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl Store for Counting {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        let (key, request) = (key.clone(), request.clone());
        self.send(|memory| Box::pin(async move { Store::claim(&memory, &key, &request).await }))
            .await?
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let (key, owned) = (key.clone(), owned.clone());
        let renewed = self
            .send(|memory| Box::pin(async move { memory.renew(&key, &owned).await }))
            .await?;
        self.renewed.fetch_add(1, Ordering::SeqCst);
        renewed
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let (key, target) = (key.clone(), target.clone());
        self.send(move |memory| {
            Box::pin(async move { Store::finish(&memory, &key, &target).await })
        })
        .await?
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        let key = key.clone();
        self.send(|memory| Box::pin(async move { memory.read(&key).await }))
            .await?
    }

    async fn overrule(
        &self,
        _: &Key,
        _: Option<&Record>,
        _: &Record,
    ) -> Result<Settled, StoreError> {
        unreachable!("nobody decides by hand here")
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.memory.subscribe(key).await
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        match self.task {
            None => self.memory.local(),
            Some(_) => None,
        }
    }
}

/// What uses the budget up.
#[derive(Clone, Copy, Debug)]
enum Busy {
    Budget,
    Channel,
    Stream,
    Semaphore,
    /// A sibling in the caller's `join!`, while the body itself waits for a signal that needs no
    /// budget.
    Sibling,
}

const ALL: [Busy; 5] = [
    Busy::Budget,
    Busy::Channel,
    Busy::Stream,
    Busy::Semaphore,
    Busy::Sibling,
];

#[derive(Clone)]
struct Scene {
    busy: Busy,
    clock: ManualClock,
    renewed: Arc<AtomicU32>,
    started: Arc<AtomicU32>,
    inside: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

impl Scene {
    fn new(busy: Busy, clock: &ManualClock, store: &Counting) -> Self {
        Self {
            busy,
            clock: clock.clone(),
            renewed: Arc::clone(&store.renewed),
            started: Arc::default(),
            inside: Arc::default(),
            most: Arc::default(),
        }
    }

    /// Works until the heartbeats have been seen, or will not be seen any more.
    async fn work(&self) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for number in 0..1_000 {
            sender.send(number).expect("it is open");
        }
        let semaphore = Semaphore::new(1);
        for beat in 1..=HEARTBEATS {
            let patience = Instant::now() + PATIENCE;
            while self.renewed.load(Ordering::SeqCst) < beat && Instant::now() < patience {
                match self.busy {
                    Busy::Budget | Busy::Sibling => consume_budget().await,
                    Busy::Channel | Busy::Stream => {
                        let number = receiver.recv().await.expect("it is open");
                        sender.send(number).expect("it is open");
                        if matches!(self.busy, Busy::Stream) {
                            let taken = tokio::select! {
                                taken = receiver.recv() => taken,
                                () = std::future::pending() => None,
                            };
                            sender.send(taken.expect("it is open")).expect("it is open");
                        }
                    }
                    Busy::Semaphore => drop(semaphore.acquire().await.expect("it is open")),
                }
            }
            self.clock.advance(LEASE * 2 / 3);
            // Whoever waits for the lapse looks now.
            for _ in 0..20 {
                consume_budget().await;
            }
        }
    }

    fn enter(&self) {
        self.started.fetch_add(1, Ordering::SeqCst);
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn play(busy: Busy, on_crash: OnCrash, clock: &ManualClock, store: Counting) {
    let scene = Scene::new(busy, clock, &store);
    let store = SharedStore::new(store);
    let call = {
        let store = store.clone();
        move || -> Operation<u32, Error> {
            operation::<Answer, _>("coop", &[&"k"])
                .store(&store)
                .lease(LEASE)
                .wait(GENEROUS)
                .on_crash(on_crash)
        }
    };
    let (body, sibling) = (scene.clone(), scene.clone());
    let owner = call();
    let owner = tokio::spawn(async move {
        let is_sibling = matches!(busy, Busy::Sibling);
        let (done, wait) = oneshot::channel::<()>();
        let owner = owner.run(async move {
            body.enter();
            if is_sibling {
                let _ = unconstrained(wait).await;
            } else {
                body.work().await;
            }
            body.leave();
            Ok(1)
        });
        let beside = async move {
            if is_sibling {
                sibling.work().await;
            }
            let _ = done.send(());
        };
        // It is polled first each time.
        let ((), answer) = futures_join(beside, owner).await;
        answer
    });
    until(|| scene.started.load(Ordering::SeqCst) == 1).await;
    let body = scene.clone();
    let duplicate = tokio::spawn(call().run(async move {
        body.enter();
        body.leave();
        Ok(2)
    }));
    let (owner, duplicate) = (owner.await.unwrap(), duplicate.await.unwrap());
    let which = format!("{busy:?} {on_crash:?}: {owner:?} {duplicate:?}");
    assert!(
        scene.renewed.load(Ordering::SeqCst) >= HEARTBEATS,
        "{which}"
    );
    assert_eq!(scene.most.load(Ordering::SeqCst), 1, "{which}");
    assert_eq!(scene.started.load(Ordering::SeqCst), 1, "{which}");
    assert!(matches!((&owner, &duplicate), (Ok(1), Ok(1))), "{which}");
    assert_eq!(store.counters().taken_over(), 0, "{which}");
    settled(&store).await;
}

/// Polls `first` and then `second`, each time and in this order, in one task and with one budget.
async fn futures_join<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    tokio::join!(biased; first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_uses_up_the_budget_keeps_its_lease_in_memory() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        for busy in ALL {
            let clock = ManualClock::new();
            play(busy, on_crash, &clock, Counting::local(&clock)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_uses_up_the_budget_keeps_its_lease_behind_channels() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        for busy in ALL {
            let clock = ManualClock::new();
            play(busy, on_crash, &clock, Counting::behind_channels(&clock)).await;
        }
    }
}

/// Everything else of a call that is polled after a busy sibling: asking, waiting, replaying,
/// deciding by hand, draining.
#[tokio::test]
async fn a_call_beside_a_busy_sibling_is_answered() {
    for local in [true, false] {
        let clock = ManualClock::new();
        let counting = if local {
            Counting::local(&clock)
        } else {
            Counting::behind_channels(&clock)
        };
        let store = SharedStore::new(counting);
        let call = || {
            operation::<Answer, _>("coop", &[&"k"])
                .store(&store)
                .wait(GENEROUS)
        };
        let done = AtomicU32::new(0);
        let calls = async {
            let owner = call().run(async {
                yields(300).await;
                Ok(1)
            });
            // The waiter sees the owner's claim first, and subscribes.
            let (one, two) = tokio::join!(biased; owner, call().run(async { Ok(2) }));
            assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
            assert_eq!(call().run(async { Ok(3) }).await.unwrap(), 1);
            assert!(call().inspect().await.unwrap().is_some());
            done.store(1, Ordering::SeqCst);
        };
        let busy = async {
            let patience = Instant::now() + PATIENCE;
            while done.load(Ordering::SeqCst) == 0 && Instant::now() < patience {
                consume_budget().await;
            }
            done.load(Ordering::SeqCst)
        };
        let (answered, ()) = futures_join(busy, calls).await;
        assert_eq!(
            answered, 1,
            "the sibling had to give way first; local: {local}"
        );
    }
}
