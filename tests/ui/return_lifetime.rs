use idempotent_fn::idempotent;

use std::borrow::Cow;

#[idempotent(key = order, detach = false)]
async fn charge<'a>(order: &'a str) -> Result<Cow<'a, str>, idempotent_fn::Error> {
    Ok(order.into())
}

fn main() {}
