use idempotent_fn::idempotent;

#[derive(Debug)]
struct Failure(std::rc::Rc<u64>);

impl From<idempotent_fn::Error> for Failure {
    fn from(_: idempotent_fn::Error) -> Self {
        Self(std::rc::Rc::new(0))
    }
}

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<u64, Failure> {
    Ok(order)
}

fn main() {}
