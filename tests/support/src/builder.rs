//! The configuration of a `redis-server`.

use std::fmt::Display;

use crate::redis::RedisServer;

// `RedisServer::cli` keeps its rights whatever a test does to the default user.
pub(crate) const CONTROL_USER: &str = "test-support";

/// What a [`RedisServer`] is started with.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    directives: Vec<(String, String)>,
    pub(crate) password: Option<String>,
    pub(crate) transport: Transport,
    pub(crate) role: Role,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Tls,
    Unix,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    Single,
    ClusterNode,
    Sentinel,
}

impl Builder {
    /// A directive of `redis.conf`, as `("maxmemory", "2mb")`; several values are separated by
    /// spaces.
    pub fn arg(mut self, directive: &str, value: impl Display) -> Self {
        self.directives
            .push((directive.to_owned(), value.to_string()));
        self
    }

    /// A user and its rules, as `"app on >secret ~* +get"`.
    pub fn acl(self, user: &str) -> Self {
        self.arg("user", user)
    }

    /// A password for the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.arg("requirepass", password)
    }

    /// TLS only, with a certificate authority made for this server.
    pub fn tls(mut self) -> Self {
        self.transport = Transport::Tls;
        self
    }

    /// No TCP at all.
    pub fn unix_socket(mut self) -> Self {
        self.transport = Transport::Unix;
        self
    }

    /// Every write is in the append-only file before it is acknowledged: a restart forgets nothing.
    pub fn appendonly(self) -> Self {
        self.arg("appendonly", "yes").arg("appendfsync", "always")
    }

    pub(crate) fn cluster(mut self) -> Self {
        self.role = Role::ClusterNode;
        self
    }

    pub(crate) fn sentinel(mut self) -> Self {
        self.role = Role::Sentinel;
        self
    }

    /// Starts the server and waits until it answers.
    #[must_use]
    pub fn start(self) -> RedisServer {
        // Some program without a reservation may take the port between our look and the server's
        // own bind.
        let server = (0..10).find_map(|_| RedisServer::try_start(&self));
        server.expect("ten ports in turn were taken by other programs")
    }

    pub(crate) fn config(&self, server: &RedisServer) -> String {
        let port = server.port();
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "protected-mode no".to_owned(),
            format!("dir {}", server.folder().display()),
            format!("unixsocket {}", server.socket().display()),
            format!("user {CONTROL_USER} on nopass ~* &* +@all"),
        ];
        if self.role != Role::Sentinel {
            lines.extend([
                "save \"\"".to_owned(),
                "repl-diskless-sync-delay 0".to_owned(),
            ]);
        }
        let plain_port = if self.transport == Transport::Tcp {
            port
        } else {
            0
        };
        lines.push(format!("port {plain_port}"));
        if let Some(files) = &server.certificates {
            lines.extend([
                format!("tls-port {port}"),
                format!("tls-cert-file {}", files.certificate_path().display()),
                format!("tls-key-file {}", files.key_path().display()),
                format!("tls-ca-cert-file {}", files.ca_path().display()),
                "tls-auth-clients no".to_owned(),
            ]);
        }
        if let Some(bus) = &server.bus {
            lines.extend([
                "cluster-enabled yes".to_owned(),
                format!("cluster-port {}", bus.number()),
            ]);
        }
        for (directive, value) in &self.directives {
            let value = if value.is_empty() { "\"\"" } else { value };
            lines.push(format!("{directive} {value}"));
        }
        lines.join("\n") + "\n"
    }
}
