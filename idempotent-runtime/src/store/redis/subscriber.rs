//! One connection that listens for changed records, and who waits for which.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;

use super::{
    connect::Connector,
    hub::Hub,
    link::{Link, Listen, Live, Wire},
    scripts::{PREFIX, RedisKey},
};
use crate::{
    StoreError,
    key::Key,
    store::{Subscription, Topics},
};

/// The pauses between attempts to listen again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the keeper is told.
enum Event {
    /// Nobody waits for this key any more.
    Vacated(Key),
    /// The connection is gone, or a part of its subscriptions.
    Lost,
}

pub(super) struct Subscriber {
    link: Link,
    topics: Topics,
    events: mpsc::UnboundedSender<Event>,
    /// Whether there was a connection before, whose messages somebody may have missed.
    listened: AtomicBool,
    /// The keeper's end, until the first waiter starts it.
    unkept: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
}

impl Default for Subscriber {
    fn default() -> Self {
        let (events, unkept) = mpsc::unbounded_channel();
        let sender = events.clone();
        let topics = Topics::reporting(move |key| {
            // Without a keeper there is no connection to tell.
            let _ = sender.send(Event::Vacated(key.clone()));
        });
        Self {
            link: Link::default(),
            topics,
            events,
            listened: AtomicBool::new(false),
            unkept: Mutex::new(Some(unkept)),
        }
    }
}

impl Subscriber {
    /// Waits for changes of `key`, by push where that is to be had.
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
            tokio::spawn(keep(Arc::downgrade(hub), connector.clone(), events));
        }
        // First the waiter, then the server: a message between the two finds somebody.
        let (subscription, _) = subscriber.topics.subscribe(key);
        let result = match subscriber.live(connector).await {
            Ok(live) => listen(&live, std::slice::from_ref(key))
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => subscription,
            Err(error) => {
                // Others may be waiting on that connection.
                let _ = subscriber.events.send(Event::Lost);
                crate::events::store_warning(&format!(
                    "cannot listen for changes, waiters poll instead: {error}"
                ));
                Subscription::polling()
            }
        }
    }

    /// The connection, which is subscribed to whatever is waited for when it is made.
    async fn live(&self, connector: &Connector) -> Result<Arc<Live>, StoreError> {
        let open = || async {
            let listener = Listener {
                topics: self.topics.clone(),
                events: self.events.clone(),
            };
            let live = connector.subscriber(Box::new(listener)).await?;
            self.resume(&live)
                .await
                .map_err(|error| super::failure::connecting(error, &connector.place))?;
            Ok(live)
        };
        self.link.live(open).await
    }

    /// Subscribes anew to everything. After a gap everybody is woken: something may have been missed.
    async fn resume(&self, live: &Live) -> RedisResult<()> {
        let keys = self.topics.keys();
        if !keys.is_empty() {
            listen(live, &keys).await?;
        }
        if self.listened.swap(true, Ordering::Relaxed) {
            self.topics.publish_all();
        }
        Ok(())
    }
}

/// Returns once the server has acknowledged. A connection that does not is given up.
async fn listen(live: &Live, keys: &[Key]) -> RedisResult<()> {
    let result = subscribe_all(live, keys).await;
    if let Err(error) = &result
        && error.code().is_none()
    {
        live.retire();
    }
    result
}

async fn subscribe_all(live: &Live, keys: &[Key]) -> RedisResult<()> {
    match live.wire.clone() {
        Wire::One(mut connection) => {
            // In portions, so that no answer is too late because there were many.
            for keys in keys.chunks(256) {
                connection
                    .subscribe(keys.iter().map(RedisKey).collect::<Vec<_>>())
                    .await?;
            }
        }
        #[cfg(feature = "redis-cluster")]
        Wire::Cluster(mut connection) => {
            for key in keys {
                connection.ssubscribe(RedisKey(key)).await?;
            }
        }
    }
    Ok(())
}

async fn leave(live: &Live, key: &Key) -> RedisResult<()> {
    match live.wire.clone() {
        Wire::One(mut connection) => connection.unsubscribe(RedisKey(key)).await,
        #[cfg(feature = "redis-cluster")]
        Wire::Cluster(mut connection) => connection.sunsubscribe(RedisKey(key)).await,
    }
}

/// Keeps the subscriptions in step with the waiters, for as long as there is a store.
async fn keep(
    hub: Weak<Hub>,
    connector: Arc<Connector>,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    while let Some(event) = events.recv().await {
        let Some(hub) = hub.upgrade() else { return };
        match event {
            Event::Vacated(key) => vacate(&hub.subscriber, &key).await,
            Event::Lost => mend(&hub.subscriber, &connector).await,
        }
    }
}

/// Ends a subscription that nobody waits for.
async fn vacate(subscriber: &Subscriber, key: &Key) {
    if let Some(live) = subscriber.link.current()
        && !subscriber.topics.waits_for(key.as_str())
    {
        withdraw(subscriber, &live, key).await;
    }
}

/// Somebody may have come while the key was being left: then it is taken up again, and the newcomer woken, since a
/// message may have passed in between.
async fn withdraw(subscriber: &Subscriber, live: &Live, key: &Key) {
    let left = leave(live, key).await;
    if left.is_ok() && subscriber.topics.waits_for(key.as_str()) {
        if listen(live, std::slice::from_ref(key)).await.is_err() {
            let _ = subscriber.events.send(Event::Lost);
        }
        subscriber.topics.publish(key.as_str());
    }
}

/// Listens again after a loss, for as long as somebody waits. Until then waiters poll, as they do anyway.
async fn mend(subscriber: &Subscriber, connector: &Connector) {
    let mut pause = FIRST_PAUSE;
    while !subscriber.topics.is_empty() {
        let mended = match subscriber.link.current() {
            // A cluster's connection lives on, a part of it was replaced.
            Some(live) => subscriber.resume(&live).await.is_ok(),
            None => subscriber.live(connector).await.is_ok(),
        };
        if mended {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Hands the server's messages to the waiters.
struct Listener {
    topics: Topics,
    events: mpsc::UnboundedSender<Event>,
}

impl Listen for Listener {
    fn heard(&self, push: PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let Some(Value::BulkString(channel)) = push.data.first()
                    && let Ok(channel) = str::from_utf8(channel)
                    && let Some(key) = channel.strip_prefix(PREFIX)
                {
                    self.topics.publish(key);
                }
            }
            // The slot has moved to another node, or a waiter has left.
            PushKind::SUnsubscribe => self.check(&push),
            _ => {}
        }
    }

    fn lost(&self) {
        let _ = self.events.send(Event::Lost);
    }
}

impl Listener {
    fn check(&self, push: &PushInfo) {
        if let Some(Value::BulkString(channel)) = push.data.first()
            && let Some(key) = str::from_utf8(channel)
                .ok()
                .and_then(|channel| channel.strip_prefix(PREFIX))
            && self.topics.waits_for(key)
        {
            self.lost();
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
        let live = hub.subscriber.link.current().expect("connected");
        // The keeper looked before the newcomer came.
        withdraw(&hub.subscriber, &live, &key).await;
        let woken = tokio::time::timeout(Duration::from_secs(60), newcomer.changed()).await;
        assert!(woken.is_ok(), "the newcomer is woken");
        let listeners = server.cli(&["PUBSUB", "NUMSUB", "idempotent:scope|1"]);
        assert!(listeners.ends_with('1'), "{listeners}");
    }
}
