//! Deletes records that are past their time: some pages of the table a step, round and round.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::AbortHandle, time};

use super::{
    Inner, PostgresStore,
    connection::Hub,
    parameter::Parameter::{Flag, Text},
};
use crate::{StoreError, backoff::Backoff};

/// How many pages a step looks at.
const PAGES: i64 = 128;
/// Between two rounds: a half of it to the whole, so that several processes take turns.
const PAUSE: Duration = Duration::from_secs(15);
/// Rounds take at most this part of the time.
const SHARE: u32 = 50;

/// The task that sweeps, one for each store.
#[derive(Default)]
pub(super) struct Sweeper {
    is_started: Arc<AtomicBool>,
    task: Mutex<Option<AbortHandle>>,
}

impl Sweeper {
    /// Starts the task, unless it runs. It ends with its runtime, or with the store.
    pub(super) fn start(&self, hub: &Hub, store: &Arc<Inner>) {
        if self.is_started.load(Ordering::Relaxed) || self.is_started.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let (store, end) = (Arc::downgrade(store), End(self.is_started.clone()));
        let sweeping = hub.runtime.spawn(async move {
            let _end = end;
            keep_sweeping(store).await;
        });
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        *task = Some(sweeping.abort_handle());
    }
}

/// Dropped when the task ends, however it ends: another runtime's may start.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn keep_sweeping(store: Weak<Inner>) {
    let mut took = Duration::ZERO;
    loop {
        time::sleep(Backoff::new(PAUSE, PAUSE).pause().max(took * SHARE)).await;
        let Some(inner) = store.upgrade() else { return };
        if !inner.connector.may_delete.load(Ordering::Relaxed) {
            continue;
        }
        let started = Instant::now();
        // The next call that fails says so to its caller.
        let _ = round(&PostgresStore { inner }, false).await;
        took = started.elapsed();
    }
}

/// One round over the whole table, and how many records it deleted. Where another process sweeps, it ends at once, unless it
/// `insists`.
pub(super) async fn round(store: &PostgresStore, insists: bool) -> Result<u64, StoreError> {
    let doing = "sweeping";
    let rows = store.send(|all| &all.pages, &Vec::new, doing).await?;
    let pages = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
    let pages = pages.unwrap_or(0);
    let mut deleted = 0;
    let mut from = 0;
    while from <= pages {
        let parameters = || {
            vec![
                Text(format!("({from},0)")),
                Text(format!("({},0)", from + PAGES)),
                Flag(insists),
            ]
        };
        let rows = store.send(|all| &all.sweep, &parameters, doing).await?;
        let step = rows
            .first()
            .map(|row| (row.try_get::<_, bool>(0), row.try_get::<_, i64>(1)));
        let Some((Ok(true), Ok(gone))) = step else {
            return Ok(deleted);
        };
        deleted += u64::try_from(gone).unwrap_or(0);
        from += PAGES;
    }
    Ok(deleted)
}
