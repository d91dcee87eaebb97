//! A waiter in another process: what it sends between the owner's completion and its own answer,
//! and how long that takes. Two stores that share only the server stand for the two processes, so
//! one clock times both.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use idempotent_fn::{Error, SharedStore};
use idempotent_test_support::{RedisServer, wait_until};
use redis::AsyncCommands;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use crate::{
    cores::Apart,
    growth::load::{connected, runtime},
    own::{Receipt, receipt},
    report::Facts,
    sample::quantile,
};

const ROUNDS: usize = 31;

struct Place {
    server: RedisServer,
    runtime: Runtime,
    owner: &'static SharedStore,
    waiter: &'static SharedStore,
}

pub fn measure() -> Facts {
    let server = RedisServer::start();
    let _apart = Apart::from(&[&server]);
    let runtime = runtime();
    let place = Place {
        owner: connected(&runtime, &server),
        waiter: connected(&runtime, &server),
        server,
        runtime,
    };
    let alone = place.commands(0, false);
    let with_waiter = place.commands(1, true);
    let mut ratios = Vec::new();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let (late, get) = (place.late(2 + round), place.get());
        ratios.push(late / get);
        times[0].push(get * 1e6);
        times[1].push(late * 1e6);
    }
    let [get, late] = times.map(|times| quantile(times, 0.5));
    let rows = vec![
        vec![
            "commands it sends from then on".to_owned(),
            (with_waiter - alone).to_string(),
        ],
        vec![
            "answered so long after the owner".to_owned(),
            format!(
                "{late:.0} µs, {:.2} × a `GET` ({get:.0} µs)",
                quantile(ratios, 0.5)
            ),
        ],
    ];
    Facts {
        id: "waiter",
        title: "A waiter in another process, once the owner has completed".to_owned(),
        columns: ["", ""].map(str::to_owned).to_vec(),
        rows,
    }
}

type Timed = Pin<Box<dyn Future<Output = Instant> + Send>>;

impl Place {
    fn call(
        &self,
        store: &'static SharedStore,
        key: usize,
        end: Option<oneshot::Receiver<()>>,
    ) -> Timed {
        let operation =
            idempotent_fn::operation::<Result<Receipt, Error>, _>("bench.waiter", &[&key]);
        let call = operation.store(store).run(async move {
            end.expect("the other one is the owner")
                .await
                .expect("sent");
            Ok(receipt("order-1"))
        });
        Box::pin(async move {
            call.await.expect("an answer");
            Instant::now()
        })
    }

    /// An owner that is about to complete, and a waiter that listens.
    fn held(
        &self,
        key: usize,
        waits: bool,
    ) -> (
        oneshot::Sender<()>,
        JoinHandle<Instant>,
        Option<JoinHandle<Instant>>,
    ) {
        let (end, ended) = oneshot::channel();
        let owner = self.call(self.owner, key, Some(ended));
        let _guard = self.runtime.enter();
        let owner = tokio::spawn(owner);
        // Long enough to be granted the key, or the waiter would be.
        self.idle_until(|| self.server.cli(&["EXISTS", &name(key)]) == "1");
        let waiter = waits.then(|| tokio::spawn(self.call(self.waiter, key, None)));
        if waits {
            let listens = format!("{}\n1", name(key));
            self.idle_until(|| self.server.cli(&["PUBSUB", "NUMSUB", &name(key)]) == listens);
        }
        // It asks once more after it has subscribed.
        self.runtime
            .block_on(tokio::time::sleep(Duration::from_millis(20)));
        (end, owner, waiter)
    }

    fn idle_until(&self, mut condition: impl FnMut() -> bool) {
        wait_until("the other side is there", || {
            self.runtime
                .block_on(tokio::time::sleep(Duration::from_millis(1)));
            condition()
        });
    }

    /// What is sent from the owner's completion on, by everybody.
    fn commands(&self, key: usize, waits: bool) -> u64 {
        let (end, owner, waiter) = self.held(key, waits);
        self.server.reset_commandstats();
        self.runtime.block_on(async {
            end.send(()).expect("the owner waits");
            owner.await.expect("no panic");
            if let Some(waiter) = waiter {
                waiter.await.expect("no panic");
            }
        });
        // A subscription that nobody needs any more is no part of the answer.
        let counts = self.server.commandstats();
        let sent = counts.iter().filter(|(name, _)| *name != "unsubscribe");
        sent.map(|(_, count)| count).sum()
    }

    /// Seconds between the owner's answer and the waiter's.
    fn late(&self, key: usize) -> f64 {
        let (end, owner, waiter) = self.held(key, true);
        self.runtime.block_on(async {
            end.send(()).expect("the owner waits");
            let owner = owner.await.expect("no panic");
            let waiter = waiter.expect("started").await.expect("no panic");
            waiter.saturating_duration_since(owner).as_secs_f64()
        })
    }

    /// Seconds of one `GET`.
    fn get(&self) -> f64 {
        let client = redis::Client::open(self.server.url()).expect("a URL");
        self.runtime.block_on(async {
            let mut connection = client.get_connection_manager().await.expect("a connection");
            let mut times = Vec::new();
            for _ in 0..21 {
                let start = Instant::now();
                let _: Option<Vec<u8>> = connection.get(name(0)).await.expect("there");
                times.push(start.elapsed().as_secs_f64());
            }
            quantile(times, 0.5)
        })
    }
}

/// The record's, and the channel's.
fn name(key: usize) -> String {
    format!("idempotent:bench.waiter|{key}")
}
