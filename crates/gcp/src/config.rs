//! How a store is opened: typed, from a URL, from the environment.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, SecretName, StoreUrl};

use crate::names::{Names, is_prefix};
use crate::store::capabilities;

/// Which secrets of Google Cloud, as whom, and how long to wait.
///
/// Credentials stand in no field: they are looked for when the store is connected, in the environment that this was made
/// from.
#[derive(Clone)]
#[non_exhaustive]
pub struct GcpConfig {
    /// The id or number of the project; `None`: that of the service account's key, else of the machine.
    pub project: Option<String>,
    /// The region of regional secrets, for example `europe-west4`; `None`: global secrets.
    pub location: Option<String>,
    /// What stands in front of every name that this store reads and writes.
    pub prefix: String,
    /// Where Secret Manager is, for example `http://127.0.0.1:4510`; `None`: Google's own endpoint.
    pub endpoint: Option<String>,
    /// As whom to ask.
    pub credentials: CredentialSource,
    /// The longest that one request may take, answer included.
    pub timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    pub(crate) environment: Environment,
}

/// As whom Secret Manager is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CredentialSource {
    /// [`None`](Self::None) when the endpoint is this machine, else [`Default`](Self::Default).
    #[default]
    Automatic,
    /// Application Default Credentials. Never sent unencrypted to another machine.
    Default,
    /// No credentials, for a server in tests. Only with an endpoint.
    None,
}

impl GcpConfig {
    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "prefix",
            help: "what stands in front of every name (default: `GCP_SECRET_PREFIX`, else nothing)",
        },
        Parameter {
            name: "endpoint",
            help: "where Secret Manager is (default: Google's, of the region if there is one)",
        },
        Parameter {
            name: "credentials",
            help: "`default`, or `none` for a server in tests (default: `none` when the endpoint is this machine)",
        },
        Parameter {
            name: "timeout",
            help: "how many seconds one request may take, 1 to 300 (default 10)",
        },
    ];

    /// What the environment says: `GCP_PROJECT_ID` or `GOOGLE_CLOUD_PROJECT`; `GCP_SECRET_PREFIX`. A blank variable counts
    /// as unset.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable is not text or can't be right.
    pub fn from_environment(environment: &Environment) -> Result<Self> {
        let project = match variable(environment, "GCP_PROJECT_ID")? {
            None => variable(environment, "GOOGLE_CLOUD_PROJECT")?,
            project => project,
        };
        let config = Self {
            project,
            location: None,
            prefix: variable(environment, "GCP_SECRET_PREFIX")?.unwrap_or_default(),
            endpoint: None,
            credentials: CredentialSource::Automatic,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            environment: environment.clone(),
        };
        config.check()?;
        Ok(config)
    }

    /// Reads a URL such as `gcp://my-project/europe-west4?prefix=app/`; what it leaves open comes from the environment.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter or a wrong value.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let mut config = Self::from_environment(environment)?;
        let path = url.path()?;
        let location = path.strip_prefix('/').unwrap_or(&path);
        if url.user().is_some() || url.password().is_some() || url.port().is_some() || location.contains('/') {
            return Err(invalid("only a project and a location can follow `gcp:`")
                .with("url", url.to_string())
                .with_hint("write `gcp://my-project?prefix=app/` or `gcp://my-project/europe-west4`"));
        }
        if url.host().is_none() && !location.is_empty() {
            return Err(invalid("a location needs a project in front of it")
                .with("url", url.to_string())
                .with_hint("write `gcp://my-project/europe-west4`"));
        }
        if let Some(project) = url.host() {
            config.project = Some(project.to_owned());
        }
        if !location.is_empty() {
            config.location = Some(location.to_owned());
        }
        let mut parameters = url.parameters();
        if let Some(prefix) = parameters.take("prefix") {
            config.prefix = prefix;
        }
        if let Some(endpoint) = parameters.take("endpoint") {
            config.endpoint = Some(endpoint);
        }
        config.credentials = match parameters.take("credentials").as_deref() {
            None => CredentialSource::Automatic,
            Some("default") => CredentialSource::Default,
            Some("none") => CredentialSource::None,
            Some(_) => return Err(invalid("the parameter `credentials` is not `default` or `none`").with("url", url.to_string())),
        };
        let seconds = parameters.take_parsed::<u64>("timeout", "a number of seconds from 1 to 300")?;
        parameters.finish()?;
        if let Some(seconds) = seconds {
            config.timeout = Duration::from_secs(seconds);
        }
        config.check().map_err(|error| error.with("url", url.to_string()))?;
        Ok(config)
    }

    /// The secret id of `name` in this store: the name behind the prefix, with everything that no id has escaped.
    ///
    /// # Errors
    /// `Unsupported` for a name that can't have an id.
    pub fn secret_id(&self, name: &SecretName) -> Result<String> {
        let names = Names::new(self.prefix.as_str());
        capabilities(&names).check_name(name)?;
        Ok(names.id(name))
    }

    /// Refuses what would be misread: project and location become parts of a URL, the location of the host that
    /// credentials are sent to.
    pub(crate) fn check(&self) -> Result<()> {
        if self.project.as_deref().is_some_and(|project| !is_project(project)) {
            return Err(invalid("the project is not the id or number of one")
                .with_hint("an id is like `my-project-123456`, see `gcloud projects list`"));
        }
        if self.location.as_deref().is_some_and(|location| !is_location(location)) {
            return Err(invalid("the location is not one").with_hint("a location is like `europe-west4`"));
        }
        if !is_prefix(&self.prefix) {
            return Err(invalid("the prefix of names can't be one")
                .with_hint("it takes letters, digits, `.`, `_`, `-` and `/`, like `app/` or `app-`"));
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > Duration::from_secs(300) {
            return Err(invalid("the time for one request must be 1 to 300 seconds"));
        }
        self.check_endpoint()
    }

    /// Credentials go to Google or where the user says, and never unencrypted to another machine.
    fn check_endpoint(&self) -> Result<()> {
        let Some(endpoint) = &self.endpoint else {
            return match self.credentials {
                CredentialSource::None => Err(invalid("Google can't be asked without credentials")
                    .with_hint("leave `credentials=none` out, or name the endpoint of your server for tests")),
                CredentialSource::Automatic | CredentialSource::Default => Ok(()),
            };
        };
        let Some(host) = host(endpoint) else {
            // Never repeated: it could have a password in it.
            return Err(invalid("the endpoint is not the address of a server")
                .with_hint("it is like `https://secretmanager.googleapis.com` or `http://127.0.0.1:4510`"));
        };
        if endpoint.starts_with("http:") && !is_loopback(host) && self.uses_credentials() {
            return Err(invalid("credentials are not sent to another machine without TLS")
                .with_hint("use an `https:` endpoint, or say `credentials=none` when it is a server for tests that needs none"));
        }
        Ok(())
    }

    /// Whether credentials are looked for and sent.
    pub(crate) fn uses_credentials(&self) -> bool {
        match self.credentials {
            CredentialSource::Automatic => !self.endpoint_is_local(),
            CredentialSource::Default => true,
            CredentialSource::None => false,
        }
    }

    pub(crate) fn endpoint_is_local(&self) -> bool {
        self.endpoint.as_deref().and_then(host).is_some_and(is_loopback)
    }

    /// Whether values cross a network in the clear.
    pub(crate) fn is_exposed(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http:")) && !self.endpoint_is_local()
    }
}

