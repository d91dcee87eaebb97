impl Orders for Shop {
    #[idempotent(scope = "orders.place", key = order, in_tx = tx)]
    fn place<'life0, 'life1, 'async_trait>(
        &'life0 self,
        tx: &'life1 mut PgConnection,
        order: OrderId,
    ) -> ::core::pin::Pin<
        Box<dyn ::core::future::Future<Output = Result<Placed, PlaceError>> + ::core::marker::Send + 'async_trait>,
    >
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.insert(tx, order).await })
    }
}
