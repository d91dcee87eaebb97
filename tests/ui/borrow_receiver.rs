use idempotent_fn::idempotent;

struct Payments;

impl Payments {
    #[idempotent(scope = "payments.charge", key = order)]
    async fn charge(&self, order: u64) -> Result<u64, idempotent_fn::Error> {
        Ok(order)
    }
}

fn main() {}
