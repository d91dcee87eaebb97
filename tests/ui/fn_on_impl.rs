use idempotent_fn::idempotent;

struct Payments;

#[idempotent(key = order)]
impl Payments {}

fn main() {}
