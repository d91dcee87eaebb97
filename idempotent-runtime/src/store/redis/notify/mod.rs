//! Wake-ups by `SUBSCRIBE`: one connection that listens for changed records. In a cluster there is
//! one to each node that has a key somebody waits for.

#[cfg(feature = "redis-cluster")]
mod sharded;

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

#[cfg(feature = "redis-cluster")]
use self::sharded::Shards;
#[cfg(feature = "redis-cluster")]
use super::connection::target::Target;
use super::{
    connection::{
        Connector,
        liveness::{Connection, ConnectionSlot, PushListener},
        per_runtime::Hub,
    },
    error::Failure,
    scripts::{PREFIX, RedisKey},
};
use crate::{
    StoreError,
    backoff::Backoff,
    key::Key,
    store::{KeyNotifier, Subscription},
};

/// The pauses between attempts to subscribe again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// An event for the keeper task.
enum Event {
    /// The last waiter of this key has left.
    Vacated(Key),
    /// A connection is lost, or some of its subscriptions.
    Lost,
}

pub(super) struct Subscriber {
    slot: ListenerSlot,
    #[cfg(feature = "redis-cluster")]
    pub(super) shards: Shards,
    pub(super) notifier: KeyNotifier,
    events: mpsc::UnboundedSender<Event>,
    /// Whether the current lack of push has been reported.
    is_warned: AtomicBool,
    #[cfg(test)]
    warnings: std::sync::atomic::AtomicU32,
    /// The keeper's receiver, until the first waiter starts the keeper.
    unkept: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
}

/// One connection that listens.
#[derive(Clone, Default)]
pub(super) struct ListenerSlot {
    pub(super) connection: ConnectionSlot,
    /// Whether there was a connection before, so that messages may have been missed.
    listened: Arc<AtomicBool>,
}

impl ListenerSlot {
    /// Notes a new connection. If there was one before, it wakes all waiters, because messages may
    /// have been missed in between.
    pub(super) fn note_connected(&self, notifier: &KeyNotifier) {
        if self.listened.swap(true, Ordering::Relaxed) {
            notifier.publish_all();
        }
    }
}

impl Default for Subscriber {
    fn default() -> Self {
        let (events, unkept) = mpsc::unbounded_channel();
        let sender = events.clone();
        let notifier = KeyNotifier::reporting(move |key| {
            // Without a keeper there is no connection, and nothing to unsubscribe.
            let _ = sender.send(Event::Vacated(key.clone()));
        });
        Self {
            slot: ListenerSlot::default(),
            #[cfg(feature = "redis-cluster")]
            shards: Shards::default(),
            notifier,
            events,
            is_warned: AtomicBool::new(false),
            #[cfg(test)]
            warnings: std::sync::atomic::AtomicU32::new(0),
            unkept: Mutex::new(Some(unkept)),
        }
    }
}

impl Subscriber {
    /// Subscribes to changes of `key`, by push if possible. A task does the subscribing: a caller
    /// may stop polling, and others wait for the same connection.
    pub(super) async fn subscribe(
        hub: &Arc<Hub>,
        connector: &Arc<Connector>,
        key: &Key,
    ) -> Subscription {
        let subscriber = &hub.subscriber;
        let unkept = subscriber
            .unkept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(events) = unkept {
            let keeper = run_keeper(Arc::downgrade(hub), connector.clone(), events);
            hub.runtime.spawn(keeper);
        }
        // First register the waiter, then subscribe at the server: a message in between finds the
        // waiter.
        let (subscription, _) = subscriber.notifier.subscribe(key);
        let listening = {
            let (hub, connector, key) = (hub.clone(), connector.clone(), key.clone());
            hub.runtime.clone().spawn(async move {
                hub.subscriber
                    .subscribe_at_server(&hub, &connector, &key)
                    .await
            })
        };
        match listening.await {
            Ok(true) => subscription,
            Ok(false) | Err(_) => Subscription::polling(),
        }
    }

    /// Subscribes at the server. Whether there is push for `key` now.
    async fn subscribe_at_server(
        &self,
        hub: &Arc<Hub>,
        connector: &Arc<Connector>,
        key: &Key,
    ) -> bool {
        let result = self.listen(hub, connector, std::slice::from_ref(key)).await;
        if !self.notifier.waits_for(key.as_str()) {
            // The waiter left before the subscription existed, so its leaving unsubscribed nothing.
            self.send_event(Event::Vacated(key.clone()));
        }
        match result {
            Ok(()) => {
                self.is_warned.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                // Others may be waiting on that connection, so the keeper mends it.
                self.note_lost();
                if !self.is_warned.swap(true, Ordering::Relaxed) {
                    #[cfg(test)]
                    self.warnings.fetch_add(1, Ordering::Relaxed);
                    crate::store::warning::warn(&format!(
                        "cannot listen for changes, waiters poll instead: {error}"
                    ));
                }
                false
            }
        }
    }

