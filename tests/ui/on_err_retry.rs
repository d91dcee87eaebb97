use idempotent_fn::idempotent;

#[idempotent(key = order, on_err = retry)]
async fn charge(order: u64, amount: u64) -> Result<u64, idempotent_fn::Error> {
    Ok(order + amount)
}

fn main() {}
