impl Shop {
    async fn place(&mut self, order: Order) -> Result<Placed, PlaceError> {
        let __operation = ::idempotent_fn::operation::<
            Result<Placed, PlaceError>,
            _,
        >("orders.place", &[&order.id])
            .unique_scope()
            .wait(::core::time::Duration::from_secs(0));
        let __begun = __operation.begin(&mut *self.tx).await;
        match __begun {
            ::idempotent_fn::tx::Begun::Answered(__result) => return __result,
            ::idempotent_fn::tx::Begun::Running(__running) => {
                let __result = __running
                    .body(async {
                        if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                            Result<Placed, PlaceError>,
                        > {
                            return __result;
                        }
                        { insert(&mut self.tx, order).await }
                    })
                    .await;
                return __running.finish(&mut *self.tx, __result).await;
            }
        }
    }
}
