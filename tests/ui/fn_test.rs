use idempotent_fn::idempotent;

#[tokio::test]
#[idempotent(key = ONCE)]
async fn charges() -> Result<u64, idempotent_fn::Error> {
    Ok(1)
}

fn main() {}
