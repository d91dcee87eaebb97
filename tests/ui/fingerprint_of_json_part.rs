use axum::Json;
use idempotent_fn::{Error, idempotent};

#[idempotent(key = order, fingerprint = (order, body))]
async fn charge(order: u64, body: Json<Vec<u8>>) -> Result<u64, Error> {
    Ok(order + body.0.len() as u64)
}

fn main() {}
