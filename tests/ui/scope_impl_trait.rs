use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: impl std::fmt::Display + Send + 'static) -> Result<u64, idempotent_fn::Error> {
    drop(order);
    Ok(1)
}

fn main() {}
