use idempotent_fn::idempotent;

#[idempotent(key = order)]
fn charge(order: u64) {
    let _ = order;
}

fn main() {}
