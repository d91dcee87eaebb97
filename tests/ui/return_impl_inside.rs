use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<impl Send, idempotent_fn::Error> {
    Ok(order)
}

fn main() {}
