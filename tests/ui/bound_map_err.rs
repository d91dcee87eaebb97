use idempotent_fn::idempotent;

#[idempotent(key = order, map_err = |error| error.to_string())]
async fn charge(order: u64) -> Result<u64, u8> {
    Ok(order)
}

fn main() {}
