async fn place(tx: &mut PgConnection, order: Order) -> Result<Placed, PlaceError> {
    let operation = ::idempotent_fn::operation::<
        Result<Placed, PlaceError>,
        _,
    >("orders.place", &[&order.id])
        .unique_scope();
    let begun = operation.begin(&mut *tx).await;
    match begun {
        ::idempotent_fn::tx::Begun::Answered(result) => result,
        ::idempotent_fn::tx::Begun::Running(running) => {
            let result = running
                .body(async {
                    let tx = &mut *tx;
                    if let ::core::option::Option::Some(result) = ::core::option::Option::None::<
                        Result<Placed, PlaceError>,
                    > {
                        return result;
                    }
                    { insert(tx, order).await }
                })
                .await;
            running.finish(&mut *tx, result).await
        }
    }
}
