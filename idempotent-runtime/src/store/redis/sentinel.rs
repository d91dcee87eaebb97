//! The primary, as sentinels name it.

use redis::{
    ConnectionAddr, ConnectionInfo, ProtocolVersion, RedisResult, TlsMode,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use super::options::{RedisOptions, tcp};

/// Asks the sentinels for the primary called `master`. Whoever they name is asked whether it is one.
///
/// The client that asks is made anew each time: its connections belong to a runtime.
pub(super) async fn find(
    sentinels: &[ConnectionInfo],
    master: &str,
    options: &RedisOptions,
) -> RedisResult<ConnectionInfo> {
    let addresses = sentinels.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_protocol(ProtocolVersion::RESP3)
        .set_client_to_redis_tcp_settings(tcp());
    if let Some((user, password)) = &options.sentinel_user {
        builder = builder.set_client_to_sentinel_password(password);
        if let Some(user) = user {
            builder = builder.set_client_to_sentinel_username(user);
        }
    }
    if let Some(info) = sentinels.first() {
        let redis = info.redis_settings();
        builder = builder.set_client_to_redis_db(redis.db());
        if let Some(user) = redis.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = redis.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let ConnectionAddr::TcpTls { insecure, .. } = info.addr() {
            let mode = if *insecure {
                TlsMode::Insecure
            } else {
                TlsMode::Secure
            };
            builder = builder.set_client_to_redis_tls_mode(mode);
            #[cfg(feature = "redis-tls")]
            if let Some(certificates) = &options.tls {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
            }
        }
    }
    let client = builder.build()?.async_get_client().await?;
    Ok(client.get_connection_info().clone())
}
