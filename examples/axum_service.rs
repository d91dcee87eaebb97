//! A web service whose clients give up and retry.
//!
//! ```text
//! cargo run --example axum_service --features axum
//! curl -i localhost:3000/orders -H 'Idempotency-Key: 7f3a' -H 'Content-Type: application/json' -d '{"item":"tea","cents":500}'
//! ```
//!
//! Send it again: the same order, marked as replayed. Change the amount: 422. Leave the header out:
//! 400. Give up after 300 ms (`curl --max-time 0.3`) and retry: one order, answered.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::post};
use idempotent_fn::{
    Error,
    http::{IdempotencyKey, MarkReplayed},
    idempotent,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Placed {
    number: u32,
    order: Order,
}

static PLACED: AtomicU32 = AtomicU32::new(0);

/// Places an order once per key. What it returns in `Ok` is recorded, status included. A service
/// whose clients log in writes `key = key.of(user.id)`: keys belong to one client.
#[idempotent(scope = "orders.place", key = key.shared(), fingerprint = order)]
async fn place(
    key: IdempotencyKey,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Placed>), Error> {
    tokio::time::sleep(Duration::from_millis(500)).await; // slower than an impatient client
    let number = PLACED.fetch_add(1, Ordering::Relaxed) + 1;
    println!("order {number} placed");
    Ok((StatusCode::CREATED, Json(Placed { number, order })))
}

/// The whole service, which a test asks as README does.
pub(crate) fn app() -> Router {
    Router::new()
        .route("/orders", post(place))
        .layer(MarkReplayed)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}/orders", listener.local_addr()?);
    axum::serve(listener, app())
        .with_graceful_shutdown(told_to_stop())
        .await?;
    // A service with workers of its own joins them here: `drain` does not wait for calls that they
    // still await.
    // Bodies whose clients have gone are finished before the process ends.
    idempotent_fn::drain(Duration::from_secs(30)).await;
    Ok(())
}

/// Waits for SIGINT (Ctrl-C), or for SIGTERM, by which containers are stopped.
async fn told_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    _ = interrupted.await;
}
