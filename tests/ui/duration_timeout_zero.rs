use idempotent_fn::{Error, idempotent};

#[idempotent(key = order, timeout = "0s")]
async fn charge(order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
