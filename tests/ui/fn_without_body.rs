use idempotent_fn::idempotent;

trait Payments {
    #[idempotent(scope = "payments.charge", key = order, detach = false)]
    async fn charge(&self, order: u64) -> Result<u64, idempotent_fn::Error>;
}

fn main() {}
