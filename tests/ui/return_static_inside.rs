use idempotent_fn::{Error, idempotent};

#[idempotent(key = order)]
async fn charge(order: u64) -> Result<(u64, Option<&'static [u8]>), Error> {
    Ok((order, None))
}

fn main() {}
