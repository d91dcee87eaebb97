use idempotent_fn::{Error, idempotent};

#[idempotent(key = id)]
async fn charge(ref id: String) -> Result<u64, Error> {
    Ok(id.len() as u64)
}

fn main() {
    let _ = charge(String::new());
}
