//! The workloads on Redis: one server, and one connection for each subject.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use cached::{AsyncRedisCache, macros::concurrent_cached};
use idempotent_fn::{Error, SharedStore, idempotent, store::RedisStore};
use idempotent_test_support::RedisServer;
use redis::{AsyncCommands, aio::ConnectionManager};
use tokio::runtime::{Builder, Runtime};

use crate::{
    cores::{Apart, Awake},
    own::{DAY, Receipt, orders, receipt},
    peers::with_idempotent,
    report::Report,
    sample::{Subject, Table, compare},
};

const ROUNDS: usize = 31;
/// The keys that are replayed one at a time. Side by side each call has a key of its own: two of
/// ours with one key would share a command.
const HOT: usize = 256;
const TASKS: usize = 256;
/// How many calls make a sample.
const ALONE: u64 = 200;
const TOGETHER: u64 = 4_096;

static STORE: OnceLock<SharedStore> = OnceLock::new();
static URL: OnceLock<String> = OnceLock::new();

#[idempotent(scope = "bench.redis", key = order, store = *STORE.get().expect("set at the start"))]
async fn ours(order: &'static str) -> Result<Receipt, Error> {
    Ok(receipt(order))
}

#[concurrent_cached(
    map_error = r##"|error| format!("{error:?}")"##,
    ty = "AsyncRedisCache<String, Receipt>",
    key = "String",
    convert = r##"{ order.to_owned() }"##,
    create = r##" {
        AsyncRedisCache::builder("bench")
            .ttl(DAY)
            .connection_string(URL.get().expect("set at the start"))
            .build()
            .await
            .expect("the server has just started")
    } "##
)]
async fn cached(order: &'static str) -> Result<Receipt, String> {
    Ok(receipt(order))
}

