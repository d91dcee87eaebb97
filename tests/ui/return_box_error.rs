use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(order.to_string().parse()?)
}

fn main() {}
