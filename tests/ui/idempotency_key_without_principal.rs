use idempotent_fn::{Error, http::IdempotencyKey, idempotent};

#[idempotent(key = key)]
async fn charge(key: IdempotencyKey) -> Result<u64, Error> {
    Ok(1)
}

fn main() {}
