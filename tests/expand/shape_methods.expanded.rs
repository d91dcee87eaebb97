impl Payments {
    async fn charge(&self, order_id: OrderId) -> Result<Receipt, PaymentError> {
        let __operation = ::idempotent_fn::operation::<
            Result<Receipt, PaymentError>,
            _,
        >("payments.charge", &[&order_id])
            .unique_scope();
        return __operation
            .run_attached(async move {
                let (order_id,) = (order_id,);
                let _ = &order_id;
                if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                    Result<Receipt, PaymentError>,
                > {
                    return __result;
                }
                { self.gateway.charge(order_id).await }
            })
            .await;
    }
    pub(crate) async fn settle(&mut self) -> Result<(), PaymentError> {
        let __operation = ::idempotent_fn::operation::<
            Result<(), PaymentError>,
            _,
        >("payments.settle", &[&self.day])
            .unique_scope();
        return __operation
            .run_attached(async move {
                if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                    Result<(), PaymentError>,
                > {
                    return __result;
                }
                {
                    self.settled = true;
                    Ok(())
                }
            })
            .await;
    }
    async fn refund(
        self: Arc<Self>,
        order_id: OrderId,
    ) -> Result<Receipt, PaymentError> {
        let __operation = ::idempotent_fn::operation::<
            Result<Receipt, PaymentError>,
            _,
        >("payments.refund", &[&order_id])
            .unique_scope();
        return __operation
            .run(async move {
                let (order_id,) = (order_id,);
                let _ = (&self, &order_id);
                if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                    Result<Receipt, PaymentError>,
                > {
                    return __result;
                }
                { self.gateway.refund(order_id).await }
            })
            .await;
    }
    async fn close(mut self) -> Result<(), PaymentError> {
        let __operation = ::idempotent_fn::operation::<
            Result<(), PaymentError>,
            _,
        >("payments.close", &[&self.day])
            .unique_scope();
        return __operation
            .run(async move {
                let _ = &self;
                if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                    Result<(), PaymentError>,
                > {
                    return __result;
                }
                {
                    self.settled = true;
                    Ok(())
                }
            })
            .await;
    }
}
