use idempotent_fn::{Error, idempotent};

#[idempotent(key = "once")]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
