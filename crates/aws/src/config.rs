//! How a store is opened: typed, from a URL, from the environment.

use std::fmt;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, SecretName, StoreUrl};

use crate::names::Names;
use crate::store::capabilities;

/// Which secrets of AWS, as whom, and how long to wait.
///
/// What stands in no field (credentials, and the region when [`region`](Self::region) is `None`) is looked for when
/// the store is connected, in the environment that this was made from.
#[derive(Clone)]
#[non_exhaustive]
pub struct AwsConfig {
    /// The region, for example `eu-west-1`; `None`: that of the profile, else of the machine (EC2).
    pub region: Option<String>,
    /// What stands in front of every name that this store reads and writes.
    pub prefix: String,
    /// The profile of `~/.aws/config` whose credentials are used, and no others. `None`: the whole credential chain.
    pub profile: Option<String>,
    /// Where Secrets Manager is, for example `http://localhost:4566`; `None`: the public endpoint of the region.
    pub endpoint: Option<String>,
    /// The role that is assumed with the credentials found.
    pub role_arn: Option<String>,
    /// For how long a deleted secret can be restored when the caller asks for no other time: 7 to 30 days.
    pub recovery_window: Duration,
    /// The longest that one request may take, answer included.
    pub timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    pub(crate) environment: Environment,
}

impl AwsConfig {
    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "prefix",
            help: "what stands in front of every name (default: `AWS_SECRET_PREFIX`, else nothing)",
        },
        Parameter {
            name: "profile",
            help: "the profile whose credentials are used, and no others (default: the whole credential chain, with \
                   `AWS_PROFILE`)",
        },
        Parameter {
            name: "endpoint",
            help: "where Secrets Manager is (default: `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL`, else the \
                   region's)",
        },
        Parameter {
            name: "role_arn",
            help: "the role to assume with the credentials found",
        },
        Parameter {
            name: "recovery-days",
            help: "for how many days a deleted secret can be restored, 7 to 30 (default 30)",
        },
        Parameter {
            name: "timeout",
            help: "how many seconds one request may take, 1 to 300 (default 10)",
        },
    ];

    /// The shortest and the longest recovery window that AWS knows.
    pub const RECOVERY_WINDOWS: (Duration, Duration) = (Duration::from_secs(7 * DAY), Duration::from_secs(30 * DAY));

    /// What the environment says: `AWS_SECRET_MANAGER_REGION`, `AWS_REGION` or `AWS_DEFAULT_REGION`;
    /// `AWS_SECRET_PREFIX`; `AWS_ENDPOINT_URL_SECRETS_MANAGER` or `AWS_ENDPOINT_URL`. A blank variable counts as unset.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable is not text or can't be right.
    pub fn from_environment(environment: &Environment) -> Result<Self> {
        let config = Self {
            region: first_of(
                environment,
                &["AWS_SECRET_MANAGER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"],
            )?,
            prefix: variable(environment, "AWS_SECRET_PREFIX")?.unwrap_or_default(),
            profile: None,
            endpoint: first_of(environment, &["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"])?,
            role_arn: None,
            recovery_window: Self::RECOVERY_WINDOWS.1,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            environment: environment.clone(),
        };
        config.check()?;
        Ok(config)
    }

    /// Reads a URL such as `aws://eu-west-1?prefix=app/`; what it leaves open comes from the environment.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter or a wrong value.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let mut config = Self::from_environment(environment)?;
        let path = url.path()?;
        if url.user().is_some() || url.password().is_some() || url.port().is_some() || !matches!(path.as_str(), "" | "/") {
            return Err(invalid("only a region can follow `aws:`")
                .with("url", url.to_string())
                .with_hint("write `aws://eu-west-1?prefix=app/`; credentials come from the AWS credential chain"));
        }
        let mut parameters = url.parameters();
        if let Some(region) = url.host() {
            config.region = Some(region.to_owned());
        }
        if let Some(prefix) = parameters.take("prefix") {
            config.prefix = prefix;
        }
        config.profile = parameters.take("profile");
        if let Some(endpoint) = parameters.take("endpoint") {
            config.endpoint = Some(endpoint);
        }
        config.role_arn = parameters.take("role_arn");
        let days = parameters.take_parsed::<u64>("recovery-days", "a number from 7 to 30")?;
        let seconds = parameters.take_parsed::<u64>("timeout", "a number of seconds from 1 to 300")?;
        parameters.finish()?;
        if let Some(days) = days {
            config.recovery_window = Duration::from_secs(days.saturating_mul(DAY));
        }
        if let Some(seconds) = seconds {
            config.timeout = Duration::from_secs(seconds);
        }
        config.check().map_err(|error| error.with("url", url.to_string()))?;
        Ok(config)
    }

    /// What AWS calls the secret `name` of this store: the name behind the prefix, or what AWS itself has named.
    ///
    /// # Errors
    /// `Unsupported` for a name that no secret of AWS has.
    pub fn secret_id(&self, name: &SecretName) -> Result<String> {
        let names = Names::new(self.prefix.as_str());
        capabilities(&names).check_name(name)?;
        Ok(names.id(name))
    }

    /// Refuses what AWS would misread: a region becomes a part of the host that credentials are used for.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(region) = &self.region
            && !is_region(region)
        {
            return Err(invalid("the region is not one").with_hint("a region is like `eu-west-1`"));
        }
        if self.prefix.len() > MAX_PREFIX_BYTES || !self.prefix.bytes().all(is_name_byte) {
            return Err(invalid("the prefix of names can't be one")
                .with_hint("it takes letters, digits and `/_+=.@-`, at most 256 of them"));
        }
        if self.profile.as_ref().is_some_and(|profile| profile.trim().is_empty()) {
            return Err(invalid("the parameter `profile` is empty"));
        }
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)?;
        }
        if let Some(role) = &self.role_arn
            && !(role.starts_with("arn:") && role.contains(":role/"))
        {
            return Err(
                invalid("`role_arn` is not the ARN of a role").with_hint("it is like `arn:aws:iam::123456789012:role/reader`")
            );
        }
        let (shortest, longest) = Self::RECOVERY_WINDOWS;
        if self.recovery_window < shortest || self.recovery_window > longest {
            return Err(invalid("AWS keeps deleted secrets for 7 to 30 days"));
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > Duration::from_secs(300) {
            return Err(invalid("the time for one request must be 1 to 300 seconds"));
        }
        Ok(())
    }
}

