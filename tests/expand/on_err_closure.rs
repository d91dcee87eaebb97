#[idempotent(key = order.id, on_err = |error| if error.is_declined() { OnErr::Record } else { OnErr::Rerun })]
async fn charge(order: Order, amount: u64, currency: String) -> Result<Receipt, PaymentError> {
    gateway::charge(order, amount, currency).await
}
