//! Other attributes, above and below.

use idempotent_fn::idempotent;

use crate::{Failure, Outcome, fresh};

/// Traced outside the operation.
#[tracing::instrument(skip_all)]
#[idempotent(key = id)]
pub async fn traced_above(id: u64) -> Outcome {
    tracing::debug!(id, "runs");
    Ok(fresh())
}

/// The span is written below.
#[idempotent(key = id)]
#[tracing::instrument(err(Debug), fields(id))]
pub async fn traced_below(id: u64) -> Outcome {
    if id == 0 {
        return Err(Failure("zero".into()));
    }
    Ok(fresh())
}

/// Attributes of the body itself.
#[idempotent(key = id)]
#[must_use = "the number"]
#[inline]
pub async fn inner(id: u64) -> Outcome {
    #![expect(unused_variables, reason = "an inner attribute covers the body")]
    let copy = id;
    Ok(fresh())
}
