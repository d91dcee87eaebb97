use idempotent_fn::idempotent;

use std::future::Future;

#[idempotent(key = order)]
fn charge(order: u64) -> impl Future<Output = Result<u64, idempotent_fn::Error>> {
    async move { Ok(order) }
}

fn main() {}
