impl Payments {
    #[idempotent(scope = "payments.charge", key = order_id, detach = false)]
    async fn charge(&self, order_id: OrderId) -> Result<Receipt, PaymentError> {
        self.gateway.charge(order_id).await
    }

    #[idempotent(scope = "payments.settle", key = self.day, detach = false)]
    pub(crate) async fn settle(&mut self) -> Result<(), PaymentError> {
        self.settled = true;
        Ok(())
    }

    #[idempotent(scope = "payments.refund", key = order_id)]
    async fn refund(self: Arc<Self>, order_id: OrderId) -> Result<Receipt, PaymentError> {
        self.gateway.refund(order_id).await
    }

    #[idempotent(scope = "payments.close", key = self.day)]
    async fn close(mut self) -> Result<(), PaymentError> {
        self.settled = true;
        Ok(())
    }
}
