//! How a store is opened: typed, from a URL, from the environment.

mod address;
mod identity;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, SecretName, StoreUrl};

pub use self::address::VaultAddress;
pub use self::identity::{Application, AzureCredential, AzureIdentity};
pub(crate) use self::identity::{ENDPOINT, HEADER, SECRET};
use crate::names::Names;
use crate::store::capabilities;

/// Which vault, as whom, and how long to wait.
///
/// Secrets to log in with stand in no field: they are looked for when the store is connected, in the environment that
/// this was made from.
#[derive(Clone)]
#[non_exhaustive]
pub struct AzureConfig {
    /// The vault.
    pub vault: VaultAddress,
    /// What stands in front of every name that this store reads and writes.
    pub prefix: String,
    /// A PEM file with certificate authorities that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// How keyfob logs in, and why so.
    pub identity: AzureIdentity,
    /// Where it logs in, for example `https://login.microsoftonline.com`.
    pub authority: String,
    /// The longest that one request may take, answer and log-in included.
    pub timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    /// The longest that the vault may take to finish a delete, a restore or a purge, each of which goes on after its
    /// answer.
    pub recovery_timeout: Duration,
    /// Whether the vault must ask for a token for its own domain. Anything else is only for a test server on this
    /// machine, and refused elsewhere.
    pub verify_challenge: bool,
    pub(crate) environment: Environment,
}

impl AzureConfig {
    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "prefix",
            help: "what stands in front of every name (default: `AZURE_SECRET_PREFIX`, else nothing)",
        },
        Parameter {
            name: "identity",
            help: "how to log in: `secret`, `certificate`, `workload`, `managed` or `cli` (default: by the variables that \
                   are set)",
        },
        Parameter {
            name: "ca",
            help: "a PEM file with certificate authorities to trust beside the system's",
        },
        Parameter {
            name: "timeout",
            help: "how many seconds one request may take, 1 to 300 (default 10)",
        },
        Parameter {
            name: "recovery-timeout",
            help: "how many seconds the vault may take to finish a delete, a restore or a purge, 1 to 600 (default 60)",
        },
        Parameter {
            name: "challenge",
            help: "`unverified` takes a token for any domain; only for a test server on this machine",
        },
    ];

    /// What the environment says: `AZURE_KEYVAULT_URL`, `AZURE_SECRET_PREFIX`, `AZURE_AUTHORITY_HOST` and what chooses the
    /// [identity](Self::identity). A blank variable counts as unset.
    ///
    /// # Errors
    /// `InvalidConfig` without a vault, and when a variable is not text or can't be right.
    pub fn from_environment(environment: &Environment) -> Result<Self> {
        let url = StoreUrl::of_scheme(crate::store::SCHEME)?;
        Self::from_url(&url, environment)
    }

    /// Reads a URL such as `azure://team-vault?prefix=app/`; what it leaves open comes from the environment.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter or a wrong value.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let about = |error: Error| error.with("url", url.to_string());
        if url.user().is_some() || url.password().is_some() || !matches!(url.path()?.as_str(), "" | "/") {
            return Err(about(invalid("only a vault can follow `azure:`"))
                .with_hint("write `azure://VAULT?prefix=app/`; who logs in is said by variables such as `AZURE_CLIENT_ID`"));
        }
        let vault = match (url.host(), url.port()) {
            (None, _) => vault_of(environment),
            (Some(name), None) if !name.contains(['.', ':']) && name != "localhost" => VaultAddress::of_name(name),
            (Some(host), port) => VaultAddress::of_host(host, port),
        };
        let mut parameters = url.parameters();
        let prefix = parameters.take("prefix");
        let ca = parameters.take("ca");
        let named = parameters.take("identity");
        let seconds = parameters.take_parsed::<u64>("timeout", "a number of seconds from 1 to 300")?;
        let recovery = parameters.take_parsed::<u64>("recovery-timeout", "a number of seconds from 1 to 600")?;
        let challenge = parameters.take("challenge");
        parameters.finish()?;
        let verify_challenge = match challenge.as_deref() {
            None | Some("verified") => true,
            Some("unverified") => false,
            Some(_) => return Err(about(invalid("the parameter `challenge` is not `verified` or `unverified`"))),
        };
        let vault = vault.map_err(about)?;
        let config = Self {
            authority: authority(environment, &vault)?,
            prefix: match prefix {
                Some(prefix) => prefix,
                None => variable(environment, "AZURE_SECRET_PREFIX")?.unwrap_or_default(),
            },
            ca: ca.map(|file| match url.base() {
                Some(base) if !file.starts_with("~/") => environment.absolute(base.join(file)),
                _ => environment.absolute(file),
            }),
            identity: AzureIdentity::choose(environment, named.as_deref()).map_err(about)?,
            timeout: Duration::from_secs(seconds.unwrap_or(10)),
            connect_timeout: Duration::from_secs(3),
            recovery_timeout: Duration::from_secs(recovery.unwrap_or(60)),
            verify_challenge,
            vault,
            environment: environment.clone(),
        };
        config.check().map_err(about)?;
        Ok(config)
    }

    /// Refuses what could send a token astray, or can't work.
    pub(crate) fn check(&self) -> Result<()> {
        self.names()?;
        if !self.verify_challenge && !self.vault.is_loopback() {
            return Err(
                invalid("the challenge of a vault that is not on this machine is always verified")
                    .with_hint("`challenge=unverified` is only for a test server on this machine"),
            );
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > Duration::from_secs(300) {
            return Err(invalid("the time for one request must be 1 to 300 seconds"));
        }
        if self.recovery_timeout < Duration::from_secs(1) || self.recovery_timeout > Duration::from_secs(600) {
            return Err(invalid("the time for a delete or a restore must be 1 to 600 seconds"));
        }
        Ok(())
    }

    /// What the vault calls the secret `name` that keyfob wrote. One that another tool made can have another name there.
    ///
    /// # Errors
    /// `Unsupported` for a name that has no room in a vault.
    pub fn secret_name(&self, name: &SecretName) -> Result<String> {
        let names = self.names()?;
        capabilities(&names).check_name(name)?;
        let places = names.places(name);
        let places = places.ok_or_else(|| Error::new(ErrorKind::Unsupported, "a vault has no such name"))?;
        Ok(places.own.as_str().to_owned())
    }

    pub(crate) fn names(&self) -> Result<Names> {
        Names::new(&self.prefix).ok_or_else(|| {
            invalid("the prefix of names can't be one")
                .with_hint("it has at most 64 characters as Azure spells it: `/` counts two, `_`, `.` and capital letters four")
        })
    }
}

