//! User and password of a connection.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc};

/// User and password for a Redis server.
#[cfg(feature = "redis")]
#[derive(Clone, PartialEq, Eq)]
pub struct RedisCredentials {
    user: Option<String>,
    password: String,
}

impl RedisCredentials {
    /// An ACL user and its password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: Some(user.into()),
            password: password.into(),
        }
    }

    /// The default user's password.
    pub fn password(password: impl Into<String>) -> Self {
        Self {
            user: None,
            password: password.into(),
        }
    }

    pub(crate) fn of(user: Option<&str>, password: Option<&str>) -> Option<Self> {
        if user.is_none() && password.is_none() {
            return None;
        }
        Some(Self {
            user: user.map(str::to_owned),
            password: password.unwrap_or_default().to_owned(),
        })
    }

    pub(crate) fn apply(&self, settings: redis::RedisConnectionInfo) -> redis::RedisConnectionInfo {
        let settings = settings.set_password(&self.password);
        match &self.user {
            Some(user) => settings.set_username(user),
            None => settings,
        }
    }
}

/// Shows neither user nor password.
impl fmt::Debug for RedisCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCredentials").finish_non_exhaustive()
    }
}

type Asked =
    Pin<Box<dyn Future<Output = Result<RedisCredentials, Box<dyn Error + Send + Sync>>> + Send>>;

/// A callback that is asked at each connect.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn Fn() -> Asked + Send + Sync>);

impl Provider {
    pub(crate) fn new<F, E>(provide: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<RedisCredentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Arc::new(move || {
            let asked = provide();
            Box::pin(async move { asked.await.map_err(Into::into) })
        }))
    }

    pub(crate) fn ask(&self) -> Asked {
        (self.0)()
    }
}
