//! How a server is reached and logged in to: typed, from a URL, from the environment.

mod address;
mod from_url;
mod log_in;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue};
use zeroize::Zeroizing;

pub use self::address::Address;
use crate::client::ApiPath;
use crate::kv2;

/// How to reach a server, how to log in, and where on it the secrets are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VaultConfig {
    /// Where the server is.
    pub address: Address,
    /// The namespace that holds the mounts, for example `team/a`.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: AuthConfig,
    /// How to trust an encrypted connection.
    pub tls: TlsConfig,
    /// How long a request may take in all, with the log-in that it may need.
    pub timeout: Duration,
    /// How long it may take until there is a connection.
    pub connect_timeout: Duration,
    /// The path of the KV mount, without `/` at the ends.
    pub mount: String,
    /// The version of the KV engine; `None` asks the server.
    pub kv_version: Option<KvVersion>,
    /// What stands before every name in the mount, for example `app/`. Text, not a path.
    pub prefix: String,
}

impl VaultConfig {
    /// The server at `address` with a log-in, everything else by default.
    #[must_use]
    pub fn new(address: Address, auth: AuthConfig) -> Self {
        Self {
            address,
            namespace: None,
            auth,
            tls: TlsConfig::default(),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            mount: "secret".to_owned(),
            kv_version: None,
            prefix: String::new(),
        }
    }

    /// The path of the secret `name` below the mount.
    ///
    /// # Errors
    /// `Unsupported` for a name that the server has not, and for a path of the server, which is below no mount.
    pub fn path(&self, name: &SecretName) -> Result<String> {
        kv2::capabilities().check_name(name)?;
        if name.is_absolute() {
            return Err(
                Error::new(ErrorKind::Unsupported, "a path of the server is no secret of the mount").with("name", name.as_str()),
            );
        }
        Ok(format!("{}{name}", self.prefix))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.namespace.as_deref().is_some_and(|name| !is_header_text(name)) {
            return Err(invalid("the namespace is empty or has a character that none has"));
        }
        if ApiPath::parse(&self.mount).is_err() {
            return Err(
                invalid("the mount is no path: it has an empty segment, `.`, `..` or a control character")
                    .with("mount", self.mount.escape_debug().to_string()),
            );
        }
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(invalid("the time for a request must be more than nothing"));
        }
        self.auth.check()
    }

    /// What works but should be mended, as sentences for the user.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.address.is_encrypted() && !self.address.is_local() {
            warnings.push(format!(
                "The connection to `{}` is not encrypted: whoever can read the network can read the token and the secrets.",
                self.address
            ));
        }
        if self.address.is_encrypted() && self.tls.verification == Verification::Off {
            warnings.push(format!(
                "The certificate of `{}` is not checked: whoever can answer in its place can read the token and the secrets.",
                self.address
            ));
        }
        warnings
    }
}

/// The version of the KV engine of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvVersion {
    /// A secret is one map, without history.
    V1,
    /// A secret has versions and metadata.
    V2,
}

/// How to log in. `Debug` shows no credential.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AuthConfig {
    /// A token. From a file it is read again when the server refuses it, so that an agent can renew it.
    Token(SecretSource),
    /// An AppRole.
    AppRole {
        /// The path of the log-in method, usually `approle`.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The secret id; a role can be set up to need none.
        secret_id: Option<SecretSource>,
        /// Whether what `secret_id` gives is a wrapping token, which is exchanged once for the secret id.
        wrapped: bool,
    },
    /// A JSON Web Token of an identity provider or a CI system.
    Jwt {
        /// The path of the log-in method, usually `jwt`.
        mount: String,
        /// The role; `None` is the method's default role.
        role: Option<String>,
        /// The token, read again for each log-in.
        jwt: SecretSource,
    },
    /// The service account of a Kubernetes pod.
    Kubernetes {
        /// The path of the log-in method, usually `kubernetes`.
        mount: String,
        /// The role.
        role: String,
        /// The service account's token, read again for each log-in.
        jwt: SecretSource,
    },
}

impl AuthConfig {
    /// Logs in with this token.
    #[must_use]
    pub fn token(token: impl Into<SecretValue>) -> Self {
        Self::Token(SecretSource::Value(token.into()))
    }

