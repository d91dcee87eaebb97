use idempotent_fn::idempotent;

#[idempotent(key = order, detach = false)]
async fn charge(order: &str) -> Result<&str, idempotent_fn::Error> {
    Ok(order)
}

fn main() {}
