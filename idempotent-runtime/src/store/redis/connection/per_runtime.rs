//! The connections of one tokio runtime to Redis.

use super::liveness::ConnectionSlot;
use crate::store::{connection::per_runtime, redis::notify::Subscriber};

#[derive(Default)]
pub(crate) struct Connections {
    pub(crate) commands: ConnectionSlot,
    pub(crate) subscriber: Subscriber,
    #[cfg(feature = "redis-cluster")]
    pub(crate) cluster: super::cluster::Cluster,
}

pub(crate) type Hub = per_runtime::Hub<Connections>;
pub(crate) type Hubs = per_runtime::Hubs<Connections>;
