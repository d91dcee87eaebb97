use idempotent_fn::idempotent;

#[idempotent(key = order)]
async fn charge(order: u64) -> impl Send {
    order
}

fn main() {}
