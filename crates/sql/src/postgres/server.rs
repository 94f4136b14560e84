//! The server whose roles' passwords are rotated.

use std::time::Duration;

use keyfob_core::{Environment, Parameter, Result, SecretValue, StoreUrl};

use super::config::{
    DEFAULT_PORT, PostgresTls, SSLMODE, SSLROOTCERT, TIMEOUT, TIMEOUT_FORM, bare, check_host, check_timeout, default_tls,
    invalid, port, tls_of,
};
use super::password;

/// A server whose roles' passwords are rotated. `Debug` shows no password.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresServer {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database that is connected to, where a secret names none.
    pub database: String,
    /// How connections are protected.
    pub tls: PostgresTls,
    /// Who changes passwords. A role changes its own where there is nobody.
    pub administrator: Option<String>,
    /// The administrator's password, if they need one.
    pub password: Option<SecretValue>,
    /// How long one connection with what is done on it may take.
    pub timeout: Duration,
}

impl PostgresServer {
    /// The parameters that the URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[SSLMODE, SSLROOTCERT, TIMEOUT];

    /// The server at `host` and this database of it, everything else by default, without an administrator.
    #[must_use]
    pub fn new(host: impl Into<String>, database: impl Into<String>) -> Self {
        let host = host.into();
        Self {
            tls: default_tls(&host),
            host,
            port: DEFAULT_PORT,
            database: database.into(),
            administrator: None,
            password: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// With somebody who may change the passwords of roles.
    #[must_use]
    pub fn with_administrator(mut self, user: impl Into<String>, password: Option<SecretValue>) -> Self {
        self.administrator = Some(user.into());
        self.password = password;
        self
    }

    /// Reads a URL such as `postgres://admin@db.example/app?sslrootcert=ca.pem`. A user there is the administrator, and their
    /// password comes from the URL, `PGPASSWORD`, or the file that `PGPASSFILE` names (`~/.pgpass`). `PGPORT`, `PGSSLMODE`
    /// and `PGSSLROOTCERT` say what the URL leaves open.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter or a wrong value, and when host or database is missing.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let form =
            "write `postgres://ADMINISTRATOR@HOST/DATABASE`, or without administrator for a role that changes its own password";
        let is_postgres = matches!(url.scheme(), "postgres" | "postgresql");
        let host = url.host().filter(|_| is_postgres);
        let host = host.ok_or_else(|| invalid("the URL of the rotation names no PostgreSQL server").with_hint(form))?;
        let path = url.path()?;
        let database = match path.trim_start_matches('/') {
            database if database.is_empty() || database.contains('/') => {
                return Err(invalid("the URL of the rotation names no database").with_hint(form));
            }
            database => database.to_owned(),
        };
        let mut server = Self::new(bare(host), database);
        let mut parameters = url.parameters();
        let (sslmode, authorities) = (parameters.take(SSLMODE.name), parameters.take(SSLROOTCERT.name));
        let seconds: Option<u32> = parameters.take_parsed(TIMEOUT.name, TIMEOUT_FORM)?;
        parameters.finish()?;
        server.port = port(url, environment)?;
        server.tls = tls_of(url, environment, &server.host, sslmode.as_deref(), authorities)?;
        if let Some(seconds) = seconds {
            server.timeout = Duration::from_secs(seconds.into());
        }
        if let Some(user) = url.user() {
            server.password = match url.password() {
                Some(password) => Some(password.clone()),
                None => password::find(environment, &server.host, server.port, &server.database, user)?,
            };
            server.administrator = Some(user.to_owned());
        }
        server.check()?;
        Ok(server)
    }

    pub(super) fn check(&self) -> Result<()> {
        check_host(&self.host)?;
        check_timeout(self.timeout)
    }
}
