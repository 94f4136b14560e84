//! A configuration from a store's URL and the environment.

use std::path::PathBuf;
use std::time::Duration;

use keyfob_core::{Environment, Parameter, Parameters, Result, StoreUrl};

use super::{
    Address, AuthConfig, CertificateAuthority, ClientIdentity, KvVersion, TlsConfig, VaultConfig, Verification, invalid, log_in,
};

/// The parameter value that spells out what it does.
const TLS_UNVERIFIED: &str = "unverified";

impl VaultConfig {
    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "address",
            help: "the server's address, instead of a host: `https://HOST:PORT`, `http://HOST:PORT`, `unix:///SOCKET` \
                   (default: `VAULT_ADDR`, `BAO_ADDR`)",
        },
        Parameter {
            name: "namespace",
            help: "the namespace of the mount (default: `VAULT_NAMESPACE`)",
        },
        Parameter {
            name: "kv",
            help: "the version of the KV engine, `1` or `2` (default: `VAULT_KV_VERSION`, else the server is asked)",
        },
        Parameter {
            name: "prefix",
            help: "what stands before every name in the mount (default: `VAULT_PREFIX`, else nothing)",
        },
        Parameter {
            name: "login",
            help: "how to log in: `token`, `approle`, `jwt` or `kubernetes` (default: the one whose variables are set)",
        },
        Parameter {
            name: "login-mount",
            help: "the path of the log-in method (default: `VAULT_AUTH_MOUNT`, else its usual one)",
        },
        Parameter {
            name: "role",
            help: "the role to log in to with `jwt` or `kubernetes`, or the role id of an AppRole (default: `VAULT_ROLE`, \
                   `VAULT_K8S_ROLE`, `VAULT_ROLE_ID`)",
        },
        Parameter {
            name: "token-file",
            help: "the file of the token (default: `VAULT_TOKEN`, `BAO_TOKEN`, `VAULT_TOKEN_FILE`, `~/.vault-token`)",
        },
        Parameter {
            name: "secret-id-file",
            help: "the file of an AppRole's secret id (default: `VAULT_SECRET_ID`, `VAULT_SECRET_ID_FILE`)",
        },
        Parameter {
            name: "wrapped-secret-id-file",
            help: "the file of a wrapping token for the secret id (default: `VAULT_WRAPPED_SECRET_ID`)",
        },
        Parameter {
            name: "jwt-file",
            help: "the file of the JSON Web Token or service account token (default: `VAULT_JWT`, `VAULT_JWT_FILE`, the pod's)",
        },
        Parameter {
            name: "tls",
            help: "`on`; `off` for plain HTTP to the URL's host; `unverified` to accept any certificate, for tests only \
                   (default `on`)",
        },
        Parameter {
            name: "ca-file",
            help: "the file of the certificate authority (default: `VAULT_CACERT`, `VAULT_CACERT_BYTES`, else the system's)",
        },
        Parameter {
            name: "timeout",
            help: "how many seconds a request may take, 1 to 600 (default: `VAULT_CLIENT_TIMEOUT`, else 10)",
        },
    ];

    /// Reads a URL such as `vault://vault.example:8200/secret?prefix=app/` or `vault:secret`; what it leaves open comes
    /// from the environment.
    ///
    /// The host is that of the server (port 8200 unless it names one), without it the address comes from `VAULT_ADDR`,
    /// then `BAO_ADDR`. The path is the mount.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter, a wrong value, when there is no address, no log-in, or more than one
    /// log-in to choose from.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        Self::read(url, environment, |parameters| log_in::choose(url, parameters, environment))
    }

    /// The same, with a log-in that stands already: what the URL and the environment say about logging in does not count.
    ///
    /// # Errors
    /// Those of [`from_url`](Self::from_url), but those about logging in.
    pub fn from_url_with(url: &StoreUrl, environment: &Environment, auth: AuthConfig) -> Result<Self> {
        Self::read(url, environment, |parameters| {
            log_in::PARAMETERS.iter().for_each(|name| drop(parameters.take(name)));
            Ok(auth)
        })
    }

    fn read(url: &StoreUrl, environment: &Environment, auth: impl FnOnce(&mut Parameters) -> Result<AuthConfig>) -> Result<Self> {
        let mut parameters = url.parameters();
        let (address, verification) = address(url, &mut parameters, environment)?;
        let namespace = first(
            &mut parameters,
            "namespace",
            environment,
            &["VAULT_NAMESPACE", "BAO_NAMESPACE"],
        )?;
        let kv = first(&mut parameters, "kv", environment, &["VAULT_KV_VERSION"])?;
        let prefix = first(&mut parameters, "prefix", environment, &["VAULT_PREFIX"])?;
        let authority = first_file(url, &mut parameters, "ca-file", environment, &["VAULT_CACERT", "BAO_CACERT"])?;
        let timeout = first(
            &mut parameters,
            "timeout",
            environment,
            &["VAULT_CLIENT_TIMEOUT", "BAO_CLIENT_TIMEOUT"],
        )?;
        let auth = auth(&mut parameters)?;
        parameters.finish()?;

        let mut config = Self::new(address, auth);
        // `ns/` is how Vault's own tools write it.
        config.namespace = namespace
            .map(|name| name.trim_matches('/').to_owned())
            .filter(|name| !name.is_empty());
        config.kv_version = kv.map(|text| kv_version(&text)).transpose()?;
        config.prefix = prefix.unwrap_or_default();
        config.mount = mount(url, environment)?.unwrap_or(config.mount);
        config.timeout = timeout.map_or(Ok(config.timeout), |text| seconds(&text))?;
        config.connect_timeout = config.connect_timeout.min(config.timeout);
        config.tls = TlsConfig {
            authorities: authorities(authority, environment)?,
            verification,
            identity: identity(environment)?,
        };
        config.check()?;
        Ok(config)
    }
}