/// Without the environment, which holds credentials, and without what could stand in front of an endpoint's host.
impl fmt::Debug for GcpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref();
        f.debug_struct("GcpConfig")
            .field("project", &self.project)
            .field("location", &self.location)
            .field("prefix", &self.prefix)
            .field(
                "endpoint",
                &endpoint.map(|endpoint| host(endpoint).map_or("(invalid)", |_| endpoint)),
            )
            .field("credentials", &self.credentials)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What the environment says of the place where the URL leaves it open.
pub(crate) fn place(url: &StoreUrl, environment: &Environment) -> Result<String> {
    let config = GcpConfig::from_url(url, environment)?;
    let mut parts = Vec::new();
    if url.host().is_none() {
        parts.push(match &config.project {
            Some(project) => {
                let variable = match variable(environment, "GCP_PROJECT_ID")? {
                    Some(_) => "GCP_PROJECT_ID",
                    None => "GOOGLE_CLOUD_PROJECT",
                };
                format!("project `{project}` (the variable `{variable}`)")
            }
            None => "the project of the credentials, else of the machine".to_owned(),
        });
    }
    if url.parameters().take("prefix").is_none() && !config.prefix.is_empty() {
        parts.push(format!("prefix `{}` (the variable `GCP_SECRET_PREFIX`)", config.prefix));
    }
    Ok(parts.join(", "))
}

/// The text of a variable without white space around it; blank is unset.
pub(crate) fn variable(environment: &Environment, name: &str) -> Result<Option<String>> {
    let text = environment.var(name)?.map(str::trim).filter(|text| !text.is_empty());
    Ok(text.map(str::to_owned))
}

pub(crate) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

/// An id, a number, or an old id with a domain in front.
pub(crate) fn is_project(text: &str) -> bool {
    let inner = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte));
    inner && text.len() <= 100 && starts_and_ends_well(text)
}

fn is_location(text: &str) -> bool {
    let inner = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    inner && text.len() <= 40 && starts_and_ends_well(text)
}

fn starts_and_ends_well(text: &str) -> bool {
    let is_alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_alphanumeric(text.bytes().next()) && is_alphanumeric(text.bytes().last())
}

