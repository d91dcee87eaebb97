use idempotent_fn::{Error, idempotent};

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<&'static str, Error> {
    Ok(if order > 1 { "many" } else { "one" })
}

fn main() {}
