async fn place(tx: &mut Connection, order: Order) -> Result<Placed, PlaceError> {
    let __operation = ::idempotent_fn::operation::<
        Result<Placed, PlaceError>,
        _,
    >("orders.place", &[&order.id])
        .unique_scope();
    let __begun = __operation.begin(&mut Mine(tx)).await;
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
                    { insert(tx, order).await }
                })
                .await;
            return __running.finish(&mut Mine(tx), __result).await;
        }
    }
}
