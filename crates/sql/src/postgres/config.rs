//! How a PostgreSQL store is opened: typed, from a URL, from the environment.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Parameters, Result, SecretValue, StoreUrl};

use super::password;
use crate::key_config::{KEY_FILE, KEY_SOURCE, KeyConfig};
use crate::limits::{self, DAY, RECOVERY_DAYS, VERSIONS};

/// How to open a store in PostgreSQL. `Debug` shows no password and no key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<SecretValue>,
    /// The schema that holds the store, and nothing else. Lower-case letters, digits and `_`.
    pub schema: String,
    /// How the connection is protected.
    pub tls: PostgresTls,
    /// The key that protects the store.
    pub key: KeyConfig,
    /// The directory in which the newest state that was seen is remembered, so that older rows are noticed. Without one
    /// only this process remembers, and `health` says so.
    pub state_dir: Option<PathBuf>,
    /// How many versions of a secret are kept, 1 to 1000. A put removes older ones.
    pub keep_versions: usize,
    /// How long a deleted secret can be restored when the caller does not ask for another time.
    pub recovery_window: Duration,
    /// How long a call may take as a whole. Waiting for another writer is given up after half of it.
    pub timeout: Duration,
    /// How many connections a process opens at most, 1 to 100.
    pub max_connections: usize,
}

/// How the connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostgresTls {
    /// Not at all.
    Off,
    /// TLS; the certificate must name the host, and an authority of this file (or of the machine) must vouch for it.
    Verified {
        /// A PEM file with the only authorities to trust; `None`: those of the machine.
        authorities: Option<PathBuf>,
    },
}

