pub async fn charge(order_id: OrderId, amount: u64) -> Result<Receipt, PaymentError> {
    let __operation = ::idempotent_fn::operation::<
        Result<Receipt, PaymentError>,
        _,
    >("payments.charge", &[&order_id])
        .unique_scope();
    return __operation
        .run(async move {
            let (order_id, amount) = (order_id, amount);
            let _ = &order_id;
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Result<Receipt, PaymentError>,
            > {
                return __result;
            }
            {
                let receipt = gateway::charge(&order_id, amount).await?;
                Ok(receipt)
            }
        })
        .await;
}
