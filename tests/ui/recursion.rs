use idempotent_fn::{Error, idempotent};

#[idempotent(key = depth)]
async fn charge(depth: u64) -> Result<u64, Error> {
    if depth == 0 { Ok(0) } else { Box::pin(charge(depth - 1)).await }
}

fn main() {}
