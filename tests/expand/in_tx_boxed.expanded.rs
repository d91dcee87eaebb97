impl Orders for Shop {
    fn place<'life0, 'life1, 'async_trait>(
        &'life0 self,
        tx: &'life1 mut PgConnection,
        order: OrderId,
    ) -> ::core::pin::Pin<
        Box<
            dyn ::core::future::Future<
                Output = Result<Placed, PlaceError>,
            > + ::core::marker::Send + 'async_trait,
        >,
    >
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        ::std::boxed::Box::pin(async move {
            let operation = ::idempotent_fn::operation::<
                Result<Placed, PlaceError>,
                _,
            >("orders.place", &[&order])
                .unique_scope();
            let begun = operation.begin(&mut *tx).await;
            match begun {
                ::idempotent_fn::tx::Begun::Answered(result) => result,
                ::idempotent_fn::tx::Begun::Running(running) => {
                    let result = running
                        .body(async {
                            let tx = &mut *tx;
                            let body = move || -> ::core::pin::Pin<
                                Box<
                                    dyn ::core::future::Future<
                                        Output = Result<Placed, PlaceError>,
                                    > + ::core::marker::Send + '_,
                                >,
                            > {
                                { Box::pin(async move { self.insert(tx, order).await }) }
                            };
                            body().await
                        })
                        .await;
                    running.finish(&mut *tx, result).await
                }
            }
        })
    }
}
