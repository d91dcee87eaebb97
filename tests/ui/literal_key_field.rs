use idempotent_fn::{Error, idempotent};

struct Order {
    id: u64,
}

#[idempotent(key = "order.id")]
async fn charge(order: Order) -> Result<(), Error> {
    Ok(())
}

fn main() {}
