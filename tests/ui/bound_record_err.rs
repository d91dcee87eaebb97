use idempotent_fn::idempotent;

struct Failure;

impl From<idempotent_fn::Error> for Failure {
    fn from(_: idempotent_fn::Error) -> Self {
        Self
    }
}

#[idempotent(key = order, on_err = record)]
async fn charge(order: u64) -> Result<u64, Failure> {
    Ok(order)
}

fn main() {}
