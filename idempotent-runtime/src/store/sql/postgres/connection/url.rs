//! What a URL says.

use std::time::Duration;

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::{StoreError, StoreErrorKind};

/// What URLs of this store begin with.
const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// Whether URLs of this scheme name a PostgreSQL server.
pub(crate) fn is_scheme(scheme: &str) -> bool {
    SCHEMES.contains(&scheme)
}

/// What a URL names.
pub(in crate::store::sql::postgres) struct Named {
    pub(in crate::store::sql::postgres) config: Config,
    /// Whether it says that there is a pooler.
    pub(in crate::store::sql::postgres) pooled: bool,
}

/// Reads a URL. The error shows nothing of it: there may be a password anywhere.
pub(in crate::store::sql::postgres) fn parse(url: &str) -> Result<Named, StoreError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !scheme.is_some_and(is_scheme) {
        return Err(unreadable(""));
    }
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut pooled = false;
    let mut passed = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair {
            "pooled=true" => pooled = true,
            "pooled=false" => {}
            "sslmode=verify-full" | "sslmode=verify-ca" => passed.push("sslmode=require"),
            _ if pair.starts_with("sslrootcert=")
                || pair.starts_with("sslcert=")
                || pair.starts_with("sslkey=") =>
            {
                return Err(unreadable(
                    "; certificates are named with `PostgresOptions::with_tls_root` and `with_tls_identity`",
                ));
            }
            _ => passed.push(pair),
        }
    }
    let address = if passed.is_empty() {
        address.to_owned()
    } else {
        format!("{address}?{}", passed.join("&"))
    };
    let mut config: Config = address.parse().map_err(|_| unreadable(""))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(unreadable("; it names no host"));
    }
    if cfg!(not(feature = "postgres-tls")) && config.get_ssl_mode() == SslMode::Require {
        return Err(StoreError::new(
            StoreErrorKind::Config,
            "this URL asks for TLS (`sslmode`): turn on the feature `postgres-tls` of idempotent-fn",
        ));
    }
    if !has_name(&config) {
        if config.get_ssl_mode() == SslMode::Require {
            return Err(unreadable("; TLS needs the host's name"));
        }
        config.ssl_mode(SslMode::Disable);
    }
    // Of several servers, the primary.
    if config.get_hosts().len() > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    // A connection that only listens must notice that its other end has gone.
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
    }
    if config.get_application_name().is_none() {
        config.application_name("idempotent-fn");
    }
    Ok(Named { config, pooled })
}

/// Whether there is a host whose certificate can be verified: TLS is not for unix sockets.
fn has_name(config: &Config) -> bool {
    let mut hosts = config.get_hosts().iter();
    hosts.any(|host| matches!(host, Host::Tcp(_)))
}

/// The server's name in messages: hosts, ports and database.
pub(in crate::store::sql::postgres) fn describe(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => format!("{host}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        }
    });
    let hosts: Vec<_> = hosts.collect();
    let hosts = if hosts.is_empty() {
        let addresses = config.get_hostaddrs().iter();
        addresses.map(ToString::to_string).collect::<Vec<_>>()
    } else {
        hosts
    };
    let hosts = hosts.join(",");
    match config.get_dbname() {
        Some(database) => format!("PostgreSQL at {hosts}/{database}"),
        None => format!("PostgreSQL at {hosts}"),
    }
}

fn unreadable(more: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Config,
        format!(
            "this is no URL of a PostgreSQL server; write it as `postgres://user:password@host:port/database?sslmode=require`, \
             with `%40` for `@`, `%3A` for `:`, `%2F` for `/` and `%25` for `%` in user and password{more}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_its_name_shows_no_user_and_no_password() {
        for (url, name) in [
            (
                "postgres://u:secret@db.internal:6000/shop",
                "PostgreSQL at db.internal:6000/shop",
            ),
            ("postgresql://localhost/", "PostgreSQL at localhost:5432"),
            (
                "postgres://u:secret@a:1,b:2/shop?connect_timeout=3",
                "PostgreSQL at a:1,b:2/shop",
            ),
            (
                "postgres://u:secret@%2Frun%2Fpg/shop",
                "PostgreSQL at /run/pg/shop",
            ),
            (
                "postgres:///shop?host=/run/pg",
                "PostgreSQL at /run/pg/shop",
            ),
        ] {
            let named = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(describe(&named.config), name);
            assert!(!named.pooled);
        }
        assert!(parse("postgres://h/d?pooled=true").expect("a URL").pooled);
        let several = parse("postgres://a,b/d").expect("a URL").config;
        assert_eq!(
            several.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_without_showing_it() {
        for url in [
            "postgres:secret",
            "mysql://u:secret@h/d",
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@h/d?secret=1",
            "postgres://u:secret@h/d?sslmode=secret",
            "postgres://u:secret@h/d?sslrootcert=secret.pem",
            "host=secret",
            "postgres://",
            "postgres://u:secret@%2Frun%2Fpg/shop?sslmode=require",
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url}: read"));
            assert_eq!(error.kind(), StoreErrorKind::Config, "{url}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
            assert!(error.to_string().contains("postgres://user"), "{error}");
        }
    }

    #[test]
    fn certificates_are_verified_whatever_sslmode_says() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let read = parse(&format!("postgres://h/d?sslmode={mode}"));
            if cfg!(feature = "postgres-tls") {
                let mode = read.expect("a URL").config.get_ssl_mode();
                assert_eq!(mode, SslMode::Require);
            } else {
                let error = read.err().expect("there is no TLS");
                assert!(error.to_string().contains("postgres-tls"), "{error}");
            }
        }
    }
}
