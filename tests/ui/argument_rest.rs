use idempotent_fn::{Error, idempotent};

struct Order {
    id: u64,
    name: String,
}

#[idempotent(key = id)]
async fn charge(Order { id, .. }: Order) -> Result<u64, Error> {
    Ok(id)
}

fn main() {
    let _ = charge(Order { id: 1, name: String::new() });
}
