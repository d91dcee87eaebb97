use idempotent_fn::idempotent;

#[idempotent(scope = "charge", key = order)]
async fn charge<T: Send + 'static>(order: u64, receipt: T) -> Result<T, idempotent_fn::Error> {
    let _ = order;
    Ok(receipt)
}

fn main() {}
