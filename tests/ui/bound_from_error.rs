use idempotent_fn::idempotent;

struct Failure;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<u64, Failure> {
    if order == 0 {
        return Err(Failure);
    }
    Ok(order)
}

fn main() {}
