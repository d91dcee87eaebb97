//! Any store as one type: boxes around its answers. It seals what is sent, and verifies what is
//! shown.

use std::{borrow::Cow, future::Future, pin::Pin, time::Duration};

use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{Record, State},
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, LocalStore, Page, Settled, Store,
        Subscription, near::Lookup,
    },
};

/// A store's answer. It is only a box, because a call holds one while it waits.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Passes an answer to the near cache, if there is one.
pub(super) fn feed_near_cache<'a, T: Send + 'a>(
    reply: Pending<'a, T>,
    lookup: Option<Lookup<'a>>,
    note: impl FnOnce(&Lookup<'_>, &T) + Send + 'a,
) -> Pending<'a, T> {
    let Some(lookup) = lookup else {
        return reply;
    };
    Box::pin(async move {
        let reply = reply.await?;
        note(&lookup, &reply);
        Ok(reply)
    })
}

/// The record with its check, if its state has one.
fn sealed<'a>(key: &Key, record: &'a Record) -> Cow<'a, Record> {
    if record.state != State::Done {
        return Cow::Borrowed(record);
    }
    let mut record = record.clone();
    record.seal(key);
    Cow::Owned(record)
}

pub(super) fn verify(
    local: Option<&dyn LocalStore>,
    key: &Key,
    record: &Record,
) -> Result<(), StoreError> {
    if local.is_some() || record.is_sound(key) {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Incompatible,
        "it is damaged, or was recorded for another key: its check does not fit; remove it by hand once it is known what \
         happened",
    ))
}

/// [`Store`] as an object-safe trait. It seals what it sends, and verifies what it is shown. Only
/// the record of a [`Settled::Stale`] is verified later, before it is replayed.
pub(super) trait Erased: Send + Sync {
    fn claim<'a>(&'a self, key: &'a Key, request: &'a ClaimRequest) -> Pending<'a, ClaimReply>;
    fn renew<'a>(&'a self, key: &'a Key, owned: &'a Record) -> Pending<'a, Settled>;
    fn finish<'a>(&'a self, key: &'a Key, target: &'a Record) -> Pending<'a, Settled>;
    fn read<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<(Record, Duration)>>;
    fn overrule<'a>(
        &'a self,
        key: &'a Key,
        seen: Option<&'a Record>,
        replacement: &'a Record,
    ) -> Pending<'a, Settled>;
    fn subscribe<'a>(&'a self, key: &'a Key) -> Pending<'a, Subscription>;
    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        cursor: Option<&'a Cursor>,
    ) -> Pending<'a, Page<Found>>;
    fn local(&self) -> Option<&dyn LocalStore>;
    fn clock(&self) -> Option<u64>;
    fn needs_io(&self) -> bool;
    fn describe(&self) -> String;
}

impl<S: Store> Erased for S {
    fn claim<'a>(&'a self, key: &'a Key, request: &'a ClaimRequest) -> Pending<'a, ClaimReply> {
        Box::pin(async move {
            let reply = Store::claim(self, key, request).await?;
            if let ClaimReply::Held { record, .. } = &reply {
                verify(self.local(), key, record)?;
            }
            Ok(reply)
        })
    }

    fn renew<'a>(&'a self, key: &'a Key, owned: &'a Record) -> Pending<'a, Settled> {
        Box::pin(Store::renew(self, key, owned))
    }

    fn finish<'a>(&'a self, key: &'a Key, target: &'a Record) -> Pending<'a, Settled> {
        Box::pin(async move {
            let target = sealed(key, target);
            Store::finish(self, key, &target).await
        })
    }

    fn read<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<(Record, Duration)>> {
        Box::pin(async move {
            let read = Store::read(self, key).await?;
            if let Some((record, _)) = &read {
                verify(self.local(), key, record)?;
            }
            Ok(read)
        })
    }

    fn overrule<'a>(
        &'a self,
        key: &'a Key,
        seen: Option<&'a Record>,
        replacement: &'a Record,
    ) -> Pending<'a, Settled> {
        Box::pin(async move {
            let replacement = sealed(key, replacement);
            let settled = Store::overrule(self, key, seen, &replacement).await?;
            if let Settled::Stale { record, .. } = &settled {
                verify(self.local(), key, record)?;
            }
            Ok(settled)
        })
    }

    fn subscribe<'a>(&'a self, key: &'a Key) -> Pending<'a, Subscription> {
        Box::pin(Store::subscribe(self, key))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        cursor: Option<&'a Cursor>,
    ) -> Pending<'a, Page<Found>> {
        Box::pin(Store::list(self, filter, cursor))
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        Store::local(self)
    }

    fn clock(&self) -> Option<u64> {
        Store::clock(self)
    }

    fn needs_io(&self) -> bool {
        Store::needs_io(self)
    }

    fn describe(&self) -> String {
        Store::describe(self)
    }
}
