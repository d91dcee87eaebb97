//! A store over conditional puts ([`table`]) and the suite that it passes; what it does when
//! answers are lost and clocks differ ([`faults`], [`clocks`]); and tables with one flaw each,
//! which the suite notices ([`flawed`]).

mod clocks;
mod database;
mod faults;
mod flawed;
mod page;
mod table;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use idempotent_runtime::{
    conformance_tests,
    key::Key,
    store::{
        cas::{self, CasStore},
        conformance::{Loss, Subject},
    },
};

use crate::{database::Database, table::Table};

/// The store as the suite needs it.
#[derive(Clone, Default)]
struct OverCas {
    database: Database,
}

impl Subject for OverCas {
    type Store = CasStore<Table>;

    async fn store(&self) -> CasStore<Table> {
        let database = Arc::new(self.database.clone());
        CasStore::new(Table { database })
    }

    async fn elapse(&self, _key: &Key, time: Duration) {
        let time = u64::try_from(time.as_micros()).expect("a time of the suite");
        self.database.clock().fetch_add(time, Ordering::SeqCst);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        let now = self.database.clock().load(Ordering::SeqCst);
        self.database.plant(key.as_str(), cas::value(bytes, now));
        true
    }

    async fn lose(&self, store: &CasStore<Table>, loss: Loss) -> bool {
        store.table().database.faults().loss = Some(loss);
        true
    }

    async fn subscribed(&self, _store: &CasStore<Table>) -> Option<usize> {
        Some(self.database.notifier().len())
    }
}

mod conforms {
    use super::*;

    conformance_tests!(OverCas::default());
}

/// All rules on one database with one clock, as a shared server would see them.
#[tokio::test]
async fn the_whole_suite_on_one_database() {
    idempotent_runtime::store::conformance::all(OverCas::default()).await;
}