impl PostgresConfig {
    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "schema",
            help: "the schema that holds the store (default `keyfob`)",
        },
        SSLMODE,
        SSLROOTCERT,
        KEY_FILE,
        KEY_SOURCE,
        VERSIONS,
        RECOVERY_DAYS,
        TIMEOUT,
        Parameter {
            name: "connections",
            help: "how many connections a process opens at most, 1 to 100 (default 8)",
        },
    ];

    /// Connects as `user` to `database` at `host`, everything else by default, without password and state directory.
    #[must_use]
    pub fn new(host: impl Into<String>, database: impl Into<String>, user: impl Into<String>, key: KeyConfig) -> Self {
        let host = host.into();
        Self {
            tls: default_tls(&host),
            host,
            port: DEFAULT_PORT,
            database: database.into(),
            user: user.into(),
            password: None,
            schema: "keyfob".to_owned(),
            key,
            state_dir: None,
            keep_versions: 10,
            recovery_window: 30 * DAY,
            timeout: Duration::from_secs(10),
            max_connections: 8,
        }
    }

    /// Remembers what was seen in `directory`.
    #[must_use]
    pub fn with_state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Reads a URL such as `postgres://app@db.example/secrets?schema=keyfob`; what it leaves open comes from the
    /// environment: a bare `postgres:` is `POSTGRES_URL`, or the server that `PGHOST` names; then `PGPORT`, `PGDATABASE`,
    /// `PGUSER`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGPASSWORD`, and the file that `PGPASSFILE` names (`~/.pgpass`).
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter, a wrong value, or when a host, a user or a key is missing.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        if let Some(host) = url.host() {
            return Self::at_host(host, url, environment);
        }
        let is_bare = url.path()?.is_empty() && url.user().is_none() && url.password().is_none();
        let mut whole = match environment.secret_var(URL_VARIABLE).filter(|text| !text.is_empty()) {
            Some(text) if is_bare => {
                let text = text.expose_str().map_err(|_| invalid("`POSTGRES_URL` is not UTF-8 text"))?;
                StoreUrl::parse(text).map_err(|error| error.with("variable", URL_VARIABLE))?
            }
            None if is_bare && let Some(host) = variable(environment, "PGHOST")? => return Self::at_host(host, url, environment),
            _ => {
                return Err(invalid("the store's URL names no host")
                    .with_hint("write `postgres://USER@HOST/DATABASE`, or put that into `POSTGRES_URL`"));
            }
        };
        if let Some(base) = url.base() {
            whole = whole.with_base(base);
        }
        url.parameters().finish()?;
        match whole.host().filter(|_| matches!(whole.scheme(), "postgres" | "postgresql")) {
            Some(host) => Self::at_host(host, &whole, environment),
            None => Err(invalid("`POSTGRES_URL` is not of the form `postgres://USER@HOST/DATABASE`")),
        }
    }

    fn at_host(host: &str, url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let mut parameters = url.parameters();
        let key_file = parameters.take("key-file");
        let key_source = parameters.take("key-source");
        let schema = parameters.take("schema");
        let (sslmode, authorities) = (parameters.take("sslmode"), parameters.take("sslrootcert"));
        let limits = Limits::take(&mut parameters)?;
        parameters.finish()?;
        let host = bare(host);
        let user = match url.user() {
            Some(user) => user.to_owned(),
            None => variable(environment, "PGUSER")?.map(str::to_owned).ok_or_else(|| {
                invalid("the store's URL names no user").with_hint("write `postgres://USER@HOST/DATABASE`, or set `PGUSER`")
            })?,
        };
        let path = url.path()?;
        let database = match path.trim_start_matches('/') {
            "" => variable(environment, "PGDATABASE")?.unwrap_or(&user).to_owned(),
            database if database.contains('/') => {
                return Err(invalid("the path of the store's URL is not the name of a database"));
            }
            database => database.to_owned(),
        };
        let key = KeyConfig::from_url(url, key_file, key_source, environment)?;
        let mut config = Self::new(host, database, user, key);
        config.port = port(url, environment)?;
        if let Some(schema) = schema {
            config.schema = schema;
        }
        config.tls = tls_of(url, environment, &config.host, sslmode.as_deref(), authorities)?;
        config.password = match url.password() {
            Some(password) => Some(password.clone()),
            None => password::find(environment, &config.host, config.port, &config.database, &config.user)?,
        };
        config.state_dir = environment.state_directory()?;
        limits.apply(&mut config);
        config.check()?;
        Ok(config)
    }

    /// Where the store is, safe to show.
    #[must_use]
    pub fn location(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        format!("{host}:{}/{}?schema={}", self.port, self.database, self.schema)
    }

    /// As whom and how the server is asked, safe to show.
    pub(crate) fn identity(&self) -> String {
        let password = if self.password.is_some() { "with" } else { "without" };
        let tls = match &self.tls {
            PostgresTls::Off => "without TLS".to_owned(),
            PostgresTls::Verified { authorities: None } => "over verified TLS".to_owned(),
            PostgresTls::Verified { authorities: Some(file) } => format!("over TLS verified by `{}`", file.display()),
        };
        format!("role `{}` {password} a password, at `{}` {tls}", self.user, self.location())
    }

    pub(crate) fn is_local(&self) -> bool {
        is_loopback(&self.host)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let is_letter = |first: char| first.is_ascii_lowercase() || first == '_';
        let is_schema = self.schema.len() <= 63
            && self.schema.starts_with(is_letter)
            && self.schema.chars().all(|c| is_letter(c) || c.is_ascii_digit())
            && !self.schema.starts_with("pg_");
        if !is_schema {
            return Err(invalid(
                "the name of a schema is made of lower-case letters, digits and `_`, and does not begin with `pg_`",
            ));
        }
        check_host(&self.host)?;
        limits::check(self.keep_versions, self.recovery_window)?;
        check_timeout(self.timeout)?;
        if !(1..=100).contains(&self.max_connections) {
            return Err(invalid("a process opens 1 to 100 connections"));
        }
        Ok(())
    }
}

pub(super) const SSLMODE: Parameter = Parameter {
    name: "sslmode",
    help: "`verify-full`, or `disable` (default: `disable` on this machine, else `verify-full`); `require` and `verify-ca` check as \
           much as `verify-full`",
};
pub(super) const SSLROOTCERT: Parameter = Parameter {
    name: "sslrootcert",
    help: "a PEM file with the authorities to trust (default: those of the machine)",
};
pub(super) const TIMEOUT: Parameter = Parameter {
    name: "timeout",
    help: "how many seconds a call may take, 1 to 3600 (default 10)",
};
pub(super) const TIMEOUT_FORM: &str = "a number of seconds from 1 to 3600";
pub(super) const DEFAULT_PORT: u16 = 5432;
const URL_VARIABLE: &str = "POSTGRES_URL";

struct Limits {
    versions: Option<usize>,
    days: Option<u32>,
    seconds: Option<u32>,
    connections: Option<usize>,
}

