//! What `#[idempotent]` does, in five scenes.
//!
//! ```text
//! cargo run --example charge                    # the store is a map in this process
//! cargo run --example charge --features sqlite  # the store is a file; run it twice
//! cargo run --example charge --features redis   # the store is Redis on this machine; run it twice
//! ```

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use idempotent_fn::{Error, idempotent};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: String,
    cents: u64,
}

#[derive(Debug, thiserror::Error)]
enum PaymentError {
    #[error("the bank's line is busy")]
    BankBusy,
    #[error(transparent)]
    Idempotency(#[from] Error),
}

/// How often a card was really charged in this run.
static CHARGED: AtomicU32 = AtomicU32::new(0);

#[idempotent(scope = "payments.charge", key = order, fingerprint = cents)]
async fn charge(order: &'static str, cents: u64) -> Result<Receipt, PaymentError> {
    println!("      … the body runs: talking to the bank about {order}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    if order == "order-busy" && idempotent_fn::current().attempt() == 1 {
        return Err(PaymentError::BankBusy);
    }
    let number = CHARGED.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Receipt {
        id: format!("receipt-{order}-{number}"),
        cents,
    })
}

#[tokio::main]
async fn main() {
    #[cfg(all(feature = "sqlite", not(feature = "redis")))]
    use_a_file().await;
    println!("1. The first call runs the body:");
    let first = charge("order-42", 1999).await;
    if let Err(PaymentError::Idempotency(Error::Unavailable { source, .. })) = &first {
        eprintln!("The store cannot be reached: {source}.");
        eprintln!("Start one (`redis-server`), or name yours: IDEMPOTENT_STORE=redis://host:6379/");
        std::process::exit(1);
    }
    show(first);

    println!("2. A retry gets the recorded receipt; the body does not run:");
    show(charge("order-42", 1999).await);

    println!("3. 50 calls at once are one charge:");
    let before = CHARGED.load(Ordering::Relaxed);
    let calls: Vec<_> = (0..50)
        .map(|_| tokio::spawn(charge("order-43", 500)))
        .collect();
    let mut receipts = Vec::new();
    for call in calls {
        receipts.push(
            call.await
                .expect("no call panics")
                .expect("every call is answered"),
        );
    }
    let charged = CHARGED.load(Ordering::Relaxed) - before;
    receipts.dedup();
    println!(
        "      50 answers, {} receipt between them, {charged} card charged now",
        receipts.len()
    );

    println!("4. The same key with another amount is refused:");
    show(charge("order-42", 1).await);

    println!("5. An error is not recorded, so a retry runs again:");
    show(charge("order-busy", 700).await);
    show(charge("order-busy", 700).await);

    println!(
        "Cards charged in this run: {}",
        CHARGED.load(Ordering::Relaxed)
    );
    if cfg!(any(feature = "redis", feature = "sqlite")) {
        println!("Run it again: the store has the receipts, and no card is charged.");
    }
}

/// A file is the default store only where somebody says so: `IDEMPOTENT_STORE=sqlite:path`, or
/// this.
#[cfg(all(feature = "sqlite", not(feature = "redis")))]
async fn use_a_file() {
    if std::env::var_os(idempotent_fn::STORE_ENV_VAR).is_some() {
        return;
    }
    let path = std::env::temp_dir().join("idempotent-charge.db");
    println!("The store is {}; delete it to begin anew.", path.display());
    let store = idempotent_fn::store::SqliteStore::connect(path).await;
    let store = store.expect("the temporary folder can be written to");
    idempotent_fn::install(store).expect("no call has been made yet");
}

fn show(answer: Result<Receipt, PaymentError>) {
    match answer {
        Ok(receipt) => println!("      → {} over {} cents", receipt.id, receipt.cents),
        Err(PaymentError::Idempotency(error)) => println!("      → refused: {error}"),
        Err(error) => println!("      → failed: {error}"),
    }
}
