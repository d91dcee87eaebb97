use idempotent_fn::idempotent;

#[idempotent(key = order)]
fn charge(order: u64) -> Result<u64, idempotent_fn::Error> {
    Ok(order)
}

fn main() {}
