use idempotent_fn::idempotent;

#[idempotent(scope = "orders.place", key = order, in_tx = pool)]
async fn place(pool: &mut Pool, order: u64) -> Result<u64, idempotent_fn::Error> {
    let _ = pool;
    Ok(order)
}

struct Pool;

fn main() {}