/// The first that is given: the parameter, then the variables.
pub(super) fn first(
    parameters: &mut Parameters,
    parameter: &str,
    environment: &Environment,
    variables: &[&'static str],
) -> Result<Option<String>> {
    if let Some(value) = parameters.take(parameter) {
        let value = value.trim();
        return match value.is_empty() && parameter != "prefix" {
            true => Err(invalid(format!("the parameter `{parameter}` is empty"))),
            false => Ok(Some(value.to_owned())),
        };
    }
    Ok(variable(environment, variables)?.map(|(_, value)| value.to_owned()))
}

/// The first variable that is set, trimmed.
pub(super) fn variable<'a>(environment: &'a Environment, names: &[&'static str]) -> Result<Option<(&'static str, &'a str)>> {
    for name in names {
        if let Some(value) = environment.var(name)?.map(str::trim).filter(|value| !value.is_empty()) {
            return Ok(Some((name, value)));
        }
    }
    Ok(None)
}

/// Like [`first`], for the path of a file: one in the URL stands below the URL's base.
pub(super) fn first_file(
    url: &StoreUrl,
    parameters: &mut Parameters,
    parameter: &str,
    environment: &Environment,
    variables: &[&'static str],
) -> Result<Option<PathBuf>> {
    if let Some(path) = first(parameters, parameter, environment, &[])? {
        return Ok(Some(environment.absolute(match url.base() {
            Some(base) if !path.starts_with("~/") => base.join(path),
            _ => PathBuf::from(path),
        })));
    }
    Ok(variable(environment, variables)?.map(|(_, path)| environment.absolute(path)))
}

fn address(url: &StoreUrl, parameters: &mut Parameters, environment: &Environment) -> Result<(Address, Verification)> {
    let wrong = |message: &'static str| invalid(message).with("url", url.to_string());
    if url.user().is_some() || url.password().is_some() {
        return Err(wrong("the store's URL has a user or a password")
            .with_hint("log in with a token or a role: `VAULT_TOKEN`, or the parameter `login`"));
    }
    let tls = parameters.take("tls");
    let given = parameters.take("address");
    let verification = match tls.as_deref() {
        Some(TLS_UNVERIFIED) => Verification::Off,
        None | Some("on" | "off") => verification(environment)?,
        Some(_) => return Err(wrong("the parameter `tls` is not `on`, `off` or `unverified`")),
    };
    let address = match (url.host(), given) {
        (Some(_), Some(_)) => return Err(wrong("the store's URL has a host, and the parameter `address` too")),
        (Some(host), None) => Address::of_host(host, url.port(), tls.as_deref() != Some("off"))?,
        (None, given) => {
            let address = match given {
                Some(given) => Address::parse(&given)?,
                None => address_from(environment)?,
            };
            if tls.is_some_and(|tls| (tls != "off") != address.is_encrypted()) {
                return Err(wrong("the parameter `tls` and the server's address say different things")
                    .with_hint("write `https://` or `http://` into the address, and leave `tls` out"));
            }
            address
        }
    };
    Ok((address, verification))
}

fn address_from(environment: &Environment) -> Result<Address> {
    let Some((name, text)) = variable(environment, &["VAULT_ADDR", "BAO_ADDR"])? else {
        return Err(invalid("no address of the server is given")
            .with_hint("set `VAULT_ADDR`, for example to `https://vault.example:8200`, or write `vault://vault.example:8200`"));
    };
    Address::parse(text).map_err(|error| error.with("variable", name))
}

/// One word in the environment is too easily inherited to send every secret to whoever answers.
fn verification(environment: &Environment) -> Result<Verification> {
    let Some((name, text)) = variable(environment, &["VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY"])? else {
        return Ok(Verification::On);
    };
    match text {
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(Verification::On),
        _ => Err(invalid(format!(
            "the variable `{name}` would turn off the check of the server's certificate"
        ))
        .with_hint(
            "name the certificate authority with `VAULT_CACERT` and unset the variable; where it must be, write \
                 `tls=unverified` into the store's URL",
        )),
    }
}

/// The path of the URL, with or without a host, is the mount.
fn mount(url: &StoreUrl, environment: &Environment) -> Result<Option<String>> {
    let path = url.path()?;
    let path = path.trim_matches('/');
    if !path.is_empty() {
        return Ok(Some(path.to_owned()));
    }
    Ok(variable(environment, &["VAULT_PATH"])?
        .map(|(_, path)| path.trim_matches('/').to_owned())
        .filter(|path| !path.is_empty()))
}

fn kv_version(text: &str) -> Result<KvVersion> {
    match text {
        "1" | "v1" => Ok(KvVersion::V1),
        "2" | "v2" => Ok(KvVersion::V2),
        _ => Err(invalid("the version of the KV engine is not `1` or `2`")),
    }
}

/// Whole seconds, also as Vault's own tools write them: `30s`, `2m`.
fn seconds(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=600) => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid("the time for a request is not a number of seconds from 1 to 600")),
    }
}

fn authorities(file: Option<PathBuf>, environment: &Environment) -> Result<Vec<CertificateAuthority>> {
    Ok(match file {
        Some(file) => vec![CertificateAuthority::File(file)],
        None => variable(environment, &["VAULT_CACERT_BYTES", "BAO_CACERT_BYTES"])?
            .map(|(_, pem)| CertificateAuthority::Pem(pem.as_bytes().to_vec()))
            .into_iter()
            .collect(),
    })
}

fn identity(environment: &Environment) -> Result<Option<ClientIdentity>> {
    let certificate = variable(environment, &["VAULT_CLIENT_CERT", "BAO_CLIENT_CERT"])?;
    let key = variable(environment, &["VAULT_CLIENT_KEY", "BAO_CLIENT_KEY"])?;
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some((_, certificate)), Some((_, key))) => Ok(Some(ClientIdentity {
            certificate: environment.absolute(certificate),
            key: environment.absolute(key),
        })),
        _ => Err(invalid(
            "`VAULT_CLIENT_CERT` and `VAULT_CLIENT_KEY` belong together, and one of them is not set",
        )),
    }
}

#[cfg(test)]
mod tests;
