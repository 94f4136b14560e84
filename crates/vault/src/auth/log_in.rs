//! The ways to log in.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::{Inner, Token};
use crate::client::{Answer, ApiPath, Call};
use crate::config::{AuthConfig, SecretSource};
use crate::error::Refusal;

impl Inner {
    /// Gets a token by the configured method.
    pub(super) async fn log_in(&self) -> Result<Arc<Token>> {
        let method = self.auth.method();
        let answer = match &self.auth {
            AuthConfig::Token(source) => return Token::given(&source.read(method)?).map(Arc::new),
            AuthConfig::AppRole {
                mount,
                role_id,
                secret_id,
                wrapped,
            } => {
                let secret_id = match secret_id {
                    None => None,
                    Some(source) if *wrapped => Some(self.unwrapped(source).await?),
                    Some(source) => Some(source.read(method)?),
                };
                let secret_id = secret_id.as_ref().map(SecretValue::expose_str).transpose()?;
                self.ask(mount, &AppRole { role_id, secret_id }).await?
            }
            AuthConfig::Jwt { mount, role, jwt } => {
                let (role, jwt) = (role.as_deref(), jwt.read(method)?);
                let jwt = jwt.expose_str()?;
                self.ask(mount, &Jwt { role, jwt }).await?
            }
            AuthConfig::Kubernetes { mount, role, jwt } => {
                let (role, jwt) = (Some(role.as_str()), jwt.read(method)?);
                let jwt = jwt.expose_str()?;
                self.ask(mount, &Jwt { role, jwt }).await?
            }
        };
        let granted = Granted::from_answer(&answer)?;
        tracing::debug!(method, seconds = granted.lease_duration, "logged in");
        Token::granted(&granted.client_token, granted.lasts(), granted.renewable).map(Arc::new)
    }

    async fn ask(&self, mount: &str, body: &(impl Serialize + Sync)) -> Result<Answer> {
        let path = ApiPath::of("auth").join(mount)?.join("login")?;
        let call = Call::post(&path).body(body)?.reads_only().refusals(REFUSALS);
        match self.exchange.send_in_time(&call, None).await {
            Ok(answer) if answer.is_missing() => Err(answer
                .error(ErrorKind::InvalidConfig, "the server has no such log-in method at this path")
                .with_hint("name the path with `VAULT_AUTH_MOUNT`, or `login-mount` in the store's URL")),
            Err(error) => Err(self.refused(error)),
            answer => answer,
        }
    }

    /// A refused log-in is one thing, whatever status the method chose for it.
    fn refused(&self, error: Error) -> Error {
        let message = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::PermissionDenied => "the server refused the log-in".to_owned(),
            ErrorKind::Unauthenticated => error.message().to_owned(),
            _ => return error,
        };
        let hint = match self.auth.method() {
            "approle" => "check the role id and the secret id, and whether the secret id has expired or was used up",
            "jwt" => "check the role, and that the token is valid and has the claims that the role is bound to",
            _ => "check the role, and that it is bound to the pod's service account and namespace",
        };
        let refused = Error::new(ErrorKind::Unauthenticated, message).with_hint(hint);
        let refused = error
            .context()
            .fold(refused, |refused, (key, value)| refused.with(key, value));
        refused.with("login", self.auth.method())
    }

    /// The secret id that a wrapping token stands for. The exchange works once, so what it gave is kept.
    async fn unwrapped(&self, source: &SecretSource) -> Result<SecretValue> {
        #[derive(Deserialize)]
        struct Data {
            secret_id: SecretValue,
        }
        if let Some(secret_id) = self.unwrapped.get() {
            return Ok(secret_id.clone());
        }
        let token = source.read("approle")?;
        let mut header = HeaderValue::from_bytes(token.expose_secret()).map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the wrapping token has a character that no token has",
            )
        })?;
        header.set_sensitive(true);
        let path = ApiPath::of("sys/wrapping/unwrap");
        let call = Call::post(&path).refusals(UNWRAP_REFUSALS);
        let answer = self.exchange.send_in_time(&call, Some(&header)).await?;
        let Data { secret_id } = answer.data().map_err(|error| {
            let error = error.context().fold(
                Error::new(ErrorKind::InvalidConfig, "the wrapping token holds no secret id"),
                |error, (key, value)| error.with(key, value),
            );
            error.with_hint("wrap the answer of `auth/approle/role/ROLE/secret-id`")
        })?;
        Ok(self.unwrapped.get_or_init(|| secret_id).clone())
    }
}

#[derive(Serialize)]
struct AppRole<'a> {
    role_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Jwt<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    jwt: &'a str,
}

/// A token as a log-in or a renewal gives it.
#[derive(Deserialize)]
pub(super) struct Granted {
    client_token: SecretValue,
    /// In seconds; 0 never expires.
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

impl Granted {
    pub(super) fn from_answer(answer: &Answer) -> Result<Self> {
        #[derive(Deserialize)]
        struct Body {
            auth: Granted,
        }
        let granted = answer.json::<Body>()?.auth;
        if granted.client_token.is_empty() {
            return Err(answer.error(ErrorKind::Other, "the server's answer to the log-in has no token"));
        }
        Ok(granted)
    }

    pub(super) fn lasts(&self) -> Duration {
        Duration::from_secs(self.lease_duration)
    }
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        status: 400,
        text: "could not be found",
        kind: ErrorKind::Unauthenticated,
        message: "the server refused the log-in: it has no such role",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "invalid role name",
        kind: ErrorKind::Unauthenticated,
        message: "the server refused the log-in: it has no such role",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "missing secret_id",
        kind: ErrorKind::Unauthenticated,
        message: "the server refused the log-in: the role needs a secret id",
        hint: "",
    },
];

const fn unwrap_refusal(status: u16) -> Refusal {
    Refusal {
        status,
        text: "",
        kind: ErrorKind::Unauthenticated,
        message: "the server refused the wrapping token of the secret id",
        hint: "it has expired or was used before; if it was not you, somebody else has the secret id: revoke it",
    }
}

const UNWRAP_REFUSALS: &[Refusal] = &[unwrap_refusal(400), unwrap_refusal(403)];
