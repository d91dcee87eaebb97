//! The commands on a key's row, and what the protocol decides about each.

use std::time::Duration;

use super::table::Row;
use crate::{
    record::Record,
    store::{
        ClaimReply, ClaimRequest, Settled,
        protocol::{self, Step},
    },
};

/// A command on a key's row.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Claim(ClaimRequest),
    Renew(Record),
    Finish(Record),
    Overrule {
        seen: Option<Record>,
        replacement: Record,
    },
    Read,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Claim(ClaimReply),
    Settled(Settled),
    Read(Option<(Record, Duration)>),
}

impl Command {
    /// What to write in place of this row, and what to answer. `now` is in µs since 1970.
    pub(super) fn decide(&self, row: Option<&Row>, now: u64) -> Step<Reply> {
        let current = row.and_then(|row| row.current(now));
        match self {
            Self::Claim(request) => reply(claim(row, request, now), Reply::Claim),
            Self::Renew(owned) => reply(protocol::renew(current, owned, now), Reply::Settled),
            Self::Finish(target) => reply(protocol::finish(current, target, now), Reply::Settled),
            Self::Overrule { seen, replacement } => reply(
                protocol::overrule(current, seen.as_ref(), replacement, now),
                Reply::Settled,
            ),
            Self::Read => reply(read(row, now), Reply::Read),
        }
    }

    /// Whether waiters are woken when it is carried out.
    #[cfg(feature = "sqlite-system")]
    pub(super) fn wakes(&self) -> bool {
        matches!(self, Self::Finish(_) | Self::Overrule { .. })
    }
}

fn reply<R>(step: Step<R>, wrap: fn(R) -> Reply) -> Step<Reply> {
    Step {
        write: step.write,
        reply: wrap(step.reply),
    }
}

/// Decides a claim. If the row's time is over and it is not deleted yet, the new token is larger
/// than the row's, even if the clock went back.
pub(crate) fn claim(row: Option<&Row>, request: &ClaimRequest, now: u64) -> Step<ClaimReply> {
    let current = row.and_then(|row| row.current(now));
    if let (Some(row), None) = (row, current) {
        let write = protocol::first_grant(request, row.record.token, now);
        let record = write.record.clone();
        return Step {
            write: Some(write),
            reply: ClaimReply::Granted {
                record,
                takeover: false,
            },
        };
    }
    let ahead = row.map_or(Duration::ZERO, |row| row.ahead(now));
    protocol::redated(protocol::claim(current, request, now), ahead, now)
}

/// Decides a read.
pub(super) fn read(row: Option<&Row>, now: u64) -> Step<Option<(Record, Duration)>> {
    protocol::read(row.and_then(|row| row.current(now)), now)
}
