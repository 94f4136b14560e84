//! How a server is connected to: the same for the pool of a store and for a single connection.

use std::time::Duration;

use keyfob_core::SecretValue;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::config::{PostgresConfig, PostgresTls};

/// The longest time to wait for a connection to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// Which server, which database, as whom.
#[derive(Clone, Copy)]
pub(super) struct Dial<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
    pub(super) password: Option<&'a SecretValue>,
    pub(super) tls: &'a PostgresTls,
    pub(super) timeout: Duration,
}

impl<'a> Dial<'a> {
    /// That of a store.
    pub(super) fn of(config: &'a PostgresConfig) -> Self {
        Self {
            host: &config.host,
            port: config.port,
            database: &config.database,
            user: &config.user,
            password: config.password.as_ref(),
            tls: &config.tls,
            timeout: config.timeout,
        }
    }

    pub(super) fn settings(&self) -> Config {
        let mut settings = Config::new();
        settings
            .host(self.host)
            .port(self.port)
            .dbname(self.database)
            .user(self.user)
            .application_name("keyfob")
            .connect_timeout(CONNECT.min(self.timeout))
            // A server that went without a word, as behind a firewall that forgets, is noticed by idle connections too.
            .keepalives_idle(Duration::from_secs(60))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(self.timeout.max(CONNECT));
        if let Some(password) = self.password {
            settings.password(password.expose_secret());
        }
        settings.ssl_mode(match self.tls {
            PostgresTls::Off => SslMode::Disable,
            PostgresTls::Verified { .. } => SslMode::Require,
        });
        settings
    }
}
