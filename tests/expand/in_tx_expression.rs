#[idempotent(scope = "orders.place", key = order.id, in_tx = &mut Mine(tx))]
async fn place(tx: &mut Connection, order: Order) -> Result<Placed, PlaceError> {
    insert(tx, order).await
}
