use idempotent_fn::idempotent;
use std::fmt::Display;

#[idempotent(scope = "charge", key = order)]
async fn charge(order: impl Display + Send) -> Result<u64, idempotent_fn::Error> {
    Ok(order.to_string().len() as u64)
}

fn main() {}
