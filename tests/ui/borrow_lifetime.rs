use idempotent_fn::idempotent;

use std::borrow::Cow;

#[idempotent(key = order)]
async fn charge(amount: u64, order: Cow<'_, str>) -> Result<u64, idempotent_fn::Error> {
    drop(order);
    Ok(amount)
}

fn main() {}
