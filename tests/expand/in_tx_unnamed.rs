#[idempotent(scope = "orders.seen", key = order.id, in_tx = tx)]
async fn seen(tx: &mut PgConnection, order: Order) -> Result<(), PlaceError> {
    Ok(())
}
