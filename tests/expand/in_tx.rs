#[idempotent(scope = "orders.place", key = order.id, in_tx = tx)]
async fn place(tx: &mut PgConnection, order: Order) -> Result<Placed, PlaceError> {
    insert(tx, order).await
}
