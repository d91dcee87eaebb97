use idempotent_fn::idempotent;

#[derive(Clone, Copy)]
struct OrderId(u64);

#[idempotent(key = ("charge", order))]
async fn charge(order: OrderId) -> Result<u64, idempotent_fn::Error> {
    Ok(order.0)
}

fn main() {}
