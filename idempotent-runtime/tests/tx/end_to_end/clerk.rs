//! One of the processes: this program again, with the one test that plays it.

use std::{
    env,
    io::Write,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use idempotent_fn::{Error, current, idempotent, operation, tx::Begun};
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::Mutex;

use super::{CLERKS, Mode, Plan};
use crate::postgres::{SERVER, Shop};

const NUMBER: &str = "IDEMPOTENT_TEST_CLERK";
/// The test harness writes to the same output.
const MARK: &str = "> ";
/// Orders of one clerk that are placed at once.
const AT_ONCE: usize = 4;

/// Does nothing but in a child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clerk() {
    let Ok(number) = env::var(NUMBER) else { return };
    let variable = |name: &str| env::var(name).expect(name);
    let number: u32 = number.parse().expect("a number");
    let orders: u32 = variable("ORDERS").parse().expect("a number");
    let is_outside = variable("MODE") == "Outside";
    let url: PgConnectOptions = variable("URL").parse().expect("a URL");
    let (schema, isolation) = (variable("SCHEMA"), variable("ISOLATION"));
    let options = url
        .options([
            ("search_path", &*schema),
            ("default_transaction_isolation", &*isolation),
            ("deadlock_timeout", "50ms"),
        ])
        .application_name(&format!("clerk of {schema}"));
    // Its own orders, and a tenth of its neighbour's.
    let own = (0..orders).filter(|order| order % CLERKS == number);
    let other = (0..orders).filter(|order| order % CLERKS == (number + 1) % CLERKS);
    // After so many it is killed, by itself: from outside, it might have finished before.
    let dies_after: Option<usize> = variable("DIES_AFTER").parse().ok();
    let placed = Arc::new(AtomicUsize::new(0));
    let list: Vec<u32> = own
        .chain(other.filter(|order| (order / CLERKS).is_multiple_of(10)))
        .collect();
    let list = Arc::new(Mutex::new(list.into_iter()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (list, options, placed) = (list.clone(), options.clone(), placed.clone());
        tasks.spawn(async move {
            let mut connections = Connections {
                options,
                order: None,
                record: None,
            };
            loop {
                let next = list.lock().await.next();
                let Some(order) = next else { break };
                let token = loop {
                    let placed = if is_outside {
                        connections.place_outside(order).await
                    } else {
                        connections.place_in_tx(order).await
                    };
                    match placed {
                        Ok(token) => break token,
                        Err(Refused::Library(error)) => assert!(error.is_retryable(), "{error}"),
                        // A transaction that failed, or a connection that was ended.
                        Err(Refused::Database(_)) => {}
                    }
                };
                say(&format!("{order}|{token}"));
                if Some(placed.fetch_add(1, Ordering::Relaxed)) == dies_after {
                    let pid = std::process::id().to_string();
                    let killed = Command::new("kill").args(["-9", &pid]).status();
                    panic!("{killed:?}, and still here");
                }
            }
        });
    }
    tasks.join_all().await;
}

#[derive(Debug)]
enum Refused {
    Library(Error),
    Database(#[expect(dead_code, reason = "shown where a test fails")] sqlx::Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

#[idempotent(scope = "orders.place", key = order, in_tx = tx)]
async fn place(tx: &mut PgConnection, order: u32) -> Result<i64, Refused> {
    write(tx, order).await
}

async fn write(tx: &mut PgConnection, order: u32) -> Result<i64, Refused> {
    let token = i64::try_from(current().fencing_token()).expect("a token");
    let insert = sqlx::query("INSERT INTO orders VALUES ($1, $2)");
    let order = i32::try_from(order).expect("a number");
    insert.bind(order).bind(token).execute(tx).await?;
    Ok(token)
}

struct Connections {
    options: PgConnectOptions,
    order: Option<PgConnection>,
    record: Option<PgConnection>,
}

impl Connections {
    async fn take(
        options: &PgConnectOptions,
        slot: &mut Option<PgConnection>,
    ) -> Result<PgConnection, sqlx::Error> {
        match slot.take() {
            Some(connection) => Ok(connection),
            None => options.connect().await,
        }
    }

    /// A connection is used again after a success only.
    async fn place_in_tx(&mut self, order: u32) -> Result<i64, Refused> {
        let mut connection = Self::take(&self.options, &mut self.order).await?;
        let mut tx = connection.begin().await?;
        let token = place(&mut tx, order).await?;
        tx.commit().await?;
        self.order = Some(connection);
        Ok(token)
    }

    async fn place_outside(&mut self, order: u32) -> Result<i64, Refused> {
        let mut connection = Self::take(&self.options, &mut self.order).await?;
        let mut other = Self::take(&self.options, &mut self.record).await?;
        let mut record = other.begin().await?;
        let operation = operation::<Result<i64, Refused>, _>("orders.outside", &[&order]);
        let token = match operation.begin(&mut record).await {
            Begun::Answered(result) => result?,
            Begun::Running(running) => {
                let mut tx = connection.begin().await?;
                let result = running.body(write(&mut tx, order)).await;
                tx.commit().await?;
                running.finish(&mut record, result).await?
            }
        };
        record.commit().await?;
        (self.order, self.record) = (Some(connection), Some(other));
        Ok(token)
    }
}

/// Says a line, in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(format!("\n{MARK}{line}\n").as_bytes());
    // Nobody may be there to read it.
    let _ = said.and_then(|()| out.flush());
}

/// What stands behind the mark in a line of a clerk's output.
pub(super) fn said(line: &str) -> Option<&str> {
    Some(line.trim_end().split_once(MARK)?.1)
}

pub(super) fn start(number: u32, shop: &Shop, plan: Plan, dies: bool) -> Child {
    let dies_after = (plan.orders / CLERKS / 4 + number).to_string();
    let mode = match plan.mode {
        Mode::InTx => "InTx",
        Mode::Outside => "Outside",
    };
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "end_to_end::clerk::clerk", "--nocapture"])
        .env(NUMBER, number.to_string())
        .env("ORDERS", plan.orders.to_string())
        .env("MODE", mode)
        .env("DIES_AFTER", if dies { &*dies_after } else { "never" })
        .env("ISOLATION", plan.isolation)
        .env("SCHEMA", &shop.schema)
        .env("URL", SERVER.url())
        .stdout(Stdio::piped())
        .spawn();
    child.expect("a process")
}