impl Limits {
    fn take(parameters: &mut Parameters) -> Result<Self> {
        Ok(Self {
            versions: parameters.take_parsed("versions", "a number from 1 to 1000")?,
            days: parameters.take_parsed("recovery-days", "a number from 1 to 3650")?,
            seconds: parameters.take_parsed(TIMEOUT.name, TIMEOUT_FORM)?,
            connections: parameters.take_parsed("connections", "a number from 1 to 100")?,
        })
    }

    fn apply(self, config: &mut PostgresConfig) {
        config.keep_versions = self.versions.unwrap_or(config.keep_versions);
        config.recovery_window = self.days.map_or(config.recovery_window, |days| days * DAY);
        config.timeout = self
            .seconds
            .map_or(config.timeout, |seconds| Duration::from_secs(seconds.into()));
        config.max_connections = self.connections.unwrap_or(config.max_connections);
    }
}

/// The host without the brackets that an IPv6 address has in a URL, and nowhere else.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The port that the URL names, or `PGPORT`.
pub(super) fn port(url: &StoreUrl, environment: &Environment) -> Result<u16> {
    match (url.port(), variable(environment, "PGPORT")?) {
        (Some(port), _) => Ok(port),
        (None, Some(text)) => text.parse().map_err(|_| invalid("`PGPORT` is not the number of a port")),
        (None, None) => Ok(DEFAULT_PORT),
    }
}

/// What the URL's `sslmode` and `sslrootcert` say, else `PGSSLMODE` and `PGSSLROOTCERT`.
pub(super) fn tls_of(
    url: &StoreUrl,
    environment: &Environment,
    host: &str,
    sslmode: Option<&str>,
    authorities: Option<String>,
) -> Result<PostgresTls> {
    let in_url = authorities.is_some();
    let mode = match sslmode {
        // What asks for less than what is done anyway changes nothing.
        None => variable(environment, "PGSSLMODE")?.filter(|mode| !in_url && !matches!(*mode, "prefer" | "allow")),
        mode => mode,
    };
    let authorities = authorities.filter(|file| file != "system").map(|file| match url.base() {
        Some(base) if !file.starts_with("~/") => environment.absolute(base.join(file)),
        _ => environment.absolute(file),
    });
    let mut tls = tls(host, mode, authorities)?;
    if let PostgresTls::Verified { authorities } = &mut tls
        && !in_url
    {
        let file = variable(environment, "PGSSLROOTCERT")?.filter(|file| *file != "system");
        *authorities = file.map(|file| environment.absolute(file));
    }
    Ok(tls)
}

pub(super) fn check_host(host: &str) -> Result<()> {
    if host.is_empty() || host.contains(['/', ',', '%']) {
        return Err(invalid("the store's host is not the name or the address of one server")
            .with_hint("write `postgres://USER@HOST/DATABASE`; keyfob speaks TCP, not through the socket in a directory"));
    }
    Ok(())
}

pub(super) fn check_timeout(timeout: Duration) -> Result<()> {
    match (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&timeout) {
        true => Ok(()),
        false => Err(invalid("a call may take 1 to 3600 seconds")),
    }
}

pub(super) fn default_tls(host: &str) -> PostgresTls {
    match is_loopback(host) {
        true => PostgresTls::Off,
        false => PostgresTls::Verified { authorities: None },
    }
}

/// `require` of other clients checks nothing and `prefer` does without TLS when somebody in between says so: the first is
/// made to check, the second is refused.
fn tls(host: &str, mode: Option<&str>, authorities: Option<PathBuf>) -> Result<PostgresTls> {
    match mode {
        None if authorities.is_none() => Ok(default_tls(host)),
        None | Some("verify-full" | "verify-ca" | "require") => Ok(PostgresTls::Verified { authorities }),
        Some("disable") if authorities.is_some() => Err(invalid("the URL names `sslrootcert` and turns TLS off")),
        Some("disable") => Ok(PostgresTls::Off),
        Some("prefer" | "allow") => {
            Err(invalid("this `sslmode` would send secrets to whoever answers").with_hint("write `verify-full`, or `disable`"))
        }
        Some(_) => Err(invalid("there is no such `sslmode`").with_hint("write `verify-full`, or `disable`")),
    }
}

/// A variable that is set to something.
fn variable<'e>(environment: &'e Environment, name: &'static str) -> Result<Option<&'e str>> {
    Ok(environment.var(name)?.filter(|text| !text.is_empty()))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
