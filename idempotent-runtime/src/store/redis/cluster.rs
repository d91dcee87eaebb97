//! A cluster: where a command goes, and where it is sent on to.
//!
//! The library's own retries are off. They would send a command again whose answer was lost, and then report only the
//! last try: a refusal could hide that an earlier one was carried out. What the cluster answers definitely — that a slot
//! is elsewhere — is followed here.

use std::{sync::Arc, time::Duration};

use redis::{
    Cmd, ConnectionInfo, ErrorKind, ProtocolVersion, RedisError, RedisResult, ServerError,
    ServerErrorKind, Value,
    aio::{AsyncPushSender, ConnectionLike, SendError},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{
        MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo,
    },
};

use super::{
    check,
    clock::Clock,
    connect::Connector,
    failure::{self, Failure},
    limits::{self, Limits, Told},
    link::{Listen, Live, Watch, Wire},
    options::{RedisOptions, tcp},
    scripts,
};
use crate::{StoreError, StoreErrorKind};

/// How often a command is sent before the cluster's answer is the caller's.
const ROUNDS: u32 = 7;
/// The first pause between two rounds; it doubles.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) fn client(
    nodes: &[ConnectionInfo],
    options: &RedisOptions,
    pushes: Option<Arc<dyn AsyncPushSender>>,
) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
        .retries(0)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp())
        .connection_timeout(options.connection_timeout)
        .response_timeout(options.response_timeout)
        .overall_response_timeout(Some(options.response_timeout));
    #[cfg(feature = "redis-tls")]
    if let Some(certificates) = &options.tls {
        builder = builder.certs(certificates.clone());
    }
    if let Some(pushes) = pushes {
        builder = builder.push_sender(pushes);
    }
    builder.build()
}

pub(super) async fn dial(
    nodes: &[ConnectionInfo],
    connector: &Connector,
    listener: Option<Box<dyn Listen>>,
) -> Result<Live, StoreError> {
    let (watch, watched) = Watch::new(listener);
    let pushes = Arc::new(move |push| {
        watch.push(push, false);
        Ok::<(), SendError>(())
    });
    let explain = |error| failure::connecting(error, &connector.place);
    let connecting = async {
        client(nodes, &connector.options, Some(pushes))?
            .get_async_connection()
            .await
    };
    let patience = connector.options.connection_timeout * 2;
    let connection = tokio::time::timeout(patience, connecting).await;
    let connection = connection.map_err(|_| {
        StoreError::new(
            StoreErrorKind::NotSent,
            format!("{} did not answer in time", connector.place),
        )
    })?;
    Ok(Live::new(
        Wire::Cluster(connection.map_err(explain)?),
        &watched,
    ))
}

/// What the primaries are, what time it is, and the scripts.
pub(super) async fn prepare(
    mut connection: ClusterConnection,
    connector: &Connector,
    clock: &Clock,
) -> Result<(), StoreError> {
    let explain = |error| failure::connecting(error, &connector.place);
    let server = ask_all(&mut connection, "server").await.map_err(explain)?;
    let memory = ask_all(&mut connection, "memory").await.map_err(explain)?;
    for (server, memory) in server.iter().zip(&memory) {
        check::check(
            server.as_deref(),
            memory.as_deref(),
            connector.options.allow_eviction,
        )?;
    }
    for script in scripts::all() {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(&script.code);
        let everywhere = (
            MultipleNodeRoutingInfo::AllMasters,
            Some(ResponsePolicy::AllSucceeded),
        );
        // A user who may not load scripts brings each along with its first use.
        let _ = connection
            .route_command(load, RoutingInfo::MultiNode(everywhere))
            .await;
    }
    connector.limits.learn(limits(&mut connection).await);
    super::trial::cluster::run(&mut connection, &connector.place).await?;
    let anybody = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
    let time = connection
        .route_command(redis::cmd("TIME"), anybody)
        .await
        .map_err(explain)?;
    connector.learn(time, clock)
}

/// What every primary takes; none where one of them would not say.
async fn limits(connection: &mut ClusterConnection) -> Option<Told> {
    let everywhere = (MultipleNodeRoutingInfo::AllMasters, None);
    let answer = connection
        .route_command(Limits::question(), RoutingInfo::MultiNode(everywhere))
        .await;
    let Ok(Value::Map(answers)) = answer else {
        return None;
    };
    let told = answers.iter().map(|(_, answer)| limits::told(answer));
    told.reduce(|one, other| Some(one?.and(other?)))?
}

/// One section of every primary's `INFO`.
async fn ask_all(
    connection: &mut ClusterConnection,
    section: &str,
) -> RedisResult<Vec<Option<String>>> {
    let mut info = redis::cmd("INFO");
    info.arg(section);
    let everywhere = (MultipleNodeRoutingInfo::AllMasters, None);
    match connection
        .route_command(info, RoutingInfo::MultiNode(everywhere))
        .await?
    {
        Value::Map(answers) => Ok(answers
            .into_iter()
            .map(|(_, answer)| check::info(answer))
            .collect()),
        other => Ok(vec![check::info(other)]),
    }
}

/// Sends a command to the node of its key's slot, and on to where that node says the slot is.
pub(super) async fn send(
    mut connection: ClusterConnection,
    command: &Cmd,
) -> Result<Value, Failure> {
    let mut pause = PAUSE;
    let mut asked = None;
    let mut round = 0;
    loop {
        let result = match asked.take() {
            None => connection.req_packed_command(command).await,
            Some(node) => ask(&mut connection, command, node).await,
        };
        round += 1;
        match result.map_err(definite) {
            Err(Failure::Refused(error)) if round < ROUNDS => {
                asked = (error.kind() == Some(ServerErrorKind::Ask))
                    .then(|| redirected(&error))
                    .flatten();
            }
            result => return result,
        }
        // The library reads its map of the slots anew before it sends again. Should that not help, it was too early.
        if asked.is_none() && round > 1 {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// Whether an error is this command's own answer. Any other may stand for a loss elsewhere in the cluster, while this
/// command was under way.
fn definite(error: RedisError) -> Failure {
    use ServerErrorKind::{Ask, Moved, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Server(Moved | Ask | TryAgain | ReadOnly) => error.into(),
        _ => Failure::Unanswered(error),
    }
}

/// Sends a command to a node that is about to get the key's slot.
async fn ask(
    connection: &mut ClusterConnection,
    command: &Cmd,
    node: SingleNodeRoutingInfo,
) -> RedisResult<Value> {
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(command.clone());
    let answers = connection.route_pipeline(both, 1, 1, node).await?;
    Ok(answers.into_iter().next().unwrap_or(Value::Nil))
}

/// `ASK 3999 127.0.0.1:6381`
fn redirected(error: &ServerError) -> Option<SingleNodeRoutingInfo> {
    let (host, port) = error
        .details()?
        .split_whitespace()
        .nth(1)?
        .rsplit_once(':')?;
    Some(SingleNodeRoutingInfo::ByAddress {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}
