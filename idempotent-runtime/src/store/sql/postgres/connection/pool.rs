//! The connections of one runtime: opened as load asks, and the least busy one is taken.

use std::{sync::Arc, time::Duration};

use super::{Connector, session::Session};
use crate::{
    StoreError,
    store::{
        connection::{per_runtime, slot::ConnectionSlot},
        sql::postgres::notify::Listener,
    },
};

/// One runtime's connections.
pub(in crate::store::sql::postgres) struct Connections {
    slots: Vec<ConnectionSlot<Session>>,
    pub(in crate::store::sql::postgres) listener: Listener,
}

pub(in crate::store::sql::postgres) type Hub = per_runtime::Hub<Connections>;
pub(in crate::store::sql::postgres) type Hubs = per_runtime::Hubs<Connections>;

impl Connections {
    /// Up to `count` connections, none of them open yet.
    pub(in crate::store::sql::postgres) fn new(count: usize) -> Self {
        let slots = std::iter::repeat_with(ConnectionSlot::default);
        Self {
            slots: slots.take(count.max(1)).collect(),
            listener: Listener::default(),
        }
    }
}

/// The connection with the fewest statements under way. If all are busy, one more is opened for later callers; only where
/// there is none, it is waited for.
pub(in crate::store::sql::postgres) async fn least_busy(
    hub: &Hub,
    connector: &Arc<Connector>,
    patience: Option<Duration>,
) -> Result<Arc<Session>, StoreError> {
    let open = || {
        let connector = connector.clone();
        async move { connector.session().await }
    };
    let (mut best, mut vacant) = (None::<(usize, Arc<Session>)>, None);
    for slot in &hub.slots {
        let Some(session) = slot.current() else {
            vacant = vacant.or(Some(slot));
            continue;
        };
        match session.busy() {
            0 => return Ok(session),
            busy if best.as_ref().is_none_or(|(least, _)| busy < *least) => {
                best = Some((busy, session));
            }
            _ => {}
        }
    }
    match (best, vacant) {
        (Some((_, session)), vacant) => {
            if let Some(slot) = vacant {
                slot.kick(&hub.runtime, open);
            }
            Ok(session)
        }
        (None, _) => hub.slots[0].connection(&hub.runtime, patience, open).await,
    }
}
