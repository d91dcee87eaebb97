impl Payments for Gateway {
    #[idempotent(scope = "payments.charge", key = order_id, detach = false)]
    fn charge<'life0, 'async_trait>(
        &'life0 self,
        order_id: OrderId,
    ) -> ::core::pin::Pin<
        Box<dyn ::core::future::Future<Output = Result<Receipt, PaymentError>> + ::core::marker::Send + 'async_trait>,
    >
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.charge_inner(order_id).await })
    }
}
