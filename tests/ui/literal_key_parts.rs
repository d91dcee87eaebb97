use idempotent_fn::{Error, idempotent};

#[idempotent(key = ("order", 1))]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
