async fn charge(
    order: Order,
    amount: u64,
    currency: String,
) -> Result<Receipt, PaymentError> {
    let operation = {
        let key_1 = &tenant(&order).await?;
        let key_2 = &order.id();
        let fingerprint_1 = &rate(&currency).await?;
        ::idempotent_fn::operation::<
            Result<Receipt, PaymentError>,
            _,
        >(
                ::core::concat!(::core::module_path!(), "::charge"),
                &(&order.customer, key_1, key_2),
            )
            .unique_scope()
            .fingerprint(&(&amount, fingerprint_1))
    };
    operation
        .run(async move {
            let (order, amount, currency) = (order, amount, currency);
            let _ = (&order, &amount, &currency);
            if let ::core::option::Option::Some(result) = ::core::option::Option::None::<
                Result<Receipt, PaymentError>,
            > {
                return result;
            }
            { gateway::charge(order, amount, currency).await }
        })
        .await
}
