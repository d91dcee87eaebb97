use idempotent_fn::{Error, idempotent};

#[idempotent(key = order, optional_key = yes)]
async fn charge(order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