    pub(super) fn note_lost(&self) {
        self.send_event(Event::Lost);
    }

    fn send_event(&self, event: Event) {
        // Its receiver lives as long as this sender.
        let _ = self.events.send(event);
    }

    pub(super) fn listener(&self) -> Box<dyn PushListener> {
        Box::new(Listener {
            notifier: self.notifier.clone(),
            events: self.events.clone(),
        })
    }

    /// Subscribes to `keys`. Returns once the server has acknowledged.
    async fn listen(
        &self,
        hub: &Arc<Hub>,
        connector: &Arc<Connector>,
        keys: &[Key],
    ) -> Result<(), StoreError> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = connector.target {
            return sharded::listen(hub, connector, keys).await;
        }
        let connection = self.connection(hub, connector).await?;
        let listening = listen(&connection, keys).await;
        listening.map_err(|failure| explain(failure, connector))
    }

    /// The connection. A new one subscribes to every key with waiters.
    async fn connection(
        &self,
        hub: &Arc<Hub>,
        connector: &Arc<Connector>,
    ) -> Result<Arc<Connection>, StoreError> {
        let open = || {
            let connector = connector.clone();
            let (slot, notifier, listener) =
                (self.slot.clone(), self.notifier.clone(), self.listener());
            async move {
                let connection = connector.subscriber(None, listener).await?;
                let keys = notifier.keys();
                let listening = listen(&connection, &keys).await;
                listening.map_err(|failure| explain(failure, &connector))?;
                slot.note_connected(&notifier);
                Ok(connection)
            }
        };
        self.slot
            .connection
            .connection(&hub.runtime, None, open)
            .await
    }

    /// Subscribes again to every key with waiters.
    async fn resubscribe_all(
        &self,
        hub: &Arc<Hub>,
        connector: &Arc<Connector>,
    ) -> Result<(), StoreError> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = connector.target {
            sharded::listen(hub, connector, &self.notifier.keys()).await?;
            // A slot may have moved, and a message may have been missed.
            self.notifier.publish_all();
            return Ok(());
        }
        match self.slot.connection.current() {
            Some(connection) => {
                let listening = listen(&connection, &self.notifier.keys()).await;
                listening.map_err(|failure| explain(failure, connector))?;
                self.notifier.publish_all();
                Ok(())
            }
            None => self.connection(hub, connector).await.map(drop),
        }
    }
}

pub(super) fn explain(failure: Failure, connector: &Connector) -> StoreError {
    failure.explain("to listen", &connector.server_name)
}

/// Subscribes on this connection. Returns once the server has acknowledged; a connection that does
/// not is given up.
async fn listen(connection: &Connection, keys: &[Key]) -> Result<(), Failure> {
    let mut multiplexed = connection.multiplexed.clone();
    // In portions, so that many keys do not make an answer late.
    for keys in keys.chunks(256) {
        let names = keys.iter().map(RedisKey).collect::<Vec<_>>();
        if let Err(error) = multiplexed.subscribe(names).await {
            let failure = Failure::from(error);
            if failure.code().is_none() {
                connection.retire();
            }
            return Err(failure);
        }
    }
    Ok(())
}

/// The keeper task: keeps subscriptions in step with waiters, as long as the store exists.
async fn run_keeper(
    hub: Weak<Hub>,
    connector: Arc<Connector>,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    while let Some(event) = events.recv().await {
        let Some(hub) = hub.upgrade() else { return };
        match event {
            Event::Vacated(key) => end_subscription(&hub.subscriber, &connector, &hub, &key).await,
            Event::Lost => resubscribe(&hub, &connector).await,
        }
    }
}

/// Ends a subscription without waiters.
async fn end_subscription(subscriber: &Subscriber, connector: &Connector, hub: &Hub, key: &Key) {
    if subscriber.notifier.waits_for(key.as_str()) {
        return;
    }
    #[cfg(feature = "redis-cluster")]
    if let Target::Cluster(_) = connector.target {
        return sharded::end_subscription(hub, key).await;
    }
    let _ = (connector, hub);
    if let Some(connection) = subscriber.slot.connection.current() {
        unsubscribe(subscriber, &connection, key).await;
    }
}

