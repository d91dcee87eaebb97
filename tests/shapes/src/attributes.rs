//! Other attributes, above and below this one.

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

/// An annotated function that nobody calls is dead code, as any other.
#[idempotent(key = id)]
#[expect(dead_code, reason = "nobody calls it")]
async fn nobody_calls(id: u64) -> Outcome {
    Ok(id + fresh())
}

/// The same, with the attribute above.
#[expect(dead_code, reason = "nobody calls it")]
#[idempotent(key = id, detach = false)]
async fn nobody_calls_either(id: u64) -> Outcome {
    Ok(id + fresh())
}

struct Unused;

impl Unused {
    #[expect(dead_code, reason = "nobody calls it")]
    #[idempotent(scope = "shapes.unused", key = id)]
    async fn nobody_calls(self, id: u64) -> Outcome {
        Ok(id + fresh())
    }
}

/// So that there is one.
#[must_use]
pub fn unused() -> usize {
    let _ = Unused;
    0
}
