use idempotent_fn::idempotent;

use std::rc::Rc;

#[idempotent(key = order)]
async fn charge(order: Rc<str>) -> Result<u64, idempotent_fn::Error> {
    Ok(order.len() as u64)
}

fn main() {}
