//! A worker process: makes the calls it is told to make, on the store it is told to use.

use std::{sync::atomic::Ordering, time::Duration};

use idempotent_fn::{
    SharedStore, drain, install,
    store::{
        MemoryStore, NearCache,
        redis::{RedisOptions, RedisStore},
    },
    with_store,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use crate::{
    functions::{self, Failure, LEASE_MS, Plan, Work},
    history::{Answer, DRAINED, Event, Function},
    ledger,
    say::{CALL, Call, Operator, say},
    witness::Witness,
};

/// Below a third of the lease, as the store's documentation asks.
const ANSWER: Duration = Duration::from_millis(LEASE_MS / 3 - 10);

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
}

/// What a worker is told, a line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Call; go away after `patience` milliseconds.
    Call {
        call: u64,
        key: u32,
        function: Function,
        plan: Plan,
        patience: Option<u64>,
    },
    /// Wait for what callers left behind, and say so.
    Drain,
}

impl Place {
    fn open(&self) -> SharedStore {
        let options = RedisOptions::new()
            .response_timeout(ANSWER)
            .connection_timeout(ANSWER);
        let redis: RedisStore = match self {
            Self::Memory => return SharedStore::new(Witness::new(MemoryStore::new())),
            Self::One(url) => options.open(url),
            Self::Cluster(urls) => options.open_cluster(urls),
            Self::Sentinel(name, urls) => options.open_sentinel(urls, name),
        }
        .expect("the conductor's URLs are right");
        SharedStore::new(Witness::new(redis))
    }
}

/// `worker LEDGER-PORT PLACE`: obeys standard input until it ends.
pub fn main(arguments: &[String]) {
    let [port, place] = arguments else {
        panic!("the ledger's port and a place, not {arguments:?}")
    };
    ledger::locate(port.parse().expect("a port"));
    let place: Place = serde_json::from_str(place).expect("a place");
    // Planned panics are part of the history, and nobody reads this.
    std::panic::set_hook(Box::new(|_| {}));
    tracing::subscriber::set_global_default(Operator).expect("nobody else listens");
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let store = place.open();
    let near = store.near_cache(&NearCache::new());
    install(store).expect("nothing is installed yet");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match serde_json::from_str(&line).expect("an order") {
            Order::Call {
                call,
                key,
                function,
                plan,
                patience,
            } => {
                say(Event::Called {
                    call,
                    key,
                    function,
                });
                let made = make(function, Work { call, key, plan }, patience);
                if has_near_cache(key) {
                    runtime.spawn(with_store(near.clone(), made));
                } else {
                    runtime.spawn(made);
                }
            }
            Order::Drain => {
                runtime.spawn(async {
                    let left = drain(Duration::from_secs(50)).await;
                    say(Event::Noted {
                        what: format!("{DRAINED} {left}"),
                        call: None,
                    });
                });
            }
        }
    }
}

/// Every other key of each function is replayed from a near cache, where its store is elsewhere.
const fn has_near_cache(key: u32) -> bool {
    key / 8 % 2 == 1
}

/// Says that a caller has left, unless it was answered.
struct Leaving(u64, bool);

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.1 {
            say(Event::Left { call: self.0 });
        }
    }
}

async fn make(function: Function, work: Work, patience: Option<u64>) {
    let call = Call {
        id: work.call,
        unrecorded: false.into(),
    };
    let mut leaving = Leaving(work.call, false);
    let patience = patience.map_or(Duration::MAX, Duration::from_millis);
    let called = CALL.scope(call, async {
        let result = tokio::time::timeout(patience, dispatch(function, work)).await;
        (
            result,
            CALL.with(|call| call.unrecorded.load(Ordering::Relaxed)),
        )
    });
    if let (Ok(result), unrecorded) = called.await {
        let answer = match result {
            Ok(run) => Answer::Ok(run),
            Err(Failure::Declined(run)) => Answer::Declined(run),
            Err(Failure::Refused(name)) => Answer::Refused(name),
        };
        leaving.1 = true;
        say(Event::Answered {
            call: work.call,
            answer,
            unrecorded,
        });
    }
}

async fn dispatch(function: Function, work: Work) -> Result<crate::history::Run, Failure> {
    match function {
        Function::Rerun => functions::rerun(work).await,
        Function::RerunAttached => functions::rerun_attached(&work).await,
        Function::Record => functions::record(work).await,
        Function::Fail => functions::fail(work).await,
        Function::FailAttached => functions::fail_attached(&work).await,
    }
}
