#[idempotent(scope = "payments.charge", key = order_id)]
pub async fn charge(order_id: OrderId, amount: u64) -> Result<Receipt, PaymentError> {
    let receipt = gateway::charge(&order_id, amount).await?;
    Ok(receipt)
}
