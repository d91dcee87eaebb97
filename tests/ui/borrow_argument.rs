use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: &str, amount: u64) -> Result<u64, idempotent_fn::Error> {
    let _ = order;
    Ok(amount)
}

fn main() {}
