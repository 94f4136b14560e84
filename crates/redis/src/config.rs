//! Where Redis is and how long it has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Clock, Error, ErrorKind, Result, SystemClock};
use keyfob_envelope::KeyEncryptionKey;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use rustls::crypto::CryptoProvider;
use url::Url;

/// Where Redis is, and what it may do.
///
/// `Debug` shows the address without its credentials.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) address: Arc<str>,
    connection: ConnectionInfo,
    authority: Option<Vec<u8>>,
    pub(crate) key: KeyEncryptionKey,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) prefix: Arc<str>,
    pub(crate) max_value_bytes: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl RedisConfig {
    /// Redis at this URL, for whoever has this key: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `rediss://` for TLS,
    /// `redis+unix:///PATH` for a socket. All but the host may be left out.
    ///
    /// # Errors
    /// `InvalidConfig` when it is no such URL. The error never holds the URL.
    pub fn new(url: &str, key: &KeyEncryptionKey) -> Result<Self> {
        let url = Url::parse(url).map_err(|_| invalid("it is no URL"))?;
        if !SCHEMES.contains(&url.scheme()) {
            return Err(invalid("its scheme is none of `redis`, `rediss` and `redis+unix`"));
        }
        if url.fragment().is_some() {
            // For the client library it would turn the check of the server's certificate off.
            return Err(invalid("it has a fragment"));
        }
        let protocol_or_database = |key: &str| matches!(key, "db" | "user" | "pass" | "protocol");
        if url.query_pairs().any(|(key, _)| !protocol_or_database(&key)) {
            return Err(invalid("it has a parameter that is not known"));
        }
        let connection = url
            .into_connection_info()
            .map_err(|_| invalid("the address, the database or a parameter is wrong"))?;
        Ok(Self {
            address: address(&connection).into(),
            connection,
            authority: None,
            key: key.clone(),
            timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(2),
            prefix: "keyfob".into(),
            max_value_bytes: 64 << 10,
            clock: Arc::new(SystemClock::new()),
        })
    }

    /// The password, when it is not in the URL.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        let settings = self.connection.redis_settings().clone().set_password(password);
        self.connection = self.connection.set_redis_settings(settings);
        self
    }

    /// Whether the URL brought a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.connection.redis_settings().password().is_some()
    }

    /// Believes the certificates of these authorities (PEM) in place of those of the machine.
    ///
    /// # Errors
    /// `InvalidConfig` when the URL is not one with TLS, or this holds no certificate.
    pub fn authority(mut self, pem: &[u8]) -> Result<Self> {
        if !matches!(self.connection.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(invalid("it is given an authority, but its scheme is not `rediss`"));
        }
        // The client takes text without a certificate for no authority at all, which nothing could connect with.
        if !pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE) {
            return Err(invalid(NO_CERTIFICATE));
        }
        self.authority = Some(pem.to_vec());
        self.client()?;
        Ok(self)
    }

    /// How long a read or a write waits for Redis at most, each time it asks; 100 milliseconds unless told otherwise. After
    /// one that had to wait for so long, Redis counts as ill and nobody waits until it has answered again.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an attempt to connect may take, behind the back of the callers; 2 seconds unless told otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// What all keys begin with, before `:cache:1:`; `keyfob` unless told otherwise. Caches with different prefixes don't
    /// see each other.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Keeps no value that is longer, in bytes; 64 KiB unless told otherwise.
    #[must_use]
    pub fn max_value_bytes(mut self, most: usize) -> Self {
        self.max_value_bytes = most;
        self
    }

    /// Takes the time of day from this clock instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn client(&self) -> Result<Client> {
        let connection = self.connection.clone();
        if matches!(connection.addr(), ConnectionAddr::TcpTls { .. }) && CryptoProvider::get_default().is_none() {
            // The client takes the provider of the process and panics when there is none. Somebody may have been faster.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        match &self.authority {
            None => Client::open(connection).map_err(|_| invalid("the client does not take it")),
            Some(pem) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                Client::build_with_tls(connection, certificates).map_err(|_| invalid(NO_CERTIFICATE))
            }
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &self.address)
            .field("key", &self.key)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("prefix", &self.prefix)
            .field("max_value_bytes", &self.max_value_bytes)
            .finish_non_exhaustive()
    }
}

const SCHEMES: [&str; 7] = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"];

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
const NO_CERTIFICATE: &str = "its authority is no certificate in PEM";

fn address(connection: &ConnectionInfo) -> String {
    let database = connection.redis_settings().db();
    match connection.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}/{database}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}/{database}"),
        ConnectionAddr::Unix(path) => format!("redis+unix://{}?db={database}", path.display()),
        _ => "redis".to_owned(),
    }
}

fn invalid(problem: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("the URL of Redis is wrong: {problem}"))
        .with_hint("for example `redis://cache.example.com:6379/0`, or `rediss://` for TLS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_envelope::RawKey;

    fn parse(url: &str) -> Result<RedisConfig> {
        RedisConfig::new(url, &RawKey::new(&[7; 32]).shared_key())
    }

    #[test]
    fn neither_debug_nor_an_error_shows_credentials() {
        let password = "kfcanary-redispassword1";
        for scheme in ["redis", "rediss"] {
            let config = parse(&format!("{scheme}://me:{password}@localhost:7000/3")).unwrap();
            assert!(config.has_password());
            assert_eq!(&*config.address, format!("{scheme}://localhost:7000/3"));
            assert!(!format!("{config:?}").contains(password));
            assert!(!format!("{config:?}").contains("me:"));
        }
        for wrong in [
            format!("http://me:{password}@localhost"),
            format!("redis://me:{password}@localhost/nodatabase"),
            format!("redis://me:{password}@localhost:port"),
            format!("rediss://me:{password}@localhost#insecure"),
            format!("redis://me:{password}@localhost?unknown={password}"),
            password.to_owned(),
        ] {
            let error = parse(&wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(!format!("{error:?} {error}").contains(password));
        }
    }

    #[test]
    fn an_authority_is_for_tls_and_is_a_certificate() {
        assert!(parse("redis://localhost").unwrap().authority(b"x").is_err());
        for wrong in [
            "",
            "-----BEGIN",
            "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n",
        ] {
            assert!(
                parse("rediss://localhost").unwrap().authority(wrong.as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }
}
