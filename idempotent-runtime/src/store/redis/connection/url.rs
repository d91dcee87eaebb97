//! Parses a URL: one server, a cluster, or a primary that sentinels know.
//!
//! An error says what to write, and shows nothing of the URL, which may contain a password
//! anywhere.

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::{
    credentials::RedisCredentials,
    target::{Server, Target},
    transport::Address,
};
use crate::{StoreError, StoreErrorKind};

/// The default port of sentinels.
const SENTINEL_PORT: u16 = 26_379;

/// A parsed URL.
pub(crate) struct Named {
    pub(crate) target: Target,
    /// The login for the sentinels themselves.
    pub(crate) sentinel_login: Option<RedisCredentials>,
}

/// Whether a Redis store's URL may have this scheme.
pub(crate) fn is_scheme(scheme: &str) -> bool {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    match (base, kind) {
        ("redis" | "rediss" | "valkey" | "valkeys", "" | "cluster" | "sentinel") => true,
        (base, kind) => matches!((base, kind), ("redis" | "valkey", "unix") | ("unix", "")),
    }
}

pub(crate) fn parse(url: &str) -> Result<Named, StoreError> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let target = match scheme.split_once('+') {
        Some((base, "cluster")) => cluster(base, rest)?,
        Some((base, "sentinel")) => return sentinel(base, rest),
        _ => Target::One(server(url)?),
    };
    Ok(Named {
        target,
        sentinel_login: None,
    })
}

/// One server.
pub(crate) fn server(url: &str) -> Result<Server, StoreError> {
    let (scheme, rest) = checked_text(url)?;
    let tls = matches!(scheme, "rediss" | "valkeys");
    if tls && cfg!(not(feature = "redis-tls")) {
        return Err(config(format!(
            "a `{scheme}://` URL needs the feature `redis-tls`"
        )));
    }
    if tls && rest.contains('#') {
        return Err(config(
            "a `rediss://` URL takes no `#…` at its end: certificates are always checked; to trust one of your own, name \
             its authority with `RedisOptions::with_tls_root`",
        ));
    }
    check_parameters(scheme, rest)?;
    // redis-rs may be built without TLS, so it parses a plain URL, and our own TLS is added.
    let plain = tls.then(|| format!("redis://{rest}"));
    let info = plain.as_deref().unwrap_or(url).into_connection_info();
    // redis-rs' text says what is wrong, and shows nothing of the URL.
    let info = info.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split(" - ").next().unwrap_or_default();
        config(format!(
            "the Redis URL is not valid ({reason}); it should look like redis://host:6379/0"
        ))
    })?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        _ => return Err(config("the Redis URL names no host and no path")),
    };
    let redis = info.redis_settings();
    Ok(Server {
        address,
        tls,
        database: redis.db(),
        login: RedisCredentials::of(redis.username(), redis.password()),
    })
}

/// Splits a URL into its scheme and the rest, and refuses what redis-rs would read otherwise than
/// we do.
fn checked_text(url: &str) -> Result<(&str, &str), StoreError> {
    // Without `//` it takes `unix:/path` too, and a `://` may stand further behind in one.
    let parts = url.split_once("://");
    let Some((scheme, rest)) = parts.filter(|(scheme, _)| is_server_scheme(scheme)) else {
        return Err(config(
            "the Redis URL does not begin with `redis://`, `rediss://`, `valkey://`, `valkeys://`, `unix://`, `redis+unix://` \
             or `valkey+unix://`; it should look like redis://host:6379/0",
        ));
    };
    // It leaves these out, wherever they stand, also in a password or a scheme.
    if url.contains(char::is_control) || url.trim() != url {
        return Err(config(
            "the Redis URL has a control character, or a blank at one end; remove it, or in user, password and parameters \
             write `%0A` for a line's end and `%20` for a blank",
        ));
    }
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    if is_unix_socket(scheme) && path.contains('@') {
        return Err(config(
            "the path of a unix socket has an `@`; write `%40` for it, and user and password as parameters: \
             redis+unix:///path/to/redis.sock?user=…&pass=…",
        ));
    }
    Ok((scheme, rest))
}

fn is_server_scheme(scheme: &str) -> bool {
    matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys") || is_unix_socket(scheme)
}

fn is_unix_socket(scheme: &str) -> bool {
    matches!(scheme, "unix" | "redis+unix" | "valkey+unix")
}

