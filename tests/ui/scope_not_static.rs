use idempotent_fn::idempotent;

#[idempotent(key = order, scope = order)]
async fn charge(order: String) -> Result<u64, idempotent_fn::Error> {
    Ok(order.len() as u64)
}

fn main() {}
