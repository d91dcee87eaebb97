use std::{future::Future, pin::Pin};

use idempotent_fn::{Error, idempotent};

struct Shop {
    tx: Transaction,
}

struct Transaction;

impl Shop {
    #[idempotent(scope = "orders.place", key = order, in_tx = &mut self.tx)]
    fn place<'a>(&'a mut self, order: u64) -> Pin<Box<dyn Future<Output = Result<u64, Error>> + 'a>> {
        Box::pin(async move { Ok(order) })
    }
}

fn main() {}
