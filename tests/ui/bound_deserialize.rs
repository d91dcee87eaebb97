use idempotent_fn::idempotent;
use serde::Serialize;

#[derive(Serialize)]
struct Receipt;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<Receipt, idempotent_fn::Error> {
    let _ = order;
    Ok(Receipt)
}

fn main() {}