/// Unsubscribes. If a new waiter came meanwhile, it subscribes again and wakes that waiter, because
/// a message may have been missed.
async fn unsubscribe(subscriber: &Subscriber, connection: &Connection, key: &Key) {
    let left = connection
        .multiplexed
        .clone()
        .unsubscribe(RedisKey(key))
        .await;
    if left.is_ok() && subscriber.notifier.waits_for(key.as_str()) {
        if listen(connection, std::slice::from_ref(key)).await.is_err() {
            subscriber.note_lost();
        }
        subscriber.notifier.publish(key.as_str());
    }
}

/// Subscribes again after a loss, as long as there are waiters. Until then waiters poll, as they
/// always do now and then.
async fn resubscribe(hub: &Arc<Hub>, connector: &Arc<Connector>) {
    let subscriber = &hub.subscriber;
    let mut pauses = PAUSES;
    while !subscriber.notifier.is_empty() {
        if subscriber.resubscribe_all(hub, connector).await.is_ok() {
            return;
        }
        tokio::time::sleep(pauses.pause()).await;
    }
}

/// Passes the server's messages to the waiters.
struct Listener {
    notifier: KeyNotifier,
    events: mpsc::UnboundedSender<Event>,
}

impl PushListener for Listener {
    fn on_push(&self, push: PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let Some(Value::BulkString(channel)) = push.data.first()
                    && let Ok(channel) = str::from_utf8(channel)
                    && let Some(key) = channel.strip_prefix(PREFIX)
                {
                    self.notifier.publish(key);
                }
            }
            // The slot has moved to another node, or a waiter has left.
            PushKind::SUnsubscribe => self.check(&push),
            _ => {}
        }
    }

    fn on_lost(&self) {
        let _ = self.events.send(Event::Lost);
    }
}

impl Listener {
    fn check(&self, push: &PushInfo) {
        if let Some(Value::BulkString(channel)) = push.data.first()
            && let Some(key) = str::from_utf8(channel)
                .ok()
                .and_then(|channel| channel.strip_prefix(PREFIX))
            && self.notifier.waits_for(key)
        {
            self.on_lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use idempotent_test_support::RedisServer;

    use super::*;
    use crate::store::redis::RedisStore;

    #[tokio::test]
    async fn one_who_comes_while_the_key_is_being_left_is_woken_and_listens() {
        let server = RedisServer::start();
        let store = RedisStore::new(&server.url()).expect("a valid URL");
        let hub = store.hub().expect("a runtime");
        let key = Key::new("scope", &[&"1"]).expect("a valid key");
        let mut newcomer = Subscriber::subscribe(&hub, &store.inner.connector, &key).await;
        assert!(newcomer.is_push());
        let connection = hub.subscriber.slot.connection.current().expect("connected");
        // The keeper checked before the new waiter came.
        unsubscribe(&hub.subscriber, &connection, &key).await;
        let woken = tokio::time::timeout(Duration::from_secs(60), newcomer.changed()).await;
        assert!(woken.is_ok(), "the newcomer is woken");
        let listeners = server.cli(&["PUBSUB", "NUMSUB", "idempotent:scope|1"]);
        assert!(listeners.ends_with('1'), "{listeners}");
    }

    /// A server that refuses subscriptions is one warning, however many wait, and one more for each
    /// outage.
    #[tokio::test]
    async fn that_there_is_no_push_is_told_once_until_there_is_again() {
        let server = RedisServer::builder()
            .acl("app on >secret ~* &* +@all -subscribe")
            .start();
        let store = RedisStore::new(&server.url_for("app", "secret")).expect("a valid URL");
        let hub = store.hub().expect("a runtime");
        let subscribe = async |part: &str| {
            let key = Key::new("scope", &[&part]).expect("a valid key");
            Subscriber::subscribe(&hub, &store.inner.connector, &key).await
        };
        for round in 1..=2 {
            for part in 0..5 {
                assert!(!subscribe(&part.to_string()).await.is_push());
            }
            assert_eq!(hub.subscriber.warnings.load(Ordering::Relaxed), round);
            server.cli(&["ACL", "SETUSER", "app", "+subscribe"]);
            assert!(subscribe("heard").await.is_push());
            server.cli(&["ACL", "SETUSER", "app", "-subscribe"]);
        }
    }
}
