#[idempotent(key = (order.customer, tenant(&order).await?, order.id()), fingerprint = (amount, rate(&currency).await?))]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
