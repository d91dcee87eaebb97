use idempotent_fn::{Error, idempotent};

#[idempotent(key = order, on_err = |_| true)]
async fn charge(order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
