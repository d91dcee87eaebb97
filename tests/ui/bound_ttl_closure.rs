use idempotent_fn::{Error, idempotent};

#[idempotent(key = order, ttl = |result| if result.is_ok() { 60 } else { 1 })]
async fn charge(order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
