#[idempotent(key = order.id, store = REGISTRY.payments)]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
