impl Shop {
    #[idempotent(scope = "orders.place", key = order.id, wait = "0s", in_tx = self.tx)]
    async fn place(&mut self, order: Order) -> Result<Placed, PlaceError> {
        insert(&mut self.tx, order).await
    }
}
