use idempotent_fn::{Error, idempotent};

#[idempotent(key = format!("{{order}}"))]
async fn charge(order: String) -> Result<(), Error> {
    Ok(())
}

fn main() {}
