//! A web service whose clients give up and retry.
//!
//! ```text
//! cargo run --example axum_service --features axum
//! curl -i localhost:3000/orders -H 'Idempotency-Key: 7f3a' -H 'Content-Type: application/json' -d '{"item":"tea","cents":500}'
//! ```
//!
//! Send it again: the same order. Change the amount: 422. Leave the header out: 400. Give up after 100 ms
//! (`curl --max-time 0.1`) and retry: one order, answered.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::rejection::JsonRejection,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use idempotent_fn::{Error, idempotent};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// Places an order once per client and key. What it returns in `Ok` is recorded, status included.
#[idempotent(scope = "orders.place", key = (client, key), fingerprint = order, map_err = Refused)]
async fn place(
    client: &'static str,
    key: String,
    order: Order,
) -> Result<(StatusCode, Json<Placed>), Refused> {
    tokio::time::sleep(Duration::from_millis(300)).await; // slower than an impatient client
    let number = PLACED.fetch_add(1, Ordering::Relaxed) + 1;
    println!("order {number} placed");
    Ok((StatusCode::CREATED, Json(Placed { number, order })))
}

async fn orders(headers: HeaderMap, order: Result<Json<Order>, JsonRejection>) -> Response {
    let Some(key) = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok())
    else {
        return (
            StatusCode::BAD_REQUEST,
            "send an Idempotency-Key header: any text that is new for each order\n",
        )
            .into_response();
    };
    match order {
        // A real service takes the client from its authentication: keys belong to one client.
        Ok(Json(order)) => place("anonymous", key.to_owned(), order)
            .await
            .into_response(),
        Err(rejection) => rejection.into_response(),
    }
}

/// Our error as an HTTP answer.
#[derive(Debug)]
struct Refused(Error);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::InFlight { .. } | Error::Superseded { .. } | Error::Indeterminate { .. } => {
                StatusCode::CONFLICT
            }
            Error::KeyReused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::InvalidKey { .. } => StatusCode::BAD_REQUEST,
            Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, format!("{}\n", self.0)).into_response();
        if let Some(after) = self.0.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs() + 1));
        }
        response
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}/orders", listener.local_addr()?);
    let app = Router::new().route("/orders", post(orders));
    axum::serve(listener, app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    // Bodies whose clients have gone are finished before the process ends.
    idempotent_fn::drain(Duration::from_secs(30)).await;
    Ok(())
}
