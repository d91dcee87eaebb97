//! What was agreed for an operation, and what it makes of a recorded or a returned result.

use std::time::Duration;

use crate::{
    Error, Label, OnCrash, OnErr,
    codec::Format,
    fingerprint::{Fingerprint, FingerprintError},
    record::{Outcome, OutcomeRef, Record, RecordRef},
};

/// What was agreed for an operation, apart from its key and its store.
pub(crate) struct Terms<T, E> {
    pub(crate) ok: Format<T>,
    pub(crate) err: Option<Format<E>>,
    pub(crate) on_err: Option<OnErr>,
    pub(crate) classify: Option<fn(&E) -> OnErr>,
    pub(crate) on_crash: OnCrash,
    pub(crate) ttl: Duration,
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) fingerprint: Option<Result<Fingerprint, FingerprintError>>,
}

impl<T, E> Terms<T, E> {
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        // An error was refused by `check`, before anything asks.
        self.fingerprint
            .as_ref()
            .and_then(|fingerprint| fingerprint.as_ref().ok().copied())
    }

    /// The recorded result, where nothing is in its way: the whole of a replay from a store in this process.
    pub(crate) fn read(&self, record: RecordRef<'_>) -> Option<Result<T, E>> {
        if record.conflicts_with(self.fingerprint()) {
            return None;
        }
        match (record.outcome?, &self.err) {
            (OutcomeRef::Ok(bytes), _) if record.codec == self.ok.codec => {
                (self.ok.decode)(bytes).ok().map(Ok)
            }
            (OutcomeRef::Err(bytes), Some(err)) if record.codec == err.codec => {
                (err.decode)(bytes).ok().map(Err)
            }
            _ => None,
        }
    }

    /// The recorded result, as the function returns it.
    pub(crate) fn replay(
        &self,
        label: impl Fn() -> Label,
        record: &Record,
    ) -> Result<Result<T, E>, Error> {
        let incompatible = |reason: String| Error::Incompatible {
            operation: label(),
            reason: reason.into(),
        };
        let readable = |codec: u32| {
            let known = record.codec == codec;
            known.then_some(()).ok_or_else(|| {
                incompatible(format!(
                    "it was written by codec {}, this function has codec {codec}",
                    record.codec
                ))
            })
        };
        let undecodable = |error: crate::CodecError| {
            let error = without_value(&error.to_string());
            incompatible(format!("its result does not decode: {error}"))
        };
        match &record.outcome {
            Some(Outcome::Ok(bytes)) => {
                readable(self.ok.codec)?;
                (self.ok.decode)(bytes).map(Ok).map_err(undecodable)
            }
            Some(Outcome::Err(bytes)) => {
                let Some(format) = &self.err else {
                    return Err(incompatible(
                        "it is a recorded `Err`; this function records none".to_owned(),
                    ));
                };
                readable(format.codec)?;
                (format.decode)(bytes).map(Err).map_err(undecodable)
            }
            Some(Outcome::NotRecorded(reason)) => Err(Error::NotRecorded {
                operation: label(),
                reason: String::from_utf8_lossy(reason).into(),
            }),
            None => Err(incompatible("it has no result".to_owned())),
        }
    }

    /// What an `Ok` means that stands for a passing failure: nothing happened, unless it is the author's word that is
    /// needed to say so.
    pub(crate) fn judge_transient(&self) -> OnErr {
        match (self.on_crash, self.on_err) {
            (_, Some(OnErr::Fail)) => OnErr::Fail,
            (_, Some(OnErr::Rerun)) | (OnCrash::Rerun, _) => OnErr::Rerun,
            (OnCrash::Fail, _) => OnErr::Fail,
        }
    }

    /// What an `Err` of the body means.
    pub(crate) fn judge_err(&self, error: &E) -> OnErr {
        let fallback = match (self.on_crash, &self.err) {
            (_, Some(_)) => OnErr::Record,
            (OnCrash::Fail, None) => OnErr::Fail,
            (OnCrash::Rerun, None) => OnErr::Rerun,
        };
        self.classify
            .map_or(self.on_err.unwrap_or(fallback), |classify| classify(error))
    }
}

/// serde's text of what it met instead of what it wanted, without the value that it met: results are as personal as keys.
fn without_value(text: &str) -> String {
    let met = text.find("invalid type: ").or(text.find("invalid value: "));
    let value = met.and_then(|met| Some(met + text[met..].find(['"', '`'])?));
    let wanted = text.rfind(", expected");
    match (value, wanted) {
        (Some(value), Some(wanted)) if value < wanted => {
            format!("{}…{}", &text[..value], &text[wanted..])
        }
        _ => text.to_owned(),
    }
}
