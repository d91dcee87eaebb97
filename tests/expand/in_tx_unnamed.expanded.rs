async fn seen(tx: &mut PgConnection, order: Order) -> Result<(), PlaceError> {
    let operation = ::idempotent_fn::operation::<
        Result<(), PlaceError>,
        _,
    >("orders.seen", &[&order.id])
        .unique_scope();
    let begun = operation.begin(&mut *tx).await;
    match begun {
        ::idempotent_fn::tx::Begun::Answered(result) => result,
        ::idempotent_fn::tx::Begun::Running(running) => {
            let result = running
                .body(async {
                    if let ::core::option::Option::Some(result) = ::core::option::Option::None::<
                        Result<(), PlaceError>,
                    > {
                        return result;
                    }
                    { Ok(()) }
                })
                .await;
            running.finish(&mut *tx, result).await
        }
    }
}
