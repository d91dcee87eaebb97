async fn charge(
    order: Order,
    amount: u64,
    currency: String,
) -> Result<Receipt, PaymentError> {
    let __operation = {
        let __key_1 = &tenant(&order).await?;
        let __key_2 = &order.id();
        let __fingerprint_1 = &rate(&currency).await?;
        ::idempotent_fn::operation::<
            Result<Receipt, PaymentError>,
            _,
        >(
                ::core::concat!(::core::module_path!(), "::charge"),
                &(&order.customer, __key_1, __key_2),
            )
            .unique_scope()
            .fingerprint(&(&amount, __fingerprint_1))
    };
    return __operation
        .run(async move {
            let (order, amount, currency) = (order, amount, currency);
            let _ = (&order, &amount, &currency);
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Result<Receipt, PaymentError>,
            > {
                return __result;
            }
            { gateway::charge(order, amount, currency).await }
        })
        .await;
}
