//! Finds the primary that sentinels name.

use std::sync::Arc;

use redis::Value;
use tokio::task::JoinSet;

use super::{Connector, target::Server, transport::Address};
use crate::{StoreError, StoreErrorKind};

/// Asks all sentinels at once for the primary called `master`. The named server must confirm that
/// it is a primary: a sentinel that was cut off still names the previous one.
pub(crate) async fn find(
    connector: &Arc<Connector>,
    sentinels: &[Server],
    master: &str,
) -> Result<Server, StoreError> {
    let mut asked = JoinSet::new();
    for sentinel in sentinels {
        let (connector, sentinel) = (connector.clone(), sentinel.clone());
        let master = master.to_owned();
        asked.spawn(async move { ask(&connector, &sentinel, &master).await });
    }
    let mut refused = Vec::new();
    let mut failure = None;
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(Some(primary))) if refused.contains(&primary.address) => {}
            Ok(Ok(Some(primary))) => match confirm(connector, &primary).await {
                Ok(()) => return Ok(primary),
                Err(error) => {
                    refused.push(primary.address);
                    failure = Some(error);
                }
            },
            Ok(Ok(None)) => {
                failure
                    .get_or_insert_with(|| not_sent(connector, "the sentinels know no such name"));
            }
            Ok(Err(error)) => {
                failure.get_or_insert(error);
            }
            Err(_) => {}
        }
    }
    Err(failure.unwrap_or_else(|| not_sent(connector, "no sentinel answered")))
}

/// One sentinel's answer; `None` if it does not know the name.
async fn ask(
    connector: &Arc<Connector>,
    sentinel: &Server,
    master: &str,
) -> Result<Option<Server>, StoreError> {
    let itself = Server {
        login: connector.options.sentinel_login.clone(),
        database: 0,
        ..sentinel.clone()
    };
    let connection = connector.dial_sentinel(&itself).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer = connection.send(&command).await;
    let answer = answer.map_err(|failure| {
        let error = failure.explain("the name of the primary", &connector.server_name);
        StoreError::new(StoreErrorKind::NotSent, error.to_string()).with_source(error)
    })?;
    if answer == Value::Nil {
        return Ok(None);
    }
    let named = redis::from_redis_value::<(String, u16)>(answer);
    let (host, port) = named.map_err(|_| not_sent(connector, "a sentinel gave an odd answer"))?;
    Ok(Some(Server {
        address: Address::Tcp(host, port),
        ..sentinel.clone()
    }))
}

/// Checks that a server is a primary. A server that does not let this user ask is trusted.
async fn confirm(connector: &Arc<Connector>, server: &Server) -> Result<(), StoreError> {
    let connection = connector.dial_one(server, None).await?;
    match connection.send(&redis::cmd("ROLE")).await {
        Ok(Value::Array(role)) => match role
            .into_iter()
            .next()
            .and_then(crate::store::redis::scripts::text)
        {
            Some(role) if role == b"master" => Ok(()),
            _ => Err(not_sent(
                connector,
                "the server that the sentinels name is no primary (yet)",
            )),
        },
        Err(failure) if failure.code() == Some("NOPERM") => Ok(()),
        Ok(_) => Ok(()),
        Err(failure) => {
            let error = failure.explain("its role", &connector.server_name);
            Err(StoreError::new(StoreErrorKind::NotSent, error.to_string()).with_source(error))
        }
    }
}

fn not_sent(connector: &Connector, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::NotSent,
        format!("cannot connect to {}: {what}", connector.server_name),
    )
}
