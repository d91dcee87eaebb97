#[idempotent(key = order.id, ttl = |result| if result.is_ok() { WEEK } else { MINUTE })]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
