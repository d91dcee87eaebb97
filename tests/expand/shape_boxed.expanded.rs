impl Payments for Gateway {
    fn charge<'life0, 'async_trait>(
        &'life0 self,
        order_id: OrderId,
    ) -> ::core::pin::Pin<
        Box<
            dyn ::core::future::Future<
                Output = Result<Receipt, PaymentError>,
            > + ::core::marker::Send + 'async_trait,
        >,
    >
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        return ::std::boxed::Box::pin(async move {
            let __operation = ::idempotent_fn::operation::<
                Result<Receipt, PaymentError>,
                _,
            >("payments.charge", &[&order_id])
                .unique_scope();
            return __operation
                .run_attached(async move {
                    let __body = move || -> ::core::pin::Pin<
                        Box<
                            dyn ::core::future::Future<
                                Output = Result<Receipt, PaymentError>,
                            > + ::core::marker::Send + 'async_trait,
                        >,
                    > { { Box::pin(async move { self.charge_inner(order_id).await }) } };
                    __body().await
                })
                .await;
        });
    }
}
