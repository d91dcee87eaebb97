//! Implements [`Store`] for pointers to stores.

use std::{sync::Arc, time::Duration};

use super::{
    ClaimReply, ClaimRequest, Cursor, Filter, Found, LocalStore, Page, Settled, Store, Subscription,
};
use crate::{StoreError, key::Key, record::Record};

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        // Every method is forwarded, also those with a default: a default would not be the inner
        // store's answer.
        #[deny(clippy::missing_trait_methods)]
        impl<S: Store> Store for $pointer<S> {
            async fn claim(
                &self,
                key: &Key,
                request: &ClaimRequest,
            ) -> Result<ClaimReply, StoreError> {
                S::claim(self, key, request).await
            }

            async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
                S::renew(self, key, owned).await
            }

            async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
                S::finish(self, key, target).await
            }

            async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
                S::read(self, key).await
            }

            async fn overrule(
                &self,
                key: &Key,
                seen: Option<&Record>,
                replacement: &Record,
            ) -> Result<Settled, StoreError> {
                S::overrule(self, key, seen, replacement).await
            }

            async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
                S::subscribe(self, key).await
            }

            async fn list(
                &self,
                filter: &Filter,
                cursor: Option<&Cursor>,
            ) -> Result<Page<Found>, StoreError> {
                S::list(self, filter, cursor).await
            }

            fn local(&self) -> Option<&dyn LocalStore> {
                S::local(self)
            }

            fn clock(&self) -> Option<u64> {
                S::clock(self)
            }

            fn needs_io(&self) -> bool {
                S::needs_io(self)
            }

            fn describe(&self) -> String {
                S::describe(self)
            }
        }
    )*};
}

forward!(Arc Box);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        OnCrash, StoreErrorKind,
        key::Key,
        record::{Nonce, RecordRef},
        store::KeyNotifier,
    };

    /// A store that answers every method unlike its default.
    #[derive(Default)]
    struct Probe {
        notifier: KeyNotifier,
    }

    fn told<T>(method: &'static str) -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::Refused, method))
    }

    impl LocalStore for Probe {
        fn peek(&self, _key: &Key, _look: &mut dyn FnMut(&RecordRef<'_>)) {}
    }

    #[deny(clippy::missing_trait_methods)]
    impl Store for Probe {
        async fn claim(&self, _: &Key, _: &ClaimRequest) -> Result<ClaimReply, StoreError> {
            told("claim")
        }

        async fn renew(&self, _: &Key, _: &Record) -> Result<Settled, StoreError> {
            told("renew")
        }

        async fn finish(&self, _: &Key, _: &Record) -> Result<Settled, StoreError> {
            told("finish")
        }

        async fn read(&self, _: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
            told("read")
        }

        async fn overrule(
            &self,
            _: &Key,
            _: Option<&Record>,
            _: &Record,
        ) -> Result<Settled, StoreError> {
            told("overrule")
        }

        async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
            Ok(self.notifier.subscribe(key).0)
        }

        async fn list(&self, _: &Filter, _: Option<&Cursor>) -> Result<Page<Found>, StoreError> {
            told("list")
        }

        fn local(&self) -> Option<&dyn LocalStore> {
            Some(self)
        }

        fn clock(&self) -> Option<u64> {
            Some(7)
        }

        fn needs_io(&self) -> bool {
            true
        }

        fn describe(&self) -> String {
            "probe".to_owned()
        }
    }

    fn named<T>(answer: Result<T, StoreError>) -> String {
        answer.map_or_else(|error| error.to_string(), |_| "answered".to_owned())
    }

    async fn is_the_probe(store: impl Store) {
        let key = Key::new("forward", &[&1]).expect("a valid key");
        let request = ClaimRequest {
            nonce: Nonce::from_bytes([1; 16]),
            lease: Duration::from_secs(1),
            on_crash: OnCrash::Rerun,
            fingerprint: None,
            ttl: Duration::from_secs(1),
            owner: None,
            trace: None,
        };
        let record = request.record();
        assert_eq!(named(store.claim(&key, &request).await), "claim");
        assert_eq!(named(store.renew(&key, &record).await), "renew");
        assert_eq!(named(store.finish(&key, &record).await), "finish");
        assert_eq!(named(store.read(&key).await), "read");
        assert_eq!(named(store.overrule(&key, None, &record).await), "overrule");
        assert_eq!(named(store.list(&Filter::new(), None).await), "list");
        assert!(store.subscribe(&key).await.is_ok_and(|it| it.is_push()));
        assert!(store.local().is_some());
        assert_eq!(store.clock(), Some(7));
        assert!(store.needs_io());
        assert_eq!(store.describe(), "probe");
    }

    #[tokio::test]
    async fn a_pointer_answers_as_its_store() {
        is_the_probe(Probe::default()).await;
        is_the_probe(Arc::new(Probe::default())).await;
        is_the_probe(Box::new(Probe::default())).await;
        is_the_probe(Arc::new(Box::new(Probe::default()))).await;
    }
}
