use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<u64, idempotent_fn::Error> {
    drop(__operation);
    Ok(order)
}

fn main() {}
