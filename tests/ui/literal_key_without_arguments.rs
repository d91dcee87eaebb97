use idempotent_fn::{Error, idempotent};

#[idempotent(key = "once")]
async fn charge() -> Result<(), Error> {
    Ok(())
}

fn main() {}
