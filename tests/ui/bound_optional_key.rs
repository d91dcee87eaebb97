use idempotent_fn::{Error, idempotent};

struct Order;

#[idempotent(key = order, optional_key = true)]
async fn charge(order: Option<Order>) -> Result<u64, Error> {
    Ok(u64::from(order.is_some()))
}

fn main() {}
