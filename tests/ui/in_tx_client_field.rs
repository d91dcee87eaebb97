use idempotent_fn::idempotent;

#[idempotent(scope = "orders.place", key = order, in_tx = &mut context.client)]
async fn place(context: &mut Context, order: u64) -> Result<u64, idempotent_fn::Error> {
    Ok(order)
}

struct Context {
    client: Client,
}

struct Client;

fn main() {}
