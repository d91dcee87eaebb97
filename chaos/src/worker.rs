//! A worker process: makes the calls that it is told to, on the given store.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use idempotent_fn::{
    SharedStore, drain, install,
    store::{MemoryStore, NearCache, PostgresOptions, RedisOptions, RedisStore, SqliteStore},
    with_store,
};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Builder, sync::Barrier, task::JoinSet};

use crate::{
    functions::{self, Failure, LEASE_MS, Plan, Work},
    history::{Answer, DRAINED, Event, Function, Kind, Run, now},
    ledger,
    load::AT_ONCE,
    manner::Manner,
    pulse,
    say::{CALL, Call, Operator, PROCESS, say, say_fault},
    witness::Witness,
};

/// The response timeout: below a third of the lease, as the store's documentation asks.
const ANSWER: Duration = Duration::from_millis(LEASE_MS / 3 - 10);

/// A limit above what the server takes.
const TOO_LARGE: usize = 4 * 1024 * 1024;

/// Where the records are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the worker's own memory.
    Memory,
    /// On one server.
    One(String),
    /// On a cluster, of which these are nodes.
    Cluster(Vec<String>),
    /// On the primary of this name, which these sentinels know.
    Sentinel(String, Vec<String>),
    /// In this file.
    Sqlite(PathBuf),
    /// On the PostgreSQL server at this URL.
    Postgres(String),
}

/// An order to a worker, one line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Makes a call.
    Call(Task),
    /// Makes all these calls at once.
    Wave(Vec<Task>),
    /// Waits for what callers left behind, and reports when it is done.
    Drain,
}

/// A call to make.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) call: u64,
    pub(crate) key: u32,
    pub(crate) function: Function,
    pub(crate) plan: Plan,
    pub(crate) wait: u64,
    pub(crate) manner: Manner,
}

impl Place {
    fn open(&self) -> SharedStore {
        let options = RedisOptions::new()
            .with_response_timeout(ANSWER)
            .with_connection_timeout(ANSWER);
        let redis: RedisStore = match self {
            Self::Memory => return SharedStore::new(Witness::new(MemoryStore::new())),
            Self::Sqlite(path) => {
                let store = SqliteStore::new(path).expect("the conductor's path is right");
                return SharedStore::new(Witness::new(store));
            }
            Self::Postgres(url) => {
                let options = PostgresOptions::new()
                    .with_response_timeout(ANSWER)
                    // A server process has to be started for each connection.
                    .with_connection_timeout(ANSWER * 3);
                let store = options.open(url).expect("the conductor's URL is right");
                return SharedStore::new(Witness::new(store));
            }
            Self::One(url) => options.open(url),
            Self::Cluster(urls) => options.open_cluster(urls),
            Self::Sentinel(name, urls) => options.open_sentinel(urls, name),
        }
        .expect("the conductor's URLs are right");
        SharedStore::new(Witness::new(redis))
    }
}

/// `worker PROCESS LEDGER-PORT PLACE`: reads orders from standard input until it ends.
pub fn main(arguments: &[String]) {
    let [process, port, place] = arguments else {
        panic!("the process' number, the ledger's port and a place, not {arguments:?}")
    };
    PROCESS.get_or_init(|| process.parse().expect("a number"));
    ledger::locate(port.parse().expect("a port"));
    let place: Place = serde_json::from_str(place).expect("a place");
    // Planned panics are in the history, and nobody reads their output.
    std::panic::set_hook(Box::new(|_| {}));
    tracing::subscriber::set_global_default(Operator).expect("nobody else listens");
    pulse::start(|since| say_fault(Kind::Starved, None, since, true));
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let stores = Stores::around(place.open());
    install(stores.plain.clone()).expect("nothing is installed yet");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match serde_json::from_str(&line).expect("an order") {
            Order::Call(task) => {
                runtime.spawn(stores.serve(task));
            }
            Order::Wave(tasks) => {
                let calls = tasks.into_iter().map(|task| stores.serve(task)).collect();
                runtime.spawn(wave(calls));
            }
            Order::Drain => {
                runtime.spawn(async {
                    let left = drain(Duration::from_secs(50)).await;
                    say(Event::Noted {
                        what: format!("{DRAINED} {left}"),
                        call: None,
                        scope: None,
                    });
                });
            }
        }
    }
}

