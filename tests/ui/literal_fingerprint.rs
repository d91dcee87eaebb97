use idempotent_fn::{Error, idempotent};

#[idempotent(key = order, fingerprint = "amount")]
async fn charge(order: String, amount: u64) -> Result<(), Error> {
    Ok(())
}

fn main() {}