type Answer = Pin<Box<dyn Future<Output = Receipt> + Send>>;
type Call = Arc<dyn Fn(&'static str) -> Answer + Send + Sync>;

fn call<F>(call: impl Fn(&'static str) -> F + Send + Sync + 'static) -> Call
where
    F: Future<Output = Receipt> + Send + 'static,
{
    Arc::new(move |key| Box::pin(call(key)))
}

/// A server, on a core of its own.
pub struct Bench {
    server: RedisServer,
    runtime: Runtime,
    apart: Apart,
    awake: Option<Awake>,
}

impl Bench {
    /// None where there is no `redis-server`.
    pub fn start() -> Option<Self> {
        let found = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            println!("\nNo `redis-server` here: the workloads on Redis are left out.");
            return None;
        }
        let server = RedisServer::start();
        let apart = Apart::from(&[&server]);
        let awake = Awake::keep();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let url = server.url();
        let store = runtime
            .block_on(RedisStore::connect(&url))
            .expect("the server has just started");
        STORE.set(store.into()).expect("started once");
        URL.set(url).expect("started once");
        Some(Self {
            server,
            runtime,
            apart,
            awake,
        })
    }

    fn connection(&self) -> ConnectionManager {
        let client = redis::Client::open(self.server.url()).expect("a URL");
        self.runtime
            .block_on(client.get_connection_manager())
            .expect("a connection")
    }

    pub fn measure(&self, report: &mut Report) {
        report.add(self.replay());
        report.add(self.replay_together());
        report.add(self.first());
        report.add(self.first_together());
    }

    /// What a replay is compared with: `GET`, and the same decode.
    fn subjects(&self) -> Vec<(&'static str, &'static str, Call)> {
        let connection = self.connection();
        let bytes = rmp_serde::to_vec_named(&receipt("order-1")).expect("numbers");
        let (floor, prefill) = (connection.clone(), connection);
        self.runtime.block_on(async move {
            for key in orders(TOGETHER as usize) {
                let mut connection = prefill.clone();
                let set = connection.set_ex::<_, _, ()>(format!("floor|{key}"), &bytes, 86_400);
                set.await.expect("room");
            }
        });
        let valkey =
            idempotent::valkey::ValkeyStore::with_url(self.server.url()).prefix("idempotent");
        let valkey = self
            .runtime
            .block_on(valkey.try_build())
            .expect("a connection");
        vec![
            (
                "floor: GET + decode",
                "everything but the lookup",
                call(move |key| {
                    let mut connection = floor.clone();
                    async move {
                        let bytes: Vec<u8> =
                            connection.get(format!("floor|{key}")).await.expect("set");
                        rmp_serde::from_slice(&bytes).expect("a receipt")
                    }
                }),
            ),
            (
                "idempotent-fn",
                "",
                call(|key| async move { ours(key).await.expect("recorded") }),
            ),
            (
                "cached: concurrent_cached, redis",
                "coalescing, claim, fence, fingerprint",
                call(|key| async move { cached(key).await.expect("cached") }),
            ),
            (
                "idempotent 2.0, ValkeyStore",
                "wait, cluster",
                call(move |key| {
                    let valkey = valkey.clone();
                    async move { with_idempotent(&valkey, key).await }
                }),
            ),
        ]
    }

    /// What a replay sends, without us: a claim, which needs its nonce before it can know that it
    /// replays.
    fn claim_alone(&self) -> (&'static str, &'static str, Call) {
        const HEADER: usize = 63;
        let connection = self.connection();
        let mut done = vec![8_u8; HEADER];
        done.extend(rmp_serde::to_vec_named(&receipt("order-1")).expect("numbers"));
        let done: Arc<[u8]> = done.into();
        let alone = move |order: &'static str| {
            let (mut connection, done) = (connection.clone(), Arc::clone(&done));
            async move {
                let key = format!("claim|{order}");
                let mut running = [7_u8; HEADER];
                getrandom::fill(&mut running[2..18]).expect("random bytes");
                let held = claim(&mut connection, &key, &running).await;
                match held {
                    Some(held) => rmp_serde::from_slice(&held[HEADER..]).expect("a receipt"),
                    // Before anything is timed.
                    None => {
                        let set = connection.set_ex::<_, _, ()>(key, &done[..], 86_400);
                        set.await.expect("room");
                        receipt(order)
                    }
                }
            }
        };
        (
            "the claim alone: nonce, SET NX GET, decode",
            "everything but the command",
            call(alone),
        )
    }

    /// What a first call sends, without us: the claim's command, and the script of the finish.
    fn commands_alone(&self) -> (&'static str, &'static str, Call) {
        let connection = self.connection();
        let script = include_str!("../../idempotent-runtime/src/store/redis/scripts/finish.lua");
        let shared = include_str!("../../idempotent-runtime/src/store/redis/scripts/common.lua");
        let script = redis::Script::new(&script.replace("-- common.lua\n", shared));
        let mut loading = connection.clone();
        let loaded = script.load_async(&mut loading);
        let hash: String = self.runtime.block_on(loaded).expect("a script");
        // As long as our records.
        let (running, done) = ([7_u8; 63], [8_u8; 109]);
        let alone = move |order: &'static str| {
            let (mut connection, hash) = (connection.clone(), hash.clone());
            async move {
                let key = format!("alone|{order}");
                let held = claim(&mut connection, &key, &running).await;
                assert_eq!(held, None);
                let mut finish = redis::cmd("EVALSHA");
                finish
                    .arg((hash, 1, &key))
                    .arg(&done[..])
                    .arg((86_400_000, "PUBLISH"))
                    .arg(&running[..]);
                let applied: u64 = finish
                    .query_async(&mut connection)
                    .await
                    .expect("as granted");
                assert_eq!(applied, 0);
                receipt(order)
            }
        };
        (
            "the two commands alone",
            "everything but the commands",
            call(alone),
        )
    }

    fn replay(&self) -> Table {
        let keys = orders(HOT);
        let mut subjects = self.subjects();
        subjects.insert(1, self.claim_alone());
        for (_, _, call) in &subjects {
            self.one_by_one(call, &keys, HOT as u64);
        }
        let rows = subjects.iter().map(|(name, without, call)| {
            Subject::new(name, without, |count| self.one_by_one(call, &keys, count))
        });
        compare(
            "redis-replay",
            self.title("Replay on Redis, one call at a time"),
            ROUNDS,
            Some(ALONE),
            rows.collect(),
        )
    }

    fn replay_together(&self) -> Table {
        let keys = orders(TOGETHER as usize);
        let mut subjects = self.subjects();
        subjects.insert(1, self.claim_alone());
        for (_, _, call) in &subjects {
            self.together(call, &keys, TOGETHER);
        }
        let rows = subjects.iter().map(|(name, without, call)| {
            Subject::new(name, without, |count| self.together(call, &keys, count))
        });
        let title = self.title("Replay on Redis, 256 tasks on one connection, time per call");
        compare(
            "redis-replay-256",
            title,
            ROUNDS,
            Some(TOGETHER),
            rows.collect(),
        )
    }

    fn first(&self) -> Table {
        self.firsts(
            "redis-first",
            "First call on Redis, one at a time",
            ALONE as usize,
            Self::one_by_one,
        )
    }

    fn first_together(&self) -> Table {
        let title = "First call on Redis, 256 tasks on one connection, time per call";
        self.firsts("redis-first-256", title, TOGETHER as usize, Self::together)
    }

    fn firsts(
        &self,
        id: &'static str,
        title: &str,
        calls: usize,
        run: fn(&Self, &Call, &[&'static str], u64) -> Duration,
    ) -> Table {
        let mut subjects = self.subjects();
        subjects.insert(1, self.commands_alone());
        let hot = orders(HOT);
        let fresh = fresh(id, calls * ROUNDS);
        let rows = subjects
            .iter()
            .enumerate()
            .map(|(index, (name, without, call))| {
                let mut next: Range<usize> = 0..calls;
                let (fresh, hot) = (&fresh, &hot);
                Subject::new(name, without, move |count| {
                    if index == 0 {
                        // A first call is compared with one GET.
                        return run(self, call, hot, count);
                    }
                    let keys = &fresh[next.clone()];
                    next = next.end..next.end + calls;
                    run(self, call, keys, count)
                })
            });
        compare(
            id,
            self.title(title),
            ROUNDS,
            Some(calls as u64),
            rows.collect(),
        )
    }

    fn one_by_one(&self, call: &Call, keys: &[&'static str], count: u64) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            for key in keys.iter().cycle().take(count as usize) {
                std::hint::black_box(call(key).await);
            }
            start.elapsed()
        })
    }

    fn together(&self, call: &Call, keys: &[&'static str], count: u64) -> Duration {
        let each = count as usize / TASKS;
        self.runtime.block_on(async {
            let start = Instant::now();
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| {
                    let call = Arc::clone(call);
                    let own: Vec<_> = keys
                        .iter()
                        .cycle()
                        .skip(task * each)
                        .take(each)
                        .copied()
                        .collect();
                    tokio::spawn(async move {
                        for key in own {
                            std::hint::black_box(call(key).await);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
            start.elapsed()
        })
    }

    fn title(&self, title: &str) -> String {
        let place = match (self.apart.pinned, &self.awake) {
            (true, Some(_)) => "pinned, cores awake",
            (true, None) => "pinned, cores MAY IDLE: no claim rests on it",
            (false, _) => "NOT pinned: no claim rests on it",
        };
        format!("{title} ({place})")
    }

    /// Duplicates while the owner runs: how many commands the server was sent in all, and how long
    /// after the owner the last of them had its answer.
    pub fn duplicates(&self, count: usize) -> (u64, Duration) {
        self.server.reset_commandstats();
        let key = format!("with-{count}");
        let spread = self.runtime.block_on(async {
            let call = |index: usize| {
                let store = STORE.get().expect("set at the start");
                let operation = idempotent_fn::operation::<Result<Receipt, Error>, _>(
                    "bench.duplicates",
                    &[&key],
                );
                let call = operation.store(store).run(async move {
                    assert_eq!(index, 0, "the first call is the owner");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(receipt("order-1"))
                });
                tokio::spawn(async move {
                    call.await.expect("an answer");
                    Instant::now()
                })
            };
            let owner = call(0);
            tokio::task::yield_now().await;
            let duplicates: Vec<_> = (1..=count).map(call).collect();
            let done = owner.await.expect("no panic");
            let mut last = done;
            for duplicate in duplicates {
                last = last.max(duplicate.await.expect("no panic"));
            }
            last - done
        });
        // The time is asked for every few seconds, whoever calls.
        let stats = self.server.commandstats();
        let sent = stats.iter().filter(|(name, _)| *name != "time");
        (sent.map(|(_, count)| count).sum(), spread)
    }
}

/// A claim's command, and the record that was in its way.
async fn claim(connection: &mut ConnectionManager, key: &str, running: &[u8]) -> Option<Vec<u8>> {
    let mut claim = redis::cmd("SET");
    claim
        .arg(key)
        .arg(running)
        .arg(("NX", "GET", "PX", "604800000"));
    claim.query_async(connection).await.expect("room")
}

fn fresh(id: &str, count: usize) -> Vec<&'static str> {
    (0..count)
        .map(|at| &*format!("{id}-{at:07}").leak())
        .collect()
}
