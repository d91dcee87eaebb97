use idempotent_fn::{Error, idempotent};

#[idempotent(key = { "order" })]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
