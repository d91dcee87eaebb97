//! Wake-ups by `LISTEN`: one connection of each runtime that listens for changed rows. Only rows that somebody waits for are
//! notified of.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use super::{
    Inner, PostgresStore,
    connection::{Hub, Session},
    parameter::Parameter::Text,
};
use crate::{
    StoreError, StoreErrorKind,
    backoff::Backoff,
    key::Key,
    store::{
        KeyNotifier, Subscription,
        connection::{shared_try::CONNECT_PATIENCE, slot::ConnectionSlot},
        sql::table::row_key,
        warning::warn,
    },
};

/// The pauses between attempts to listen again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// How long the store's own notification may take to come back.
const ECHO: Duration = Duration::from_secs(1);
/// How long nobody tries again to listen where notifications do not arrive.
const DEAF: Duration = Duration::from_secs(60);

/// One runtime's connection that listens, and its waiters.
#[derive(Default)]
pub(super) struct Listener {
    notifier: KeyNotifier,
    slot: ConnectionSlot<Session>,
    /// Whether there was a connection before, so that messages may have been missed.
    has_listened: AtomicBool,
    /// Whether the current lack of push has been reported.
    is_warned: AtomicBool,
    deaf_until: Mutex<Option<Instant>>,
}

impl Listener {
    fn is_deaf(&self) -> bool {
        let until = self.deaf_until.lock();
        let until = *until.unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// Subscribes to changes of `key`, by push if possible: it listens first, then marks the row. What is written to a marked
/// row is notified of.
pub(super) async fn subscribe(
    store: &PostgresStore,
    key: &Key,
) -> Result<Subscription, StoreError> {
    let hub = store.hub()?;
    let text = row_key(key);
    // As it will be notified of. A shortened key is no key's text, and rare.
    let Some(notified) = Key::stored(&text) else {
        return Ok(Subscription::polling());
    };
    let listener = &hub.listener;
    if store.inner.connector.is_pooled() || listener.is_deaf() {
        return Ok(Subscription::polling());
    }
    let (subscription, _) = listener.notifier.subscribe(&notified);
    if let Err(error) = listening(store, &hub, CONNECT_PATIENCE).await {
        if !error.is_transient() && !listener.is_warned.swap(true, Ordering::Relaxed) {
            warn(&format!(
                "cannot listen for changes, waiters poll instead: {error}"
            ));
        }
        return Ok(Subscription::polling());
    }
    let parameters = || vec![Text(text.to_string())];
    let marked = store
        .send(|all| &all.await_change, &parameters, "waiting")
        .await;
    let marked = marked.ok().and_then(|rows| rows.first()?.try_get(0).ok());
    Ok(if marked == Some(true) {
        subscription
    } else {
        Subscription::polling()
    })
}

/// The connection that listens. A task makes it, since others wait for it too.
async fn listening(
    store: &PostgresStore,
    hub: &Arc<Hub>,
    patience: Option<Duration>,
) -> Result<Arc<Session>, StoreError> {
    let open = || {
        let (store, hub) = (store.clone(), hub.clone());
        async move { listen(&store, &hub).await }
    };
    hub.listener
        .slot
        .connection(&hub.runtime, patience, open)
        .await
}

/// Connects, listens, and believes it only once the store's own notification has come back.
async fn listen(store: &PostgresStore, hub: &Arc<Hub>) -> Result<Session, StoreError> {
    let listener = &hub.listener;
    // No key's text: those have a `|`.
    let probe = format!("{:016x}", RandomState::new().build_hasher().finish());
    let echo = Arc::new(Notify::new());
    let heard = {
        let (notifier, probe, echo) = (listener.notifier.clone(), probe.clone(), echo.clone());
        Arc::new(move |payload: &str| {
            if payload == probe {
                echo.notify_one();
            } else {
                notifier.publish(payload);
            }
        })
    };
    let lost = {
        let (store, hub) = (Arc::downgrade(&store.inner), Arc::downgrade(hub));
        move || drop(tokio::spawn(mending(store, hub)))
    };
    let session = store.inner.connector.listener(heard).await?;
    let parameters = || vec![Text(probe.clone())];
    store
        .send(|all| &all.notify, &parameters, "a notification")
        .await?;
    if time::timeout(ECHO, echo.notified()).await.is_err() {
        let until = Instant::now() + DEAF;
        *listener
            .deaf_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(until);
        let reason = format!(
            "{} takes LISTEN, but a notification did not arrive within a second",
            store.inner.connector.server_name
        );
        return Err(StoreError::new(StoreErrorKind::Config, reason));
    }
    session.when_lost(lost);
    listener.is_warned.store(false, Ordering::Relaxed);
    if listener.has_listened.swap(true, Ordering::Relaxed) {
        listener.notifier.publish_all();
    }
    Ok(session)
}

/// [`mend`], whose type contains itself: it listens, and whoever listens mends.
fn mending(store: Weak<Inner>, hub: Weak<Hub>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(mend(store, hub))
}

/// Listens again after a loss, as long as there are waiters. Until then waiters poll, as they always do now and then.
async fn mend(store: Weak<Inner>, hub: Weak<Hub>) {
    let mut pauses = PAUSES;
    loop {
        let (Some(inner), Some(hub)) = (store.upgrade(), hub.upgrade()) else {
            return;
        };
        let store = PostgresStore { inner };
        let listener = &hub.listener;
        if listener.notifier.is_empty() || listener.is_deaf() {
            return;
        }
        if listening(&store, &hub, None).await.is_ok() {
            return;
        }
        drop((store, hub));
        time::sleep(pauses.pause()).await;
    }
}
