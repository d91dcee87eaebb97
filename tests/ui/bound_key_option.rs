use idempotent_fn::{Error, idempotent};

#[idempotent(key = order)]
async fn charge(order: Option<u64>) -> Result<u64, Error> {
    Ok(order.unwrap_or_default())
}

fn main() {}
