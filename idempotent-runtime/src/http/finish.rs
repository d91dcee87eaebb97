//! What a response means for the record.

use http::StatusCode;

use crate::OnCrash;

/// What a handler's response means for the record of its key.
///
/// | response | `on_crash = rerun` (default) | `fail` |
/// |---|---|---|
/// | 2xx, 3xx | `Complete` | `Complete` |
/// | 402, 409: what an operation says of itself | `Complete` | `Complete` |
/// | 408, 425, 429, 5xx | `Abandon`: free | `Abandon`: in doubt |
/// | every other 4xx: the request was refused | `Release` | `Complete` |
/// | 1xx | `CompleteWithoutResponse` | the same |
/// | none: the service fails or panics | `Abandon` | `Abandon` |
///
/// Most 4xx are released because a layer cannot tell who spoke. A router, an extractor or a
/// permission check answers 400, 401, 403, 404 and 422 as often as the operation does. Were they
/// recorded, one expired token would be answered with 401 until the `ttl` is over.
///
/// A handler overrules the table by this type as an extension of its response, an application by
/// `IdempotencyLayer::on_response`. The extension wins.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Extension, http::StatusCode, response::IntoResponse};
/// use idempotent_fn::http::Finish;
///
/// /// Its answer shows a secret that no store should keep.
/// async fn new_token() -> impl IntoResponse {
///     (StatusCode::CREATED, Extension(Finish::CompleteWithoutResponse), "s3cr3t")
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// It happened, and this response is recorded and replayed.
    Complete,
    /// It happened. This response is handed out once and not kept; a retry gets 409
    /// (`not-recorded`).
    CompleteWithoutResponse,
    /// Nothing happened: the key is free.
    Release,
    /// Its effects are unknown. `on_crash` decides: the key is free at once (`rerun`), or in doubt
    /// (`fail`).
    Abandon,
}

impl Finish {
    /// What a response with this status means, by the table above.
    ///
    /// ```
    /// # use idempotent_fn::{OnCrash, http::Finish};
    /// assert_eq!(Finish::of(http::StatusCode::CREATED, OnCrash::Rerun), Finish::Complete);
    /// assert_eq!(Finish::of(http::StatusCode::NOT_FOUND, OnCrash::Rerun), Finish::Release);
    /// ```
    #[must_use]
    pub fn of(status: StatusCode, on_crash: OnCrash) -> Self {
        match status.as_u16() {
            100..200 => Self::CompleteWithoutResponse,
            200..400 | 402 | 409 => Self::Complete,
            408 | 425 | 429 | 500.. => Self::Abandon,
            _ => match on_crash {
                OnCrash::Rerun => Self::Release,
                OnCrash::Fail => Self::Complete,
            },
        }
    }
}
