use idempotent_fn::idempotent;

use std::rc::Rc;

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<u64, idempotent_fn::Error> {
    let held = Rc::new(order);
    std::future::ready(()).await;
    Ok(*held)
}

fn main() {}
