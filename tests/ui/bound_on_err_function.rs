use idempotent_fn::idempotent;

#[derive(serde::Serialize, serde::Deserialize)]
struct Failure;

impl From<idempotent_fn::Error> for Failure {
    fn from(_: idempotent_fn::Error) -> Self {
        Self
    }
}

fn policy(_: &str) -> bool {
    true
}

#[idempotent(key = order, on_err = policy)]
async fn charge(order: u64) -> Result<u64, Failure> {
    Ok(order)
}

fn main() {}
