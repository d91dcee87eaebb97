use idempotent_fn::{Error, OnErr, idempotent};

struct Failure;

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Self
    }
}

#[idempotent(key = order, on_err = |_| OnErr::Rerun)]
async fn charge(order: u64) -> Result<u64, Failure> {
    Ok(order)
}

fn main() {}
