//! A claim: one statement that inserts where there is no row, and shows the row otherwise.

use super::{
    PostgresStore,
    commands::{ROUNDS, Seen},
    parameter::Parameter::{Bytes, Text},
};
use crate::{
    StoreError,
    key::Key,
    store::{
        ClaimReply, ClaimRequest,
        sql::{
            command::{Command, Reply},
            table::row_key,
        },
    },
};

const DOING: &str = "a claim";

pub(super) async fn claim(
    store: &PostgresStore,
    key: &Key,
    request: &ClaimRequest,
) -> Result<ClaimReply, StoreError> {
    let key = row_key(key);
    // Without a prepared plan the whole statement is planned each time: a replay only reads.
    let seen = if store.inner.connector.is_pooled() {
        Some(store.look(&key, DOING).await?).filter(|seen| seen.row.is_some())
    } else {
        None
    };
    let seen = match seen {
        Some(seen) => seen,
        None => match insert_or_see(store, &key, request).await? {
            Answer::Granted(reply) => return Ok(reply),
            Answer::Seen(seen) => seen,
        },
    };
    let command = Command::Claim(request.clone());
    match store.carry_out(&key, &command, Some(seen), DOING).await? {
        Reply::Claim(reply) => Ok(reply),
        Reply::Settled(_) | Reply::Read(_) => Err(store.unexpected(DOING)),
    }
}

/// The answer to the statement of a claim.
enum Answer {
    Granted(ClaimReply),
    Seen(Seen),
}

/// Inserts the running record, or answers with the row that is there. An empty answer is none: a row was in the way that is
/// newer than what the statement saw. So it is asked again.
async fn insert_or_see(
    store: &PostgresStore,
    key: &str,
    request: &ClaimRequest,
) -> Result<Answer, StoreError> {
    let mut record = request.record();
    let bytes = record.encode();
    let parameters = || vec![Text(key.to_owned()), Bytes(bytes.clone())];
    for _ in 0..ROUNDS {
        let Some(seen) = store.ask(|all| &all.claim, &parameters, DOING).await? else {
            continue;
        };
        if seen.row.is_some() {
            return Ok(Answer::Seen(seen));
        }
        record.token = seen.now;
        return Ok(Answer::Granted(ClaimReply::Granted {
            record,
            takeover: false,
        }));
    }
    Err(store.contended(DOING))
}
