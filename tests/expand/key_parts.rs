#[idempotent(key = (order.customer, &order.id, "charge"))]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
