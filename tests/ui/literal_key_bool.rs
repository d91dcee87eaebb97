use idempotent_fn::{Error, idempotent};

#[idempotent(key = true)]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