/// How a store of this URL would log in, and why so, in one line, without I/O but looks at files.
///
/// # Errors
/// `InvalidConfig` as from [`AzureConfig::from_url`].
pub fn describe_identity(url: &StoreUrl, environment: &Environment) -> Result<String> {
    Ok(AzureConfig::from_url(url, environment)?.identity.to_string())
}

/// Without the environment, which holds secrets.
impl fmt::Debug for AzureConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureConfig")
            .field("vault", &self.vault.to_string())
            .field("prefix", &self.prefix)
            .field("identity", &self.identity)
            .field("authority", &self.authority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What the environment says of the place where the URL leaves it open.
pub(crate) fn place(url: &StoreUrl, environment: &Environment) -> Result<String> {
    let config = AzureConfig::from_url(url, environment)?;
    let mut parts = Vec::new();
    if url.host().is_none() {
        parts.push(format!("vault `{}` (the variable `AZURE_KEYVAULT_URL`)", config.vault));
    }
    if url.parameters().take("prefix").is_none() && !config.prefix.is_empty() {
        parts.push(format!("prefix `{}` (the variable `AZURE_SECRET_PREFIX`)", config.prefix));
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

fn vault_of(environment: &Environment) -> Result<VaultAddress> {
    match variable(environment, "AZURE_KEYVAULT_URL")? {
        Some(url) => VaultAddress::parse(&url).map_err(|error| error.with("variable", "AZURE_KEYVAULT_URL")),
        None => Err(invalid("there is no vault").with_hint("write `azure://VAULT`, or set `AZURE_KEYVAULT_URL`")),
    }
}

/// Where to log in. As other tools, takes the host alone too.
fn authority(environment: &Environment, vault: &VaultAddress) -> Result<String> {
    let Some(text) = variable(environment, "AZURE_AUTHORITY_HOST")? else {
        return Ok(vault.authority().to_owned());
    };
    let url = match text.contains("://") {
        true => text,
        false => format!("https://{text}"),
    };
    match VaultAddress::parse(&url) {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(invalid("the address to log in at is not one")
            .with("variable", "AZURE_AUTHORITY_HOST")
            .with_hint("it is like `https://login.microsoftonline.com`, and always HTTPS")),
    }
}
