async fn charge(
    order: Order,
    amount: u64,
    currency: String,
) -> Result<Receipt, PaymentError> {
    let __operation = ::idempotent_fn::operation::<
        Result<Receipt, PaymentError>,
        _,
    >(::core::concat!(::core::module_path!(), "::charge"), &[&order.id])
        .unique_scope()
        .store(&REGISTRY.payments);
    return __operation
        .run(async move {
            let (order, amount, currency) = (order, amount, currency);
            let _ = &order;
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Result<Receipt, PaymentError>,
            > {
                return __result;
            }
            { gateway::charge(order, amount, currency).await }
        })
        .await;
}
