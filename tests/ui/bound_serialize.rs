use idempotent_fn::idempotent;
use serde::Deserialize;

#[derive(Deserialize)]
struct Receipt;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<Receipt, idempotent_fn::Error> {
    let _ = order;
    Ok(Receipt)
}

fn main() {}