/// Without the environment, which holds credentials, and without what could stand in front of an endpoint's host.
impl fmt::Debug for AwsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsConfig")
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("profile", &self.profile)
            .field(
                "endpoint",
                &self
                    .endpoint
                    .as_ref()
                    .map(|endpoint| check_endpoint(endpoint).map_or("(invalid)", |()| endpoint)),
            )
            .field("role_arn", &self.role_arn)
            .field("recovery_window", &self.recovery_window)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The text of a variable without white space around it; blank is unset.
pub(crate) fn variable(environment: &Environment, name: &str) -> Result<Option<String>> {
    let text = environment.var(name)?.map(str::trim).filter(|text| !text.is_empty());
    Ok(text.map(str::to_owned))
}

/// Whether `byte` can stand in a name that is given to a secret.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte)
}

const DAY: u64 = 86_400;
/// So that at least half of a name is left.
const MAX_PREFIX_BYTES: usize = 256;

fn first_of(environment: &Environment, names: &[&str]) -> Result<Option<String>> {
    for name in names {
        if let Some(text) = variable(environment, name)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn is_region(text: &str) -> bool {
    let inner = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    inner && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-')
}

/// Never repeats the endpoint: it could have a password in it.
pub(crate) fn check_endpoint(endpoint: &str) -> Result<()> {
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match authority {
        Some(authority)
            if !authority.is_empty() && !authority.contains('@') && endpoint.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(())
        }
        _ => Err(invalid("the endpoint is not the address of a server")
            .with_hint("it is like `https://secretsmanager.eu-west-1.amazonaws.com` or `http://localhost:4566`")),
    }
}

pub(crate) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
