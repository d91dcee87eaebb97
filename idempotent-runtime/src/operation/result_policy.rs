//! How an operation's results are recorded: which of them, for how long, by which codec, and how
//! they are read back.

use std::{sync::Arc, time::Duration};

use super::result::Classify;
use crate::{
    CodecError, Error, OnCrash, OnErr, OperationId,
    codec::{Format, redact::shape_of},
    fingerprint::Fingerprint,
    record::{Record, RecordRef, RecordedBytes, RecordedBytesRef},
};

/// See [`Operation::ttl_with`](super::Operation::ttl_with).
type TtlOf<T, E> = fn(&Result<T, E>) -> Duration;

/// The options of an operation that depend on its result's type.
pub(crate) struct ResultPolicy<T, E> {
    pub(crate) ok: Format<T>,
    pub(crate) err: Option<Format<E>>,
    pub(crate) on_err: Option<OnErr>,
    pub(crate) classify: Option<Classify<E>>,
    pub(crate) ttl: Option<TtlOf<T, E>>,
}

impl<T, E> Clone for ResultPolicy<T, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, E> Copy for ResultPolicy<T, E> {}

impl<T, E> ResultPolicy<T, E> {
    pub(crate) fn new(ok: Format<T>) -> Self {
        Self {
            ok,
            err: None,
            on_err: None,
            classify: None,
            ttl: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.on_err == Some(OnErr::Record) && self.err.is_none() {
            return Err(
                "`OnErr::Record` needs `record_err()` too, which says how an error is recorded",
            );
        }
        Ok(())
    }

    /// The recorded result, for a replay from this process. `None` in all cases that are not plain:
    /// the claim handles them.
    pub(crate) fn read_local(
        &self,
        record: &RecordRef<'_>,
        fingerprint: Option<Fingerprint>,
    ) -> Option<Result<T, E>> {
        if record.conflicts_with(fingerprint) {
            return None;
        }
        match (record.outcome?, &self.err) {
            (RecordedBytesRef::Ok(bytes), _) => (self.ok.decode)(record.codec, bytes)?.ok().map(Ok),
            (RecordedBytesRef::Err(bytes), Some(err)) => {
                (err.decode)(record.codec, bytes)?.ok().map(Err)
            }
            _ => None,
        }
    }

    /// The recorded result, as the function returns it, or the error why it cannot be replayed.
    pub(crate) fn replay(
        &self,
        operation_id: &dyn Fn() -> OperationId,
        record: &Record,
    ) -> Result<Result<T, E>, Error> {
        let err = self.err.as_ref();
        if let Some(RecordedBytes::Ok(bytes)) = &record.outcome
            && let Some(value) = (self.ok.decode)(record.codec, bytes)
        {
            return value
                .map(Ok)
                .map_err(|error| undecodable(&error, operation_id));
        }
        let read = match recorded_result(
            record,
            self.ok.codec,
            err.map(|err| err.codec),
            operation_id,
        )? {
            RecordedResult::Ok(bytes) => decoded((self.ok.decode)(record.codec, bytes)).map(Ok),
            RecordedResult::Err(bytes) => match err {
                Some(err) => decoded((err.decode)(record.codec, bytes)).map(Err),
                None => Err(CodecError::own("errors are not recorded here")),
            },
        };
        read.map_err(|error| undecodable(&error, operation_id))
    }

    /// What an `Ok` means that stands for a failure that may pass. Under `on_crash = rerun` it is
    /// taken as "nothing happened"; under `fail`, only `on_err = rerun` says that.
    pub(crate) fn judge_transient(&self, on_crash: OnCrash) -> OnErr {
        match (on_crash, self.on_err) {
            (_, Some(OnErr::Fail)) => OnErr::Fail,
            (_, Some(OnErr::Rerun)) | (OnCrash::Rerun, _) => OnErr::Rerun,
            (OnCrash::Fail, _) => OnErr::Fail,
        }
    }

    /// What an `Err` of the body means.
    pub(crate) fn judge_err(&self, on_crash: OnCrash, error: &E) -> OnErr {
        let fallback = match (on_crash, &self.err) {
            (_, Some(_)) => OnErr::Record,
            (OnCrash::Fail, None) => OnErr::Fail,
            (OnCrash::Rerun, None) => OnErr::Rerun,
        };
        self.classify
            .map_or(self.on_err.unwrap_or(fallback), |classify| {
                classify.judge(error)
            })
    }
}

/// The bytes of a recorded `Ok` or `Err`.
enum RecordedResult<'a> {
    Ok(&'a [u8]),
    Err(&'a [u8]),
}

/// The recorded bytes. An error if there are none, or if they are not of this function's codec:
/// `ok` for an `Ok`, `err` for an `Err`.
fn recorded_result<'a>(
    record: &'a Record,
    ok: u32,
    err: Option<u32>,
    operation_id: &dyn Fn() -> OperationId,
) -> Result<RecordedResult<'a>, Error> {
    let (codec, result) = match &record.outcome {
        Some(RecordedBytes::Ok(bytes)) => (Some(ok), RecordedResult::Ok(bytes)),
        Some(RecordedBytes::Err(bytes)) => (err, RecordedResult::Err(bytes)),
        Some(RecordedBytes::NotRecorded(reason)) => {
            return Err(Error::NotRecorded {
                operation: operation_id(),
                reason: String::from_utf8_lossy(reason).into(),
            });
        }
        None => return Err(incompatible("it has no result", operation_id)),
    };
    match codec {
        Some(codec) if codec == record.codec => Ok(result),
        Some(codec) => {
            let written = record.codec;
            let reason = format!(
                "it was written by codec {written}, this function has codec {codec}; a result that was given by hand is \
                 given again by `correct`, with the function's own type and codec"
            );
            Err(incompatible(reason, operation_id))
        }
        None => Err(incompatible(
            "it is a recorded `Err`; this function records none",
            operation_id,
        )),
    }
}

/// [`recorded_result`] has compared the codecs.
fn decoded<T>(read: Option<Result<T, CodecError>>) -> Result<T, CodecError> {
    read.unwrap_or_else(|| Err(CodecError::own("another codec has written it")))
}

fn undecodable(error: &CodecError, operation_id: &dyn Fn() -> OperationId) -> Error {
    let error = shape_of(error);
    let reason = format!(
        "its result does not decode: {error}; if the type has changed since, give new fields `#[serde(default)]` (docs/OPERATING.md, \
         \"Deploys\")"
    );
    incompatible(reason, operation_id)
}

fn incompatible(reason: impl Into<Arc<str>>, operation_id: &dyn Fn() -> OperationId) -> Error {
    Error::Incompatible {
        operation: operation_id(),
        reason: reason.into(),
    }
}
