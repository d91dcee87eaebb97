use idempotent_fn::{Error, idempotent};

#[idempotent(key = 'o')]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
