use idempotent_fn::idempotent;

#[idempotent(key = order, on_err = record, map_err = |_| "library")]
async fn charge(order: u64) -> Result<u64, &'static str> {
    Ok(order)
}

fn main() {}
