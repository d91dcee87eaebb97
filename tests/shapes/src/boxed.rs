//! Functions that return a boxed future, as `#[async_trait]` leaves them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use idempotent_fn::idempotent;

use crate::{Failure, Outcome, fresh};

/// Implemented under `#[async_trait]`.
#[async_trait]
pub trait Payments {
    /// Borrows.
    async fn charge(&self, order: &str, amount: u64) -> Result<u64, Failure>;

    /// Owns.
    async fn refund(self: Arc<Self>, order: String) -> Outcome;

    /// Has an argument that only the key names.
    async fn send(&self, event: String) -> Outcome;

    /// Has a body in the trait.
    #[idempotent(scope = "shapes.payments.settle", key = day, detach = false)]
    async fn settle(&self, day: u64) -> Outcome
    where
        Self: Sync,
    {
        Ok(day + fresh())
    }
}

/// An implementation.
#[derive(Debug, Default)]
pub struct Gateway {
    /// Changes nothing.
    pub fee: u64,
}

#[async_trait]
impl Payments for Gateway {
    #[idempotent(scope = "shapes.payments.charge", key = (order, number(order)?), fingerprint = amount, detach = false)]
    async fn charge(&self, order: &str, amount: u64) -> Result<u64, Failure> {
        let _: u64 = order.parse()?;
        Ok(amount + self.fee + fresh())
    }

    #[idempotent(scope = "shapes.payments.refund", key = order)]
    async fn refund(self: Arc<Self>, order: String) -> Outcome {
        if order.is_empty() {
            return Err(Failure("no order".into()));
        }
        Ok(self.fee + fresh())
    }

    #[idempotent(scope = "shapes.payments.send", key = event, detach = false)]
    async fn send(&self, event: String) -> Outcome {
        Ok(fresh())
    }
}

fn number(text: &str) -> Outcome {
    Ok(text.parse()?)
}

/// Written by hand, with an early return and a call to itself.
#[idempotent(key = depth)]
#[must_use]
pub fn by_hand(depth: u64) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    if depth == 0 {
        return Box::pin(async { Ok(fresh()) });
    }
    Box::pin(async move { Ok(by_hand(depth - 1).await? + 1) })
}
