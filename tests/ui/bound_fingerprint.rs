use idempotent_fn::idempotent;

#[derive(Clone, Copy)]
struct Amount(u64);

#[idempotent(key = order, fingerprint = amount)]
async fn charge(order: u64, amount: Amount) -> Result<u64, idempotent_fn::Error> {
    Ok(order + amount.0)
}

fn main() {}
