use idempotent_fn::{Error, idempotent};

#[idempotent(key = stringify!(order))]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
