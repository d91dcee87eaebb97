async fn charge(
    order: Order,
    amount: u64,
    currency: String,
) -> Result<Receipt, PaymentError> {
    let operation = ::idempotent_fn::operation::<
        Result<Receipt, PaymentError>,
        _,
    >(::core::concat!(::core::module_path!(), "::charge"), &[&order.id])
        .unique_scope()
        .store(registry().store("payments"));
    operation
        .run(async move {
            let (order, amount, currency) = (order, amount, currency);
            let _ = &order;
            if let ::core::option::Option::Some(result) = ::core::option::Option::None::<
                Result<Receipt, PaymentError>,
            > {
                return result;
            }
            { gateway::charge(order, amount, currency).await }
        })
        .await
}
