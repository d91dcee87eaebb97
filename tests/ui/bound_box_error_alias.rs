use idempotent_fn::idempotent;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<u64> {
    Ok(order.to_string().parse()?)
}

fn main() {}
