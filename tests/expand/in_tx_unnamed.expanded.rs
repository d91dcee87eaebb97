async fn seen(tx: &mut PgConnection, order: Order) -> Result<(), PlaceError> {
    let __operation = ::idempotent_fn::operation::<
        Result<(), PlaceError>,
        _,
    >("orders.seen", &[&order.id])
        .unique_scope();
    let __begun = __operation.begin(&mut *tx).await;
    match __begun {
        ::idempotent_fn::tx::Begun::Answered(__result) => return __result,
        ::idempotent_fn::tx::Begun::Running(__running) => {
            let __result = __running
                .body(async {
                    if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                        Result<(), PlaceError>,
                    > {
                        return __result;
                    }
                    { Ok(()) }
                })
                .await;
            return __running.finish(&mut *tx, __result).await;
        }
    }
}
