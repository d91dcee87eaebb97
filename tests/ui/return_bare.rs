use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) -> u64 {
    order
}

fn main() {}
