//! The second level of the cache, which the machines of a fleet share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
use keyfob_core::SecretValue;
use keyfob_core::{Environment, Error, ErrorKind, Result, SharedCache};

#[cfg(feature = "redis")]
use crate::variables::Variable;

/// The second level of the cache in Redis. Whoever has its key is trusted with every secret that it keeps: machines of the same
/// rights share one.
///
/// The key is 32 random bytes in base64 or hexadecimal, the same on every machine: the variable `SECRET_CACHE_REDIS_KEY`, else
/// what [`key_file`](Self::key_file) holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RedisSettings {
    /// Where Redis is: `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS. `None` (the default): there is no second level.
    /// Without a password, which is in the variable `SECRET_CACHE_REDIS_PASSWORD`.
    pub url: Option<String>,
    /// The file that holds the key, readable by its owner only.
    pub key_file: Option<PathBuf>,
    /// The file of the authorities that the server's certificate is checked against (PEM), in place of the machine's.
    pub authority_file: Option<PathBuf>,
    /// What all keys in Redis begin with. Default `keyfob`.
    pub prefix: String,
    /// How long a read or a write waits for Redis at most, each time it asks. Default 100 milliseconds.
    pub timeout: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            key_file: None,
            authority_file: None,
            prefix: "keyfob".to_owned(),
            timeout: Duration::from_millis(100),
        }
    }
}

/// A second level, for the caches of all stores. Not connected before it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    #[cfg(feature = "redis")]
    redis: keyfob_redis::RedisCache,
    #[cfg(not(feature = "redis"))]
    never: std::convert::Infallible,
}

impl Shared {
    /// `None` when none is set up.
    #[cfg(feature = "redis")]
    pub(crate) fn of(settings: &RedisSettings, environment: &Environment) -> Result<Option<Self>> {
        use keyfob_redis::{RedisCache, RedisConfig};

        let Some(url) = &settings.url else {
            return Ok(None);
        };
        let key = key(settings, environment)?.shared_key();
        let mut config = RedisConfig::new(url, &key)?
            .prefix(&settings.prefix)
            .timeout(settings.timeout);
        let variable = &crate::variables::SECRET_CACHE_REDIS_PASSWORD;
        if let Some(password) = secret(variable, environment) {
            config = config.password(text(&password, variable)?);
        }
        if let Some(file) = &settings.authority_file {
            let file = environment.absolute(file);
            let located = |error: Error| error.with("file", file.display().to_string());
            let pem = environment.read(&file, MOST_AUTHORITIES).map_err(|source| {
                located(Error::new(ErrorKind::InvalidConfig, "the authorities for Redis can't be read").with_source(source))
            })?;
            config = config.authority(&pem).map_err(located)?;
        }
        let redis = RedisCache::new(config)?;
        Ok(Some(Self { redis }))
    }

    #[cfg(not(feature = "redis"))]
    pub(crate) fn of(settings: &RedisSettings, _: &Environment) -> Result<Option<Self>> {
        match settings.url {
            None => Ok(None),
            Some(_) => Err(Error::new(ErrorKind::Unsupported, "this build has no cache in Redis")
                .with_hint("build with the feature `redis`, or take `redis` below `[cache]` and `SECRET_CACHE_REDIS` away")),
        }
    }

    /// For the cache of one store.
    pub(crate) fn of_store(&self, identity: &str) -> Arc<dyn SharedCache> {
        #[cfg(feature = "redis")]
        return self.redis.of_store(identity);
        #[cfg(not(feature = "redis"))]
        match (self.never, identity) {}
    }
}

/// The authorities of a machine are a quarter of it.
#[cfg(feature = "redis")]
const MOST_AUTHORITIES: usize = 1 << 20;

#[cfg(feature = "redis")]
fn key(settings: &RedisSettings, environment: &Environment) -> Result<keyfob_envelope::RawKey> {
    use keyfob_envelope::RawKey;

    let variable = &crate::variables::SECRET_CACHE_REDIS_KEY;
    if let Some(key) = secret(variable, environment) {
        return RawKey::parse(text(&key, variable)?).map_err(|error| error.with("variable", variable.name));
    }
    match &settings.key_file {
        Some(file) => RawKey::from_file(environment.absolute(file)),
        None => Err(
            Error::new(ErrorKind::InvalidConfig, "the cache in Redis has no key").with_hint(format!(
                "make one with `openssl rand -base64 32`, and give it to every machine as `{}` or in the file that \
                 `redis_key_file` below `[cache]` names",
                variable.name
            )),
        ),
    }
}

/// An empty variable counts as unset.
#[cfg(feature = "redis")]
fn secret(variable: &Variable, environment: &Environment) -> Option<SecretValue> {
    environment.secret_var(variable.name).filter(|value| !value.is_empty())
}

#[cfg(feature = "redis")]
fn text<'a>(value: &'a SecretValue, variable: &Variable) -> Result<&'a str> {
    value.expose_str().map_err(|_| {
        let problem = format!("the variable `{}` is not UTF-8 text", variable.name);
        Error::new(ErrorKind::InvalidConfig, problem)
    })
}