/// The host of an endpoint that can be one: scheme, host, perhaps a port and a path.
fn host(endpoint: &str) -> Option<&str> {
    let rest = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    // As the HTTP client reads it: `\` would be a `/`, and `@` ends what stands in front of the host.
    let is_plain = endpoint
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"@?#\\%".contains(&byte));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !inner.is_empty() && !inner.contains(['[', ']']) && (inner == host) != inner.contains(':');
    (is_plain && has_port && is_host).then_some(inner)
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<GcpConfig> {
        let environment = Environment::fake().var("GOOGLE_CLOUD_PROJECT", "of-environment").build();
        GcpConfig::from_url(&StoreUrl::parse(url).unwrap(), &environment)
    }

    #[test]
    fn what_the_url_leaves_open_is_told_with_the_variable_that_says_it() {
        let google = Environment::fake().var("GOOGLE_CLOUD_PROJECT", "theirs");
        let both = google.clone().var("GCP_PROJECT_ID", "mine").var("GCP_SECRET_PREFIX", "app/");
        for (url, environment, expected) in [
            ("gcp:", google, "project `theirs` (the variable `GOOGLE_CLOUD_PROJECT`)"),
            (
                "gcp:",
                both.clone(),
                "project `mine` (the variable `GCP_PROJECT_ID`), prefix `app/` (the variable `GCP_SECRET_PREFIX`)",
            ),
            ("gcp://named?prefix=own/", both, ""),
            (
                "gcp:",
                Environment::fake(),
                "the project of the credentials, else of the machine",
            ),
        ] {
            let url = StoreUrl::parse(url).unwrap();
            assert_eq!(place(&url, &environment.build()).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn the_url_beats_the_environment_and_keyfobs_own_variable_beats_googles() {
        let both = Environment::fake()
            .var("GCP_PROJECT_ID", " mine ")
            .var("GOOGLE_CLOUD_PROJECT", "theirs")
            .var("GCP_SECRET_PREFIX", "app-")
            .build();
        let found = GcpConfig::from_environment(&both).unwrap();
        assert_eq!((found.project.as_deref(), found.prefix.as_str()), (Some("mine"), "app-"));
        let blank = Environment::fake()
            .var("GCP_PROJECT_ID", " ")
            .var("GOOGLE_CLOUD_PROJECT", "theirs")
            .build();
        assert_eq!(
            GcpConfig::from_environment(&blank).unwrap().project.as_deref(),
            Some("theirs")
        );

        let of_url = config("gcp://my-project/europe-west4?prefix=app/&timeout=5").unwrap();
        assert_eq!(of_url.project.as_deref(), Some("my-project"));
        assert_eq!(of_url.location.as_deref(), Some("europe-west4"));
        assert_eq!((of_url.prefix.as_str(), of_url.timeout), ("app/", Duration::from_secs(5)));
        assert_eq!(config("gcp:").unwrap().project.as_deref(), Some("of-environment"));
        assert_eq!(config("gcp://123456789012").unwrap().project.as_deref(), Some("123456789012"));
    }

    #[test]
    fn what_would_become_another_url_is_refused() {
        for url in [
            "gcp://Project",
            "gcp://a..",
            "gcp://-a",
            "gcp://p/europe-west4/x",
            "gcp://p/evil.example",
            "gcp://p/x:y",
            "gcp://p/-",
            "gcp:///europe-west4",
            "gcp:europe-west4",
            "gcp://user@p",
            "gcp://p:443",
            "gcp://p?prefix=/x",
            "gcp://p?prefix=%C3%A9",
            "gcp://p?timeout=0",
            "gcp://p?timeout=x",
            "gcp://p?credentials=mine",
            "gcp://p?credentials=none",
            "gcp://p?region=x",
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        }
        let dots = Environment::fake().var("GCP_PROJECT_ID", "../../x").build();
        assert!(GcpConfig::from_environment(&dots).is_err());
    }

    #[test]
    fn credentials_go_to_google_and_to_https_and_nowhere_else_unasked() {
        let uses = |query: &str| config(&format!("gcp://p?{query}")).map(|config| config.uses_credentials());
        assert!(uses("").unwrap());
        assert!(uses("endpoint=https://secretmanager.example").unwrap());
        for local in [
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "https://127.0.0.1:1",
            "http://gcp.localhost",
        ] {
            assert!(!uses(&format!("endpoint={local}")).unwrap(), "{local}");
            assert!(uses(&format!("endpoint={local}&credentials=default")).unwrap(), "{local}");
        }
        for other in [
            "http://secretmanager.example",
            "http://10.0.0.1:80",
            "http://localhost.example",
            "http://127.0.0.1.example",
        ] {
            assert_eq!(
                uses(&format!("endpoint={other}")).unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{other}"
            );
            assert!(uses(&format!("endpoint={other}&credentials=default")).is_err(), "{other}");
            assert!(!uses(&format!("endpoint={other}&credentials=none")).unwrap(), "{other}");
        }
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_and_not_repeated() {
        for endpoint in [
            "127.0.0.1:1",
            "ftp://x",
            "http://",
            "http://:80",
            "https://kfcanary-user1234:pw@host",
            "http://localhost:1@evil.example",
            "http://evil.example\\@localhost",
            "https://a/?x=y",
            "https://a b",
            "http://[::1",
            "http://::1",
            "https://host:99999",
        ] {
            let mut found = config("gcp://p").unwrap();
            found.endpoint = Some(endpoint.to_owned());
            let error = found.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{endpoint}");
            assert!(!format!("{error:?} {found:?}").contains("kfcanary"), "{endpoint}");
        }
    }
}
