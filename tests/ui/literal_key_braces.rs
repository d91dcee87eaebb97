use idempotent_fn::{Error, idempotent};

#[idempotent(key = "{user}:{id}")]
async fn charge(user: u64, id: u64) -> Result<(), Error> {
    Ok(())
}

fn main() {}
