//! The custom store with one flaw at a time: each is a defect that real stores have had.

mod decide;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    key::Key,
    record::{Record, RecordedBytesRef, State},
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, KeyNotifier, Lapsed, LocalStore, Page,
        Settled, Subscription,
        conformance::{Loss, Subject},
        protocol::{self, Current, Step, Write},
    },
};

use self::decide::{held, nobody, stale};
use crate::{caught::Flaw, store::TableStore};

#[derive(Clone)]
pub(crate) struct Flawed {
    table: TableStore,
    flaw: Flaw,
    planted: Arc<Mutex<HashMap<Key, Vec<u8>>>>,
    /// What is lost of the next write.
    loss: Arc<Mutex<Option<Loss>>>,
    kept: Arc<Mutex<Vec<Subscription>>>,
    /// Records that claims have met.
    met: Arc<Mutex<HashMap<Key, Record>>>,
    running: Arc<tokio::sync::Semaphore>,
    face: Face,
}

impl Flawed {
    pub(crate) fn with(flaw: Flaw) -> Self {
        let table = TableStore::default();
        let face = Face {
            table: match flaw {
                Flaw::LocalFaceOfAnotherStore => TableStore::default(),
                _ => table.clone(),
            },
            flaw,
        };
        Self {
            table,
            flaw,
            planted: Arc::default(),
            loss: Arc::default(),
            kept: Arc::default(),
            met: Arc::default(),
            running: Arc::new(tokio::sync::Semaphore::new(1)),
            face,
        }
    }

    /// The table's atomic step, with what is wrong about keys, bytes and retention.
    fn step<R>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> Result<R, StoreError> {
        let text = key.as_str();
        let key = &match self.flaw {
            Flaw::FoldsTheCaseOfKeys => named(&text.to_lowercase()),
            Flaw::CutsKeys => named(text.get(..120).unwrap_or(text)),
            Flaw::TrimsKeys => named(text.trim_end()),
            _ => key.clone(),
        };
        if let Some(bytes) = self.planted.lock().expect("no panic").get(key)
            && self.flaw != Flaw::OverwritesWhatItCannotRead
        {
            Record::decode(bytes)?;
        }
        let mut lost = None;
        let reply = self.table.step(key, |current, now| {
            let age = current.map_or(Duration::ZERO, |current| current.age);
            let mut step = decide(current, now);
            if let Some(write) = &mut step.write {
                self.spoil_retention(write, age, now);
                lost = self.loss.lock().expect("no panic").take();
            }
            step.write = step.write.filter(|_| lost != Some(Loss::Request));
            step
        });
        let (kind, message) = match (lost, self.flaw) {
            (None, _) | (Some(Loss::Request), Flaw::TakesALostRequestForDone) => return Ok(reply),
            (_, Flaw::TakesALostAnswerForARefusal) => (StoreErrorKind::Refused, "refused"),
            _ => (StoreErrorKind::Ambiguous, "no answer"),
        };
        Err(StoreError::new(kind, message))
    }

    fn publish(&self, key: &Key) {
        if self.flaw != Flaw::WakesNobody {
            self.table.shared.notifier.publish(key.as_str());
        }
    }
}

fn named(text: &str) -> Key {
    Key::new("flawed", &[&text]).expect("a valid key")
}

