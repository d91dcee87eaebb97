use idempotent_fn::idempotent;

use std::pin::Pin;

struct Payments;

impl Payments {
    #[idempotent(scope = "payments.charge", key = order)]
    async fn charge(self: Pin<&mut Self>, order: u64) -> Result<u64, idempotent_fn::Error> {
        Ok(order)
    }
}

fn main() {}
