use idempotent_fn::{Error, idempotent};

#[idempotent(key = "order".to_string())]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