impl Store for Flawed {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        match self.flaw {
            Flaw::ReadsThenWrites => {
                let mut decided = None;
                let reply = self.step(key, |current, now| {
                    let Step { write, reply } = self.decide_claim(current, request, now);
                    decided = write;
                    Step::keep(reply)
                })?;
                tokio::task::yield_now().await;
                return self.step(key, |_, _| Step {
                    write: decided,
                    reply,
                });
            }
            Flaw::ClaimsInTwoSteps => {
                let mut placeholder = request.clone();
                placeholder.nonce = nobody();
                let mut mine = false;
                self.step(key, |current, now| {
                    mine = current.is_none();
                    match current {
                        None => protocol::claim(None, &placeholder, now),
                        Some(current) => held(current.record),
                    }
                })?;
                tokio::task::yield_now().await;
                return self.step(key, |current, now| {
                    protocol::claim(current.filter(|_| !mine), request, now)
                });
            }
            Flaw::RefusesWhoLosesARace => {
                let is_free = || self.step(key, |current, _| Step::keep(current.is_none()));
                let was_free = is_free()?;
                tokio::task::yield_now().await;
                if was_free && !is_free()? {
                    let reason = "there was no row, and now there is one";
                    return Err(StoreError::new(StoreErrorKind::Refused, reason));
                }
            }
            Flaw::TakesTheVanishedForLost => {
                let mut met = self.met.lock().expect("no panic");
                let now = self.step(key, |current, _| {
                    Step::keep(current.map(|current| current.record.clone()))
                })?;
                if let Some(record) = now {
                    met.insert(key.clone(), record);
                } else if let Some(record) = met.get(key) {
                    let mut lost = record.clone();
                    lost.state = State::Lost;
                    return Ok(held(&lost).reply);
                }
            }
            Flaw::WaitsForOtherKeys => {
                let permit = self.running.acquire().await.expect("never closed");
                permit.forget(); // until the owner has finished
            }
            _ => {}
        }
        self.step(key, |current, now| self.decide_claim(current, request, now))
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        self.step(key, |current, now| self.decide_settle(current, owned, now))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        if self.flaw == Flaw::FinishesInTwoSteps && target.state == State::Done {
            let mut cleared = target.clone();
            cleared.state = State::Failed;
            cleared.outcome = None;
            self.step(key, |current, now| protocol::finish(current, &cleared, now))?;
            tokio::task::yield_now().await;
            return self.step(key, |current, now| match current {
                Some(current) if current.record.nonce == target.nonce => stale(current.record),
                current => protocol::finish(current, target, now),
            });
        }
        let settled = self.step(key, |current, now| self.decide_settle(current, target, now))?;
        self.publish(key);
        Ok(settled)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.step(key, |current, now| {
            let seen = match self.flaw {
                Flaw::ShowsWhatHasEnded => current,
                _ => protocol::visible(current, now),
            };
            let shown = seen.map(|current| {
                let mut record = current.record.clone();
                if self.flaw == Flaw::MendsTheCheck {
                    record.seal(key);
                }
                if self.flaw == Flaw::SetsNoExpires {
                    record.expires = 0;
                }
                (record, current.lease_left())
            });
            Step::keep(shown)
        })
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, now| {
            self.decide_overrule(current, seen, replacement, now)
        })?;
        if self.flaw != Flaw::WakesNobodyOnAnOverruling {
            self.publish(key);
        }
        Ok(settled)
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let mut filter = filter.clone();
        match self.flaw {
            Flaw::ListsWhateverIsThere => (filter.state, filter.lapsed) = (None, Lapsed::Included),
            Flaw::ListsOtherNamespaces => {
                filter.prefix = filter.prefix.replace("a@", "").replace("b@", "");
            }
            Flaw::TakesThePrefixForAPattern => {
                let text = filter.prefix.split(['*', '?', '%', '_']).next();
                filter.prefix = text.unwrap_or_default().to_owned();
            }
            _ => {}
        }
        let mut page = self.table.list(&filter, cursor).await?;
        if self.flaw == Flaw::ListsOnePageOnly {
            page.next = None;
        }
        Ok(page)
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        let notifier = &self.table.shared.notifier;
        let (subscription, first) = notifier.subscribe(key);
        match self.flaw {
            Flaw::KeepsSubscriptions => {
                self.kept
                    .lock()
                    .expect("no panic")
                    .push(notifier.subscribe(key).0);
            }
            Flaw::WakesOnlyTheFirst if !first => {
                return Ok(KeyNotifier::default().subscribe(key).0);
            }
            _ => {}
        }
        Ok(subscription)
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        matches!(
            self.flaw,
            Flaw::LocalFaceOfAnotherStore
                | Flaw::LocalFaceGrantsWhatIsHeld
                | Flaw::LocalFaceCompletesForAnybody
                | Flaw::LocalFaceCompletesWhatIsDone
                | Flaw::LocalFaceLooksUnderItsLock
        )
        .then_some(&self.face as _)
    }
}

/// A local face: with a table of its own, or one that does not look before it writes.
#[derive(Clone)]
struct Face {
    table: TableStore,
    flaw: Flaw,
}

impl LocalStore for Face {
    fn peek(&self, key: &Key, look: &mut dyn FnMut(&idempotent_runtime::record::RecordRef<'_>)) {
        let under_lock = self.flaw == Flaw::LocalFaceLooksUnderItsLock;
        let seen = self.table.step(key, |current, now| {
            let seen = protocol::visible(current, now).map(|current| current.record.clone());
            if let Some(record) = seen.as_ref().filter(|_| under_lock) {
                look(&record.as_ref());
            }
            Step::keep(seen)
        });
        if let Some(record) = seen.filter(|_| !under_lock) {
            look(&record.as_ref());
        }
    }

    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let grants = self.flaw == Flaw::LocalFaceGrantsWhatIsHeld;
        self.table.step(key, |current, now| {
            let granted =
                (current.is_none() || grants).then(|| protocol::first_grant(request, 0, now));
            Step {
                reply: granted.as_ref().map(|write| write.record.token),
                write: granted,
            }
        })
    }

    fn complete(
        &self,
        key: &Key,
        owned: &Record,
        codec: u32,
        outcome: RecordedBytesRef<'_>,
    ) -> bool {
        self.table.step(key, |current, now| {
            let may = current.is_some_and(|Current { record, .. }| match self.flaw {
                Flaw::LocalFaceCompletesForAnybody => record.state == State::Running,
                Flaw::LocalFaceCompletesWhatIsDone => record.nonce == owned.nonce,
                _ => protocol::is_open_to(record.state, record.nonce, owned.nonce),
            });
            let mut target = owned.clone();
            target.state = State::Done;
            target.codec = codec;
            target.outcome = Some(outcome.to_owned());
            Step {
                write: may.then(|| Write::new(target, now)),
                reply: may,
            }
        })
    }
}

impl Subject for Flawed {
    type Store = Self;

    async fn store(&self) -> Self {
        match self.flaw {
            Flaw::EveryHandleIsAnotherStore => Self::with(self.flaw),
            _ => self.clone(),
        }
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        self.table.elapse(key, time).await;
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        self.planted
            .lock()
            .expect("no panic")
            .insert(key.clone(), bytes.to_vec());
        if let Ok(record) = Record::decode(bytes) {
            self.table.step(key, |_, now| {
                let mut write = Write::new(record.clone(), now);
                write.record = record; // as it is
                Step {
                    write: Some(write),
                    reply: (),
                }
            });
        }
        true
    }

    async fn lose(&self, store: &Self, loss: Loss) -> bool {
        *store.loss.lock().expect("no panic") = Some(loss);
        true
    }

    async fn subscribed(&self, store: &Self) -> Option<usize> {
        Some(store.table.shared.notifier.len())
    }
}
