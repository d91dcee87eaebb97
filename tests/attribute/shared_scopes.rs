//! The default scope names a module and a function. A function that shares it with others of its
//! name has no default in a store that outlives the process, where those would replay its results.

use std::sync::atomic::{AtomicU64, Ordering};

use idempotent_fn::{
    Error, SharedStore, error::BodyRan, idempotent, store::MemoryStore, with_store,
};

use crate::common::faulty::Faulty;

static RUNS: AtomicU64 = AtomicU64::new(0);

fn run() -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed)
}

type Answer = Result<u64, Error>;

struct Invoice;

struct Order;

impl Invoice {
    #[idempotent(key = id)]
    async fn create(id: u64) -> Answer {
        Ok(id + run())
    }
}

impl Order {
    #[idempotent(key = id, scope = "shared_scopes.orders.create")]
    async fn create(id: u64) -> Answer {
        Ok(id + run())
    }
}

trait Refund {
    async fn refund(id: u64) -> Answer;
}

impl Refund for Invoice {
    #[idempotent(key = id)]
    async fn refund(id: u64) -> Answer {
        Ok(id + run())
    }
}

trait Cancel {
    async fn cancel(id: u64) -> Answer;
}

impl Cancel for String {
    #[idempotent(key = id)]
    async fn cancel(id: u64) -> Answer {
        Ok(id + run())
    }
}

#[idempotent(key = id)]
async fn r#move(id: u64) -> Answer {
    Ok(id + run())
}

mod inner {
    use super::*;

    #[idempotent(key = id)]
    pub(super) async fn create(id: u64) -> Answer {
        Ok(id + run())
    }
}

/// As any store that is not known to be this process' own.
fn elsewhere() -> SharedStore {
    SharedStore::new(Faulty::new())
}

#[track_caller]
fn assert_refused(refused: Answer, function: &str, name: &str) {
    let refused = refused.expect_err("its default scope is not its own");
    assert!(matches!(refused, Error::Config { .. }), "{refused}");
    assert_eq!(refused.body_ran(), BodyRan::No);
    let text = refused.to_string();
    for part in [function, &format!("another `{name}`"), "`scope = \""] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn an_associated_function_needs_a_scope_where_records_outlive_the_process() {
    with_store(elsewhere(), async {
        assert_refused(Invoice::create(1).await, "Invoice::create", "create");
        assert_refused(
            <Invoice as Refund>::refund(1).await,
            "Invoice as ",
            "refund",
        );
        assert_refused(<String as Cancel>::cancel(1).await, "String as ", "cancel");
        let written = Order::create(1).await.unwrap();
        assert_eq!(Order::create(1).await.unwrap(), written);
    })
    .await;
    with_store(SharedStore::new(MemoryStore::new()), async {
        let here = Invoice::create(1).await.unwrap();
        assert_eq!(Invoice::create(1).await.unwrap(), here);
    })
    .await;
}

#[tokio::test]
async fn a_function_within_a_function_needs_one_too() {
    #[idempotent(key = id)]
    async fn nested(id: u64) -> Answer {
        Ok(id + run())
    }

    with_store(elsewhere(), async {
        assert_refused(nested(1).await, "a_function_within_a_function", "nested");
    })
    .await;
}

#[tokio::test]
async fn a_function_of_a_module_has_a_scope_of_its_own() {
    with_store(elsewhere(), async {
        let first = (r#move(1).await.unwrap(), inner::create(1).await.unwrap());
        assert_ne!(first.0, first.1);
        let second = (r#move(1).await.unwrap(), inner::create(1).await.unwrap());
        assert_eq!(second, first);
    })
    .await;
}
