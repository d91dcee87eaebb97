use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge<M: Send + 'static>(order: u64, message: M) -> Result<u64, idempotent_fn::Error> {
    drop(message);
    Ok(order)
}

fn main() {}