/// Refuses parameters that redis-rs would ignore: a store in the wrong database has none of the
/// records.
fn check_parameters(scheme: &str, rest: &str) -> Result<(), StoreError> {
    let (known, shape): (&[&str], _) = if is_unix_socket(scheme) {
        (
            &["db", "user", "pass", "protocol"],
            "a unix socket's URL takes the parameters `db`, `user`, `pass` and `protocol`, as in \
             redis+unix:///path/to/redis.sock?db=6&user=…&pass=…",
        )
    } else {
        (
            &["protocol"],
            "a Redis URL takes the parameter `protocol` only: the database is its path, and user and password stand before \
             the host, as in redis://user:password@host:6379/6",
        )
    };
    let escapes = "in user, password and parameters write `%23` for `#`, `%26` for `&`, `%3D` for `=` and `%3F` for `?`";
    if rest.contains('#') {
        return Err(config(format!("the Redis URL has a `#`; {escapes}")));
    }
    let Some((_, query)) = rest.split_once('?') else {
        return Ok(());
    };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Neither is shown: an unknown name may be part of a password.
        let name = decoded(name).filter(|name| known.contains(&name.as_str()));
        let Some(name) = name else {
            return Err(config(format!(
                "the Redis URL has a parameter that it does not take; {shape}; {escapes}"
            )));
        };
        if name == "protocol" && !matches!(value, "3" | "resp3") {
            return Err(config(
                "the Redis URL's `protocol` can only be `resp3`, which the store speaks anyway; leave it out",
            ));
        }
        if seen.contains(&name) {
            return Err(config(format!(
                "the Redis URL has a parameter twice; {shape}; {escapes}"
            )));
        }
        seen.push(name);
    }
    Ok(())
}

fn cluster(base: &str, rest: &str) -> Result<Target, StoreError> {
    let parts = Parts::of(rest)?;
    if !matches!(parts.path, "" | "0") || !parts.query.is_empty() {
        return Err(config(
            "a Redis Cluster has database 0 and no options; its URL should look like \
             redis+cluster://user:password@host1:6379,host2,host3/",
        ));
    }
    Target::cluster(parts.servers(base, None)?)
}

fn sentinel(base: &str, rest: &str) -> Result<Named, StoreError> {
    let shape = "a Sentinel URL should look like \
                 redis+sentinel://user:password@host1:26379,host2,host3/primary-name?db=0&sentinel_user=…&sentinel_password=…";
    let parts = Parts::of(rest)?;
    let master = decoded(parts.path).filter(|name| !name.is_empty() && !name.contains('/'));
    let master =
        master.ok_or_else(|| config(format!("the name of the primary is missing; {shape}")))?;
    let mut servers = parts.servers(base, Some(SENTINEL_PORT))?;
    let (mut user, mut password) = (None, None);
    let mut seen = Vec::new();
    for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value =
            decoded(value).ok_or_else(|| config(format!("an option is not UTF-8; {shape}")))?;
        if seen.contains(&name) {
            return Err(config(format!("an option is there twice; {shape}")));
        }
        seen.push(name);
        match name {
            "db" => {
                let number = value.parse().ok().filter(|number| *number >= 0);
                let number =
                    number.ok_or_else(|| config(format!("`db` is not a number; {shape}")))?;
                for server in &mut servers {
                    server.database = number;
                }
            }
            "sentinel_user" => user = Some(value),
            "sentinel_password" => password = Some(value),
            _ => {
                return Err(config(format!(
                    "the options are `db`, `sentinel_user` and `sentinel_password`; {shape}"
                )));
            }
        }
    }
    Ok(Named {
        target: Target::sentinel(servers, &master)?,
        sentinel_login: RedisCredentials::of(user.as_deref(), password.as_deref()),
    })
}

/// The parts of a URL with several hosts, after its scheme.
struct Parts<'a> {
    login: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, StoreError> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        // A password with an unescaped `@` must not be taken for a host or a primary's name.
        if [path, query].iter().any(|part| part.contains('@'))
            || query.contains('?')
            || rest.contains('#')
            || query.contains('#')
        {
            return Err(config(
                "the Redis URL has a `#`, or an `@` or `?` behind its hosts; in user, password and options write `%23` for \
                 `#`, `%2F` for `/`, `%3F` for `?` and `%40` for `@`",
            ));
        }
        Ok(Self {
            login,
            hosts,
            path: path.trim_end_matches('/'),
            query,
        })
    }

    fn servers(&self, base: &str, port: Option<u16>) -> Result<Vec<Server>, StoreError> {
        if !matches!(base, "redis" | "rediss" | "valkey" | "valkeys") {
            return Err(config(
                "the scheme before `+cluster` or `+sentinel` is redis, rediss, valkey or valkeys",
            ));
        }
        let login = self
            .login
            .map(|login| format!("{login}@"))
            .unwrap_or_default();
        let one = |host: &str| {
            // After the brackets of an IPv6 address.
            let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
            let port = port.filter(|_| !has_port).map(|port| format!(":{port}"));
            let port = port.unwrap_or_default();
            server(&format!("{base}://{login}{}{port}/", host.trim()))
        };
        self.hosts.split(',').map(one).collect()
    }
}

/// Decodes percent-escapes; `None` if the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|code| str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        if let Some(byte) = code.filter(|_| *first == b'%') {
            bytes.push(byte);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

pub(crate) fn config(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Config, message.into())
}
