use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) -> Option<u64> {
    Some(order)
}

fn main() {}
