//! Methods of types and of traits.

use std::future::Future;
use std::sync::Arc;

use idempotent_fn::idempotent;

use crate::{Outcome, fresh};

/// Has methods.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Part of the keys.
    pub tenant: String,
    /// What `&mut self` changes.
    pub runs: u64,
}

impl Service {
    const SCOPE: &'static str = "shapes.service.constant";

    /// `&self`
    #[idempotent(scope = "shapes.service.shared", key = (self.tenant, id), detach = false)]
    pub async fn shared(&self, id: u64) -> Outcome {
        Ok(id + self.tenant.len() as u64 + fresh())
    }

    /// `&mut self`
    #[idempotent(scope = "shapes.service.exclusive", key = (self.tenant, id), detach = false)]
    pub async fn exclusive(&mut self, id: u64) -> Outcome {
        self.runs += 1;
        Ok(id + fresh())
    }

    /// `self: Arc<Self>`
    #[idempotent(scope = Self::SCOPE, key = (self.tenant, id))]
    pub async fn counted(self: Arc<Self>, id: u64) -> Outcome {
        Ok(id + self.tenant.len() as u64 + fresh())
    }

    /// `self`
    #[idempotent(scope = "shapes.service.owned", key = self.tenant)]
    pub async fn owned(mut self) -> Outcome {
        self.runs += 1;
        Ok(self.runs + fresh())
    }
}

/// A native `async fn` in a trait: with a body, and without.
pub trait Handler {
    /// The scope of an implementation.
    const SCOPE: &'static str;

    /// A default body.
    fn by_default(&self, id: u64) -> impl Future<Output = Outcome> + Send;

    /// An implementation's own body.
    fn by_hand(self: Arc<Self>, id: u64) -> impl Future<Output = Outcome> + Send;
}

impl Handler for Service {
    const SCOPE: &'static str = "shapes.handler";

    #[idempotent(scope = <Self as Handler>::SCOPE, key = ("by_default", id), detach = false)]
    async fn by_default(&self, id: u64) -> Outcome {
        Ok(id + self.runs + fresh())
    }

    #[idempotent(scope = "shapes.handler.by_hand", key = id)]
    async fn by_hand(self: Arc<Self>, id: u64) -> Outcome {
        Ok(id + self.runs + fresh())
    }
}

pub(crate) trait Defaults {
    const SCOPE: &'static str;

    #[idempotent(scope = Self::SCOPE, key = id, detach = false)]
    async fn run(&self, id: u64) -> Outcome {
        Ok(id + fresh())
    }
}

impl Defaults for Service {
    const SCOPE: &'static str = "shapes.defaults";
}

/// Calls the default body of a trait.
///
/// # Errors
/// As the operation.
pub async fn defaults(service: &Service, id: u64) -> Outcome {
    service.run(id).await
}
