use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) {
    let _ = order;
}

fn main() {}
