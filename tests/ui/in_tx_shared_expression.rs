use idempotent_fn::idempotent;

#[idempotent(scope = "orders.place", key = order, in_tx = &tx)]
async fn place(tx: &mut Transaction, order: u64) -> Result<u64, idempotent_fn::Error> {
    let _ = tx;
    Ok(order)
}

struct Transaction;

fn main() {}
