use idempotent_fn::idempotent;

#[idempotent(key = order)]
struct Charge {
    order: u64,
}

fn main() {}
