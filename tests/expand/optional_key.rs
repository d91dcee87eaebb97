#[idempotent(key = (order.id, header), optional_key = true)]
async fn charge(order: Order, amount: u64, header: Option<String>) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, header).await
}
