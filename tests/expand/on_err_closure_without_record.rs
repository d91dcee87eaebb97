#[idempotent(key = order.id, on_err = |error| if error.is_timeout() { RerunOrFail::Fail } else { RerunOrFail::Rerun })]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
