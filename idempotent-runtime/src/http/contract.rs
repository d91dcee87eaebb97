//! What owners of APIs have published about the header, by name.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Finish, config::Config, payload::Coverage, problem::Kind};
use crate::OnCrash;

/// A published contract about the header `Idempotency-Key`, for APIs that are to behave like it:
/// see [`IdempotencyLayer::contract`](super::IdempotencyLayer::contract).
///
/// [docs/HTTP.md](https://github.com/idempotent-fn/idempotent-fn/blob/main/docs/HTTP.md#contracts-by-name)
/// has each contract clause by clause, with the date of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contract {
    /// `draft-ietf-httpapi-idempotency-key-header-07`. Differs from the defaults in one point: a
    /// duplicate of a running request is refused with 409 at once, and does not wait.
    Ietf07,
    /// The Agentic Commerce Protocol's checkout: each POST needs a key, a key belongs to one path,
    /// only the body counts, and everything but a 5xx is replayed. Refusals have the fields `type`,
    /// `code` and `message`.
    AgenticCheckout,
    /// Apache Iceberg's REST catalog: POST and DELETE, and keys are UUIDs of version 7. A running
    /// duplicate is refused with 503, because Iceberg's clients take 409 for a commit that failed.
    IcebergRest,
    /// Stripe's API v1: POST only, a 5xx is recorded like any other response, and a reused key is
    /// refused with 400.
    StripeV1,
}

impl Contract {
    /// Sets the options that the contract speaks of.
    pub(super) fn apply(self, config: &mut Config) {
        config.contract = Some(self);
        match self {
            Self::Ietf07 => config.wait = Duration::ZERO,
            Self::AgenticCheckout => {
                config.methods = vec![Method::POST];
                config.is_required = true;
                config.coverage = Coverage::JsonBody;
                config.wait = Duration::ZERO;
            }
            Self::IcebergRest => {
                config.methods = vec![Method::POST, Method::DELETE];
                config.accept_key = Some(is_uuid_v7);
            }
            Self::StripeV1 => {
                config.methods = vec![Method::POST];
                config.wait = Duration::ZERO;
            }
        }
    }

    /// Whether the same key on two paths is two keys.
    pub(super) fn has_keys_per_path(self) -> bool {
        self == Self::AgenticCheckout
    }

    /// Whether responses repeat the request's key.
    pub(super) fn echoes_key(self) -> bool {
        self == Self::AgenticCheckout
    }

    /// What a response with this status means. What only says "come again" is never an outcome.
    pub(super) fn finish(self, status: StatusCode, on_crash: OnCrash) -> Finish {
        let finish = Finish::of(status, on_crash);
        match (self, status.as_u16()) {
            (Self::AgenticCheckout, 400..500) => match status.as_u16() {
                401 | 408 | 425 | 429 => finish,
                _ => Finish::Complete,
            },
            (Self::IcebergRest, 400..500) => match status.as_u16() {
                401 | 403 | 407 | 408 | 419 | 425 | 429 => finish,
                _ => Finish::Complete,
            },
            (Self::StripeV1, 401 | 429) => Finish::Release,
            (Self::StripeV1, 400..) => Finish::Complete,
            _ => finish,
        }
    }

    /// The status of a refusal, where it is another than usual.
    pub(super) fn status(self, kind: Kind) -> Option<StatusCode> {
        match (self, kind) {
            (Self::StripeV1 | Self::IcebergRest, Kind::KeyReused) => Some(StatusCode::BAD_REQUEST),
            (Self::IcebergRest, Kind::InFlight) => Some(StatusCode::SERVICE_UNAVAILABLE),
            // Its clients clean up after a 409, and must not where the commit may have happened.
            (Self::IcebergRest, Kind::Indeterminate | Kind::NotRecorded) => {
                Some(StatusCode::INTERNAL_SERVER_ERROR)
            }
            _ => None,
        }
    }

    /// The body of a refusal, where it is no `application/problem+json`.
    pub(super) fn body(self, kind: Kind, name: &str, status: u16, detail: &str) -> Option<Value> {
        match self {
            Self::Ietf07 => None,
            Self::AgenticCheckout => {
                let code = match kind {
                    Kind::MissingKey => "idempotency_key_required".to_owned(),
                    Kind::KeyReused => "idempotency_conflict".to_owned(),
                    Kind::InFlight => "idempotency_in_flight".to_owned(),
                    _ => name.replace('-', "_"),
                };
                let class = match status {
                    ..500 => "invalid_request",
                    503 => "service_unavailable",
                    _ => "processing_error",
                };
                Some(json!({ "type": class, "code": code, "message": detail }))
            }
            Self::IcebergRest => {
                let class = match status {
                    400 => "BadRequestException",
                    403 => "ForbiddenException",
                    503 => "ServiceUnavailableException",
                    500.. => "InternalServerError",
                    _ => "RESTException",
                };
                Some(json!({ "error": { "message": detail, "type": class, "code": status } }))
            }
            Self::StripeV1 => {
                let (class, code) = match kind {
                    Kind::KeyReused => ("idempotency_error", None),
                    Kind::InFlight => ("invalid_request_error", Some("idempotency_key_in_use")),
                    _ if status < 500 => ("invalid_request_error", None),
                    _ => ("api_error", None),
                };
                let mut error = json!({ "type": class, "message": detail });
                if let Some(code) = code {
                    error["code"] = code.into();
                }
                Some(json!({ "error": error }))
            }
        }
    }
}

/// Whether a key is a UUID of version 7 in its usual form (RFC 9562).
fn is_uuid_v7(key: &str) -> bool {
    key.len() == 36
        && key.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'7',
            19 => b"89abAB".contains(&byte),
            _ => byte.is_ascii_hexdigit(),
        })
}
