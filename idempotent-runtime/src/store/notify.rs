//! Waiters by key, and how they are woken.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError},
};

use crate::{
    key::Key,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        mutant, watch,
    },
};

/// The waiters of one store, by key. A key without waiters takes no room.
///
/// Waking runs callers' code, so it is done after the lock is released.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), idempotent_fn::key::InvalidKeyError> {
/// use idempotent_fn::{key::Key, store::KeyNotifier};
///
/// let notifier = KeyNotifier::default();
/// let key = Key::new("payments.charge", &[&"order-42"])?;
/// let (mut subscription, is_first) = notifier.subscribe(&key); // what `Store::subscribe` answers
/// assert!(is_first);
/// notifier.publish(key.as_str()); // what `Store::finish` does once the record is written
/// subscription.changed().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct KeyNotifier {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    topics: Mutex<HashMap<Key, watch::Sender<()>>>,
    /// The map's size, so that a writer without waiters takes no lock.
    count: AtomicUsize,
    /// Called with each key whose last waiter has left.
    vacated: Option<Vacated>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<()>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Vacated = Box<dyn Fn(&Key) + Send + Sync>;

impl KeyNotifier {
    /// A notifier without waiters. It calls `vacated` with each key whose last waiter has left,
    /// after the key is removed. `vacated` must not block.
    #[must_use]
    pub fn reporting(vacated: impl Fn(&Key) + Send + Sync + 'static) -> Self {
        let shared = Shared {
            vacated: Some(Box::new(vacated)),
            ..Shared::default()
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds a waiter. The flag is true for the key's first waiter.
    #[must_use]
    pub fn subscribe(&self, key: &Key) -> (Subscription, bool) {
        let mut topics = self.shared.lock();
        let first = !topics.contains_key(key);
        let receiver = topics
            .entry(key.clone())
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe();
        self.shared.count.store(topics.len(), Ordering::SeqCst);
        let leave = Leave {
            notifier: self.clone(),
            key: key.clone(),
        };
        (
            Subscription {
                source: Some((receiver, leave)),
            },
            first,
        )
    }

    /// Wakes all waiters of `key`.
    pub fn publish(&self, key: &str) {
        if self.shared.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let sender = self.shared.lock().get(key).cloned();
        if let Some(sender) = sender {
            sender.send_replace(());
        }
    }

    /// Wakes all waiters of all keys, because a message may have been missed.
    pub fn publish_all(&self) {
        let senders: Vec<_> = self.shared.lock().values().cloned().collect();
        for sender in senders {
            sender.send_replace(());
        }
    }

    /// Whether there is a waiter for `key`.
    #[must_use]
    pub fn waits_for(&self, key: &str) -> bool {
        self.shared.lock().contains_key(key)
    }

    /// The keys that have waiters.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.shared.lock().keys().cloned().collect()
    }

    /// The number of keys that have waiters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Whether there are no waiters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for KeyNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyNotifier")
            .field("len", &self.len())
            .finish()
    }
}

/// Tells a waiter that a key's record may have changed.
#[derive(Debug)]
pub struct Subscription {
    // The order matters: the receiver must be dropped before `Leave` counts the remaining waiters.
    source: Option<(watch::Receiver<()>, Leave)>,
}

impl Subscription {
    /// A subscription that never resolves: the waiter polls.
    #[must_use]
    pub const fn polling() -> Self {
        Self { source: None }
    }

    /// Whether changes are pushed, or the waiter must poll.
    #[must_use]
    pub const fn is_push(&self) -> bool {
        self.source.is_some()
    }

    /// Resolves once the record may have changed since the subscription, or since the last time
    /// this resolved.
    ///
    /// Cancel-safe: a change that was not reported is reported the next time.
    pub async fn changed(&mut self) {
        if let Some((receiver, _)) = &mut self.source
            && receiver.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[derive(Debug)]
struct Leave {
    notifier: KeyNotifier,
    key: Key,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let shared = &*self.notifier.shared;
        let mut topics = shared.lock();
        let is_vacated = topics.get(&self.key).is_some_and(|sender| {
            mutant!("a topic leaves with its first waiter" => return true);
            sender.receiver_count() == 0
        });
        let vacated = is_vacated.then(|| topics.remove(&self.key));
        shared.count.store(topics.len(), Ordering::SeqCst);
        drop(topics);
        drop(vacated);
        if let Some(tell) = shared.vacated.as_ref().filter(|_| is_vacated) {
            tell(&self.key);
        }
    }
}
