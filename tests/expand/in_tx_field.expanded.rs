impl Shop {
    async fn place(&mut self, order: Order) -> Result<Placed, PlaceError> {
        let operation = ::idempotent_fn::operation::<
            Result<Placed, PlaceError>,
            _,
        >("orders.place", &[&order.id])
            .unique_scope()
            .wait(::core::time::Duration::from_secs(0));
        let begun = operation.begin(&mut *self.tx).await;
        match begun {
            ::idempotent_fn::tx::Begun::Answered(result) => result,
            ::idempotent_fn::tx::Begun::Running(running) => {
                let result = running
                    .body(async {
                        if let ::core::option::Option::Some(result) = ::core::option::Option::None::<
                            Result<Placed, PlaceError>,
                        > {
                            return result;
                        }
                        { insert(&mut self.tx, order).await }
                    })
                    .await;
                running.finish(&mut *self.tx, result).await
            }
        }
    }
}