    /// Logs in with a role id and a secret id at the usual mount.
    #[must_use]
    pub fn app_role(role_id: impl Into<String>, secret_id: impl Into<SecretValue>) -> Self {
        Self::AppRole {
            mount: "approle".to_owned(),
            role_id: role_id.into(),
            secret_id: Some(SecretSource::Value(secret_id.into())),
            wrapped: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let (mount, source) = match self {
            Self::Token(source) => (None, Some(source)),
            Self::AppRole { mount, secret_id, .. } => (Some(mount), secret_id.as_ref()),
            Self::Jwt { mount, jwt, .. } | Self::Kubernetes { mount, jwt, .. } => (Some(mount), Some(jwt)),
        };
        if let Some(mount) = mount
            && ApiPath::parse(mount).is_err()
        {
            return Err(invalid("the path of the log-in method is no path").with("mount", mount.escape_debug().to_string()));
        }
        match source {
            Some(SecretSource::Value(value)) => credential(value.expose_secret(), self.method()).map(drop),
            _ => Ok(()),
        }
    }

    /// What the method is called in URLs.
    /// How it logs in and as whom, safe to show.
    pub(crate) fn described(&self) -> String {
        let from = |source: &SecretSource| match source {
            SecretSource::Value(_) => String::new(),
            SecretSource::File(path) => format!(" of the file `{}`", path.display()),
        };
        match self {
            Self::Token(source) => format!("the token{} that was given", from(source)),
            Self::AppRole { mount, role_id, .. } => format!("the AppRole `{role_id}` (log-in at `{mount}`)"),
            Self::Jwt { mount, role, jwt } => {
                let role = role
                    .as_ref()
                    .map_or("its default role".to_owned(), |role| format!("the role `{role}`"));
                format!("{role} by the JSON Web Token{} (log-in at `{mount}`)", from(jwt))
            }
            Self::Kubernetes { mount, role, jwt } => {
                format!(
                    "the role `{role}` by the pod's service account{} (log-in at `{mount}`)",
                    from(jwt)
                )
            }
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole { .. } => "approle",
            Self::Jwt { .. } => "jwt",
            Self::Kubernetes { .. } => "kubernetes",
        }
    }
}

/// Where a credential comes from. White space around it does not belong to it.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// This one.
    Value(SecretValue),
    /// What stands in this file, read when it is needed.
    File(PathBuf),
}

impl SecretSource {
    /// The longest credential, in bytes.
    const MAX_BYTES: usize = 64 << 10;

    /// The credential, trimmed and fit to be sent.
    pub(crate) fn read(&self, method: &'static str) -> Result<SecretValue> {
        match self {
            Self::Value(value) => credential(value.expose_secret(), method),
            Self::File(path) => {
                let contents = read_file(path, Self::MAX_BYTES, "the log-in")?;
                credential(&contents, method).map_err(|error| error.with("file", path.display().to_string()))
            }
        }
    }
}

/// How to trust an encrypted connection.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Whom to trust, and nobody else; empty trusts the system's authorities.
    pub authorities: Vec<CertificateAuthority>,
    /// Whether the server's certificate is checked.
    pub verification: Verification,
    /// What the client shows of itself, for servers that ask.
    pub identity: Option<ClientIdentity>,
}

/// Certificates of one or more authorities, in PEM.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CertificateAuthority {
    /// A file.
    File(PathBuf),
    /// Its contents.
    Pem(Vec<u8>),
}

/// A client's certificate and private key, as PEM files.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether a server's certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verification {
    /// It is.
    #[default]
    On,
    /// Anybody can answer in the server's place, and gets the token: for tests only.
    Off,
}

/// Reads a small file; its contents are wiped after use.
pub(crate) fn read_file(path: &Path, max_bytes: usize, what_for: &'static str) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |message: &'static str| {
        invalid(message)
            .with("file", path.display().to_string())
            .with("for", what_for)
    };
    let io = |error: std::io::Error| failed("the file can't be read").with_source(error);
    // A pipe would make this wait for a writer.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(failed("this is not a regular file"));
    }
    // With the whole capacity from the start, so that growing leaves nothing behind.
    let mut contents = Zeroizing::new(Vec::with_capacity(max_bytes + 1));
    File::open(path)
        .and_then(|file| file.take(max_bytes as u64 + 1).read_to_end(&mut contents))
        .map_err(io)?;
    if contents.len() > max_bytes {
        return Err(failed("the file is too large"));
    }
    Ok(contents)
}

/// A credential without the white space around it: printable ASCII, as tokens, ids and JWTs are.
fn credential(bytes: &[u8], method: &'static str) -> Result<SecretValue> {
    let trimmed = bytes.trim_ascii();
    let problem = if trimmed.is_empty() {
        "the credential for the log-in is empty"
    } else if !trimmed.iter().all(u8::is_ascii_graphic) {
        "the credential for the log-in has white space, a control character or a character that is not ASCII in it"
    } else {
        return Ok(SecretValue::from(trimmed));
    };
    Err(invalid(problem).with("login", method))
}

fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

impl fmt::Display for KvVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
        })
    }
}