/// Handles of the one store, with different options.
struct Stores {
    plain: SharedStore,
    near: SharedStore,
    large: SharedStore,
}

impl Stores {
    fn around(store: SharedStore) -> Self {
        Self {
            near: store.with_near_cache(&NearCache::new()),
            large: store.with_max_result(TOO_LARGE),
            plain: store,
        }
    }

    /// Makes the call. Every other key of each function uses a near cache, if the store is a
    /// network store, or has a limit above the server's.
    fn serve(&self, task: Task) -> impl Future<Output = ()> + Send + use<> {
        let store = if task.function.bulky() {
            (task.key / 2 % 2 == 1).then(|| self.large.clone())
        } else {
            (task.key / 8 % 2 == 1).then(|| self.near.clone())
        };
        let Task {
            call,
            key,
            function,
            manner,
            ..
        } = task;
        say(Event::Called {
            call,
            key,
            function,
            held: !manner.is_fair(),
        });
        let made = make(task);
        async move {
            match store {
                Some(store) => with_store(store, made).await,
                None => made.await,
            }
        }
    }
}

/// The calls in progress, and their maximum since it was last reset.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Counts a call as in progress.
struct UnderWay;

impl UnderWay {
    fn new() -> Self {
        let now = UNDER_WAY.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(now, Ordering::SeqCst);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn wave(calls: Vec<impl Future<Output = ()> + Send + 'static>) {
    let ready = Arc::new(Barrier::new(calls.len()));
    let since = now();
    MOST.store(0, Ordering::SeqCst);
    let mut tasks = JoinSet::new();
    for call in calls {
        let ready = Arc::clone(&ready);
        tasks.spawn(async move {
            ready.wait().await;
            call.await;
        });
    }
    // The task of a call panics with its body.
    while tasks.join_next().await.is_some() {}
    let most = MOST.load(Ordering::SeqCst);
    say_fault(Kind::Wave, None, since, most >= AT_ONCE);
}

/// Notes that a caller has left, unless it was answered.
struct Leaving(u64, bool);

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.1 {
            say(Event::Left { call: self.0 });
        }
    }
}

async fn make(task: Task) {
    let Task {
        call: id,
        key,
        function,
        plan,
        wait,
        manner,
    } = task;
    let call = Call {
        id,
        unrecorded: false.into(),
    };
    let _under_way = UnderWay::new();
    let mut leaving = Leaving(id, false);
    let work = Work {
        call: id,
        key,
        plan,
        wait,
    };
    let called = CALL.scope(call, async {
        let result = manner.treat(id, Box::pin(dispatch(function, work))).await;
        (
            result,
            CALL.with(|call| call.unrecorded.load(Ordering::Relaxed)),
        )
    });
    if let (Some(result), unrecorded) = called.await {
        let answer = match result {
            Ok(run) => Answer::Ok(run),
            Err(Failure::Declined(run)) => Answer::Declined(run),
            Err(Failure::Refused(name)) => Answer::Refused(name),
        };
        leaving.1 = true;
        say(Event::Answered {
            call: id,
            answer,
            unrecorded,
        });
    }
}

async fn dispatch(function: Function, work: Work) -> Result<Run, Failure> {
    match function {
        Function::Rerun => functions::rerun(work).await,
        Function::RerunAttached => functions::rerun_attached(&work).await,
        Function::Record => functions::record(work).await,
        Function::Fail => functions::fail(work).await,
        Function::FailAttached => functions::fail_attached(&work).await,
        Function::Brief => functions::brief(work).await,
        Function::BriefFail => functions::brief_fail(work).await,
        Function::Bulky => functions::bulky(work).await.map(|bulk| bulk.run),
        Function::BulkyFail => functions::bulky_fail(work).await.map(|bulk| bulk.run),
    }
}
