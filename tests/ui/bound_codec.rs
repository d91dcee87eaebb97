use idempotent_fn::idempotent;

struct Mine;

#[idempotent(key = order, codec = Mine)]
async fn charge(order: u64) -> Result<u64, idempotent_fn::Error> {
    Ok(order)
}

fn main() {}
