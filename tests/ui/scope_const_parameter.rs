use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge<const N: u64>(order: u64) -> Result<u64, idempotent_fn::Error> {
    Ok(order + N)
}

fn main() {}
