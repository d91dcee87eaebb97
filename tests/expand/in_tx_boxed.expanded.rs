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
        return ::std::boxed::Box::pin(async move {
            let __operation = ::idempotent_fn::operation::<
                Result<Placed, PlaceError>,
                _,
            >("orders.place", &[&order])
                .unique_scope();
            let __begun = __operation.begin(&mut *tx).await;
            match __begun {
                ::idempotent_fn::tx::Begun::Answered(__result) => return __result,
                ::idempotent_fn::tx::Begun::Running(__running) => {
                    let __result = __running
                        .body(async {
                            let tx = &mut *tx;
                            let __body = move || -> ::core::pin::Pin<
                                Box<
                                    dyn ::core::future::Future<
                                        Output = Result<Placed, PlaceError>,
                                    > + ::core::marker::Send + '_,
                                >,
                            > {
                                { Box::pin(async move { self.insert(tx, order).await }) }
                            };
                            __body().await
                        })
                        .await;
                    return __running.finish(&mut *tx, __result).await;
                }
            }
        });
    }
}
