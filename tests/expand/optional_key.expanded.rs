async fn charge(
    order: Order,
    amount: u64,
    header: Option<String>,
) -> Result<Receipt, PaymentError> {
    let __operation = ::idempotent_fn::operation::<
        Result<Receipt, PaymentError>,
        _,
    >(
            ::core::concat!(::core::module_path!(), "::charge"),
            &[
                ::idempotent_fn::key::optional_part(&order.id),
                ::idempotent_fn::key::optional_part(&header),
            ],
        )
        .unique_scope();
    return __operation
        .run(async move {
            let (order, amount, header) = (order, amount, header);
            let _ = (&order, &header);
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Result<Receipt, PaymentError>,
            > {
                return __result;
            }
            { gateway::charge(order, amount, header).await }
        })
        .await;
}
