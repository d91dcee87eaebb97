//! The right to run, or the recorded result, on the caller's connection.
//!
//! insert → there is none: run | a record: decide → replay | run in its place | refuse

use std::time::Duration;

use super::{
    Failure, TxConnection,
    error::{before, is_taken},
    execution::Execution,
    session::{Existing, Found, Session},
};
use crate::{
    Error, StoreError, StoreErrorKind, events,
    record::{Record, State},
    store::{
        ClaimReply, ClaimRequest,
        protocol::{Step, next_token},
        sql::command,
    },
};

/// How often it is looked again at a record that others change meanwhile.
const TRIES: u32 = 32;

/// A record that this transaction has written, and that nobody else sees.
pub(super) struct Granted {
    pub(super) record: Record,
    /// Its bytes in the table.
    pub(super) written: Vec<u8>,
    /// Whether there was no record before.
    pub(super) is_first: bool,
    /// The transaction's number, where it has one.
    pub(super) transaction: Option<i64>,
}

pub(super) enum Acquired {
    Run(Granted),
    Replay(Record),
}

pub(super) async fn acquire<C: TxConnection + ?Sized>(
    session: &mut Session<'_, C>,
    execution: &Execution,
    request: &ClaimRequest,
    wait: Duration,
) -> Result<Acquired, Error> {
    let in_flight =
        |lease_left| Error::in_flight(execution.operation_id(), Duration::ZERO, lease_left);
    let dialect = session.dialect();
    let failed = |failure: Failure| {
        if is_taken(&failure, dialect) {
            return Error::in_flight(execution.operation_id(), wait, Duration::ZERO);
        }
        before(execution.operation_id(), failure, dialect)
    };
    for _ in 0..TRIES {
        let first = request.record();
        let existing = match session.insert(&first, wait).await.map_err(failed)? {
            Found::Free { now, transaction } => {
                return Ok(Acquired::Run(Granted {
                    written: first.encode(),
                    record: first.with_token(next_token(0, now)),
                    is_first: true,
                    transaction,
                }));
            }
            Found::Taken => return Err(in_flight(Duration::ZERO)),
            Found::Row(existing) => existing,
            Found::Unseen => match session.read().await.map_err(failed)? {
                Some(existing) => existing,
                // It is gone again: that is no permission, so ask again.
                None => continue,
            },
        };
        let record = match decide(&existing, execution, request)? {
            Decision::Replay(record) => return Ok(Acquired::Replay(record)),
            Decision::Run { .. } if existing.is_taken => return Err(in_flight(Duration::ZERO)),
            Decision::Run { record, takeover } => {
                if takeover {
                    events::taken_over(execution, &record);
                }
                record
            }
        };
        let swapped = session.swap(&record, &existing, wait).await;
        if let Some(transaction) = swapped.map_err(failed)? {
            return Ok(Acquired::Run(Granted {
                written: record.encode(),
                record,
                is_first: false,
                transaction,
            }));
        }
    }
    Err(in_flight(Duration::ZERO))
}

enum Decision {
    Replay(Record),
    Run { record: Record, takeover: bool },
}

/// What a record that is there means: the protocol's decision about a claim.
fn decide(
    existing: &Existing,
    execution: &Execution,
    request: &ClaimRequest,
) -> Result<Decision, Error> {
    let operation = || execution.operation_id();
    let row = existing
        .row()
        .map_err(|error| Error::store(operation(), error))?;
    let Step { reply, .. } = command::claim(Some(&row), request, existing.now);
    let (record, lease_left) = match reply {
        ClaimReply::Granted { record, takeover } => return Ok(Decision::Run { record, takeover }),
        ClaimReply::Held { record, lease_left } => (record, lease_left),
    };
    if !record.is_sound(&execution.key) {
        let reason = "it is damaged, or was recorded for another key: its check does not fit; remove it by hand once it is \
                      known what happened";
        let error = StoreError::new(StoreErrorKind::Incompatible, reason);
        return Err(Error::store(operation(), error));
    }
    if record.conflicts_with(request.fingerprint) {
        return Err(Error::KeyReused {
            operation: operation(),
        });
    }
    match record.state {
        State::Done => Ok(Decision::Replay(record)),
        // An owner under `fail` whose lease has lapsed is shown as lost. It is left as it is: a claim that is no part of a
        // transaction writes that down.
        State::Lost => Err(Error::Indeterminate {
            operation: operation(),
        }),
        State::Running | State::Failed => {
            Err(Error::in_flight(operation(), Duration::ZERO, lease_left))
        }
    }
}
