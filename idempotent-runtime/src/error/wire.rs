//! Serialises this library's [`Error`] inside a user's own error, and notes that it is never a
//! final result.

use std::{cell::Cell, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, Visitor},
    ser::SerializeStruct,
};

use crate::{Error, InvalidKeyError, OnCrash, OperationId, StoreError, StoreErrorKind};

thread_local! {
    /// How many of this library's errors this thread has serialised.
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

/// Runs `encode`, and tells whether it serialised an error of this library.
pub(crate) fn noting_own<R>(encode: impl FnOnce() -> R) -> (R, bool) {
    let before = WRITTEN.get();
    let encoded = encode();
    (encoded, WRITTEN.get() != before)
}

/// The scope of a deserialised error: the original one may be that of another program.
const ELSEWHERE: &str = "(read from elsewhere)";

impl Error {
    const fn name(&self) -> &'static str {
        match self {
            Self::InFlight { .. } => "in_flight",
            Self::KeyReused { .. } => "key_reused",
            Self::Indeterminate { .. } => "indeterminate",
            Self::Reentrant { .. } => "reentrant",
            Self::Incompatible { .. } => "incompatible",
            Self::NotRecorded { .. } => "not_recorded",
            Self::AlreadyRecorded { .. } => "already_recorded",
            Self::Superseded { .. } => "superseded",
            Self::TimedOut { .. } => "timed_out",
            Self::InvalidKey { .. } => "invalid_key",
            Self::Unavailable { .. } => "unavailable",
            Self::Uncommitted { .. } => "uncommitted",
            Self::TransactionEnded { .. } => "transaction_ended",
            Self::Config { .. } => "config",
        }
    }
}

/// For error enums that derive `Serialize` and have a variant of this type, so that clients can see
/// it. It is never part of a recorded result: a body's `Err` that carries one is not recorded,
/// whatever `on_err` says.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WRITTEN.set(WRITTEN.get().wrapping_add(1));
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut fields = serializer.serialize_struct("Error", 5)?;
        fields.serialize_field("kind", self.name())?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("retryable", &self.is_retryable())?;
        fields.serialize_field("retry_after_ms", &self.retry_after().map(millis))?;
        fields.serialize_field("lease_left_ms", &self.lease_left().map(millis))?;
        fields.end()
    }
}

/// Reads what `Serialize` has written: the same kind of error, with its times. The operation is not
/// read. A kind that is not known here is [`Error::Incompatible`].
impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = &[
            "kind",
            "message",
            "retryable",
            "retry_after_ms",
            "lease_left_ms",
        ];
        deserializer.deserialize_struct("Error", fields, Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Error;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error of idempotent-fn")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Error, A::Error> {
        let mut read = Read::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "kind" => read.kind = map.next_value()?,
                "message" => read.message = map.next_value()?,
                "retryable" => read.retryable = map.next_value()?,
                "retry_after_ms" => read.retry_after = map.next_value()?,
                "lease_left_ms" => read.lease_left = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read.error())
    }
}

#[derive(Default)]
struct Read {
    kind: String,
    message: String,
    retryable: bool,
    retry_after: Option<u64>,
    lease_left: Option<u64>,
}

impl Read {
    fn error(self) -> Error {
        let operation = OperationId {
            scope: ELSEWHERE,
            digest: None,
        };
        let time = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or(0));
        let reason = self.message.as_str().into();
        match self.kind.as_str() {
            "in_flight" => Error::InFlight {
                operation,
                retry_after: time(self.retry_after),
                lease_left: time(self.lease_left),
            },
            "key_reused" => Error::KeyReused { operation },
            "indeterminate" => Error::Indeterminate { operation },
            "reentrant" => Error::Reentrant { operation },
            "not_recorded" => Error::NotRecorded { operation, reason },
            "already_recorded" => Error::AlreadyRecorded { operation },
            "superseded" => Error::Superseded { operation },
            "timed_out" => Error::TimedOut {
                operation,
                after: Duration::ZERO,
                on_crash: if self.retryable {
                    OnCrash::Rerun
                } else {
                    OnCrash::Fail
                },
            },
            "invalid_key" => Error::InvalidKey {
                operation,
                reason: InvalidKeyError::NoParts,
            },
            "unavailable" => Error::Unavailable {
                operation,
                source: StoreError::new(
                    if self.retryable {
                        StoreErrorKind::NotSent
                    } else {
                        StoreErrorKind::Config
                    },
                    reason,
                ),
            },
            "uncommitted" => Error::Uncommitted {
                operation,
                source: StoreError::new(StoreErrorKind::Refused, reason),
            },
            "transaction_ended" => Error::TransactionEnded { operation },
            "config" => Error::Config { operation, reason },
            _ => Error::Incompatible { operation, reason },
        }
    }
}
