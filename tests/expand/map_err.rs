#[idempotent(key = order.id, map_err = |error| PaymentError::Idempotency(error))]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
