#[idempotent(key = order.id, ttl = "24h")]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
