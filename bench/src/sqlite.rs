//! The workloads on an SQLite file, beside the bare statements on one connection to another file of
//! the same disk.

use std::{
    cell::Cell,
    hint::black_box,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use idempotent_fn::{Error, SharedStore, idempotent, store::SqliteStore};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    growth::load::{Order, runtime},
    own::{Receipt, receipt},
    report::Report,
    sample::{Subject, Table, compare},
};

const ROUNDS: usize = 31;
const HOT: u64 = 1_024;
/// How many first calls make a sample, one at a time and from tasks.
const ALONE: u64 = 100;
const TOGETHER: u64 = 4_096;
const TASKS: u64 = 256;

static STORE: OnceLock<SharedStore> = OnceLock::new();

#[idempotent(scope = "bench.sqlite", key = order, store = *STORE.get().expect("set at the start"))]
async fn ours(order: Order) -> Result<Receipt, Error> {
    Ok(Receipt {
        id: order.0,
        ..receipt("order-1")
    })
}

struct Bench {
    runtime: Runtime,
    floor: Connection,
    /// Orders that nobody has used.
    next: Cell<u64>,
    _folder: TempDir,
}

pub fn measure(report: &mut Report) {
    let bench = Bench::start();
    report.add(bench.replay());
    report.add(bench.first());
    report.add(bench.first_together());
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = runtime();
        let store = SqliteStore::connect(folder.path().join("ours.db"));
        let store = runtime.block_on(store).expect("a file");
        STORE.set(store.into()).expect("started once");
        let bench = Self {
            runtime,
            floor: floor(&folder.path().join("floor.db")),
            next: Cell::new(HOT),
            _folder: folder,
        };
        bench.ours(0..HOT);
        for order in 0..HOT {
            bench.insert_and_update(order);
        }
        bench
    }

    fn fresh(&self, count: u64) -> std::ops::Range<u64> {
        let from = self.next.get();
        self.next.set(from + count);
        from..from + count
    }

    fn ours(&self, orders: impl Iterator<Item = u64>) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            for order in orders {
                black_box(ours(black_box(Order(order))).await.expect("recorded"));
            }
            start.elapsed()
        })
    }

    fn ours_together(&self, orders: std::ops::Range<u64>) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for task in 0..TASKS {
                let orders = orders.clone().skip(task as usize).step_by(TASKS as usize);
                tasks.spawn(async move {
                    for order in orders {
                        black_box(ours(black_box(Order(order))).await.expect("recorded"));
                    }
                });
            }
            tasks.join_all().await;
            start.elapsed()
        })
    }

    fn select(&self, count: u64) -> Duration {
        let start = Instant::now();
        for order in (0..HOT).cycle().take(count as usize) {
            let mut read = self
                .floor
                .prepare_cached("SELECT record, renewed, expires FROM records WHERE key = ?1")
                .expect("a table");
            let found = read.query_row([key(order)], |row| {
                let record = row.get_ref(0)?.as_blob()?;
                let receipt: Receipt = rmp_serde::from_slice(&record[64..]).expect("a receipt");
                Ok((receipt, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
            black_box(found.expect("a row"));
        }
        start.elapsed()
    }

    fn insert_and_update(&self, order: u64) {
        let key = key(order);
        let running = [7_u8; 96];
        let mut done = vec![8_u8; 64];
        done.extend(rmp_serde::to_vec_named(&receipt("order-1")).expect("numbers"));
        let insert = self
            .floor
            .prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4)");
        let inserted = insert
            .expect("a table")
            .execute(params![key, 1_i64, 2_i64, running]);
        inserted.expect("a row");
        let update = self.floor.prepare_cached(
            "UPDATE records SET renewed = ?2, expires = ?3, record = ?4 WHERE key = ?1",
        );
        let updated = update
            .expect("a table")
            .execute(params![key, 3_i64, 4_i64, done]);
        updated.expect("the row");
    }

    fn statements(&self, count: u64) -> Duration {
        let orders = self.fresh(count);
        let start = Instant::now();
        for order in orders {
            self.insert_and_update(order);
        }
        start.elapsed()
    }

    fn replay(&self) -> Table {
        let subjects = vec![
            Subject::new(
                "floor: SELECT by primary key, decode",
                "everything but the lookup",
                |count| self.select(count),
            ),
            Subject::new("idempotent-fn", "", |count| {
                self.ours((0..HOT).cycle().take(count as usize))
            }),
        ];
        let title = "Replay on SQLite, one call at a time";
        compare("sqlite-replay", title, 2 * ROUNDS, None, subjects)
    }

    fn first(&self) -> Table {
        let subjects = vec![
            Subject::new(
                "floor: INSERT, UPDATE, each a commit",
                "everything but the rows",
                |count| self.statements(count),
            ),
            Subject::new("idempotent-fn", "", |count| self.ours(self.fresh(count))),
        ];
        let title = "First call on SQLite (`synchronous = FULL`), one at a time";
        compare("sqlite-first", title, ROUNDS, Some(ALONE), subjects)
    }

    fn first_together(&self) -> Table {
        let subjects = vec![
            Subject::new(
                "floor: INSERT, UPDATE on one connection, each a commit",
                "everything but the rows; sharing commits",
                // One after the other takes as long for each, however many there are.
                |count| self.statements(count / 16) * 16,
            ),
            Subject::new("idempotent-fn", "", |count| {
                self.ours_together(self.fresh(count))
            }),
        ];
        let title = "First call on SQLite (`synchronous = FULL`), 256 tasks, time per call";
        compare("sqlite-first-256", title, ROUNDS, Some(TOGETHER), subjects)
    }
}

fn key(order: u64) -> String {
    format!("bench.sqlite|order-{order:07}")
}

fn floor(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a file");
    let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
        row.get::<_, String>(0)
    });
    assert_eq!(mode.as_deref(), Ok("wal"));
    let made = connection.execute_batch(
        "PRAGMA synchronous = FULL; CREATE TABLE records (key TEXT PRIMARY KEY NOT NULL, renewed INTEGER NOT NULL, expires INTEGER NOT NULL, record BLOB NOT NULL) STRICT;",
    );
    made.expect("a table");
    connection
}
