//! What a returned result means for the record in the caller's transaction.

use super::execution::Execution;
use crate::{
    OnCrash, OnErr,
    call::claim::not_recorded,
    codec::redact::shape_of,
    context::RunningBody,
    error::noting_own,
    events,
    operation::result_policy::ResultPolicy,
    record::{DONE_HEADER, Record, RecordedBytes, State, clamp_ttl, too_large},
    store::{DEFAULT_MAX_RESULT, protocol::lost},
};

/// How the attempt ends.
pub(super) enum End {
    /// With this record.
    Write(Record),
    /// As if it had not been.
    Release,
}

/// Decides how the attempt ends. Asking the result runs the user's code.
pub(super) fn conclude<T, E>(
    policy: &ResultPolicy<T, E>,
    execution: &Execution,
    record: &Record,
    result: &Result<T, E>,
) -> End {
    // Whatever crashes is rolled back: nobody has to say what it means.
    let verdict = match result {
        // Also a response that elsewhere counts as an `Err` (a 503): to its caller it is an `Ok`, so
        // the caller commits what the body has written.
        Ok(_) => OnErr::Record,
        Err(error) => policy.judge_err(OnCrash::Rerun, error),
    };
    match verdict {
        OnErr::Rerun => return End::Release,
        OnErr::Fail => return End::Write(lost(record)),
        OnErr::Record => {}
    }
    if result.is_err()
        && let Some(refused) = execution.refusals().first()
    {
        return not_final(execution, refused);
    }
    let mut target = record.clone();
    if let Some(ttl) = policy.ttl {
        target.ttl = clamp_ttl(ttl(result));
    }
    let mut bytes = Vec::new();
    let (encoded, carries_ours) = noting_own(|| match (result, &policy.err) {
        (Ok(value), _) => (policy.ok.encode)(value, &mut bytes).map(|()| policy.ok.codec),
        (Err(error), Some(format)) => (format.encode)(error, &mut bytes).map(|()| format.codec),
        (Err(_), None) => Ok(0),
    });
    if carries_ours && result.is_err() {
        return not_final(execution, "another operation");
    }
    let reason = match encoded {
        Ok(codec) if DONE_HEADER + bytes.len() <= DEFAULT_MAX_RESULT => {
            target.state = State::Done;
            target.codec = codec;
            target.outcome = Some(match result {
                Ok(_) => RecordedBytes::Ok(bytes.into()),
                Err(_) => RecordedBytes::Err(bytes.into()),
            });
            return End::Write(target);
        }
        Ok(_) => too_large(bytes.len(), DEFAULT_MAX_RESULT),
        Err(error) if error.is_withheld() => {
            let reason = shape_of(&error);
            events::withheld(execution, &reason);
            return End::Write(not_recorded(&target, &reason));
        }
        Err(error) => format!("it cannot be encoded: {}", shape_of(&error)),
    };
    events::not_recordable(execution, &reason);
    End::Write(not_recorded(&target, &reason))
}

/// The body's `Err` comes of a call that this library refused for now, so a retry runs again.
fn not_final(execution: &Execution, refused: &'static str) -> End {
    events::not_final(execution, refused);
    End::Release
}

#[cfg(all(test, feature = "axum", feature = "tx-rusqlite"))]
mod tests {
    use axum::{Json, http::StatusCode};

    use crate::{
        Error,
        operation::operation,
        tx::{Begun, SQLITE_SCHEMA},
    };

    /// Its caller sees an `Ok`, and commits what the body has written: a retry must not write it again.
    #[tokio::test]
    async fn a_response_that_elsewhere_counts_as_an_error_is_recorded() {
        type Answer = Result<(StatusCode, Json<u64>), Error>;
        let mut database = rusqlite::Connection::open_in_memory().expect("a database");
        database.execute_batch(SQLITE_SCHEMA).expect("the table");
        let mut ran = 0;
        for _ in 0..2 {
            let mut tx = database.transaction().expect("a transaction");
            let call = operation::<Answer, _>("tx.transient", &[&1]);
            let answer = match call.begin(&mut tx).await {
                Begun::Answered(answer) => answer,
                Begun::Running(running) => {
                    ran += 1;
                    let body = async { Ok((StatusCode::SERVICE_UNAVAILABLE, Json(7))) };
                    let result = running.body(body).await;
                    running.finish(&mut tx, result).await
                }
            };
            let (status, Json(number)) = answer.expect("a response");
            assert_eq!((status.as_u16(), number), (503, 7));
            tx.commit().expect("it is committed");
        }
        assert_eq!(ran, 1);
    }
}
