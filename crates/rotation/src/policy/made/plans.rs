//! Ways to make values that need connections or secrets, as policies say them. A *reference* names a secret, for example `${vault:pg/admin}`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result, StoreUrl};
use serde::Deserialize;
use serde_json::Value;

#[cfg(feature = "http")]
use crate::api_key::{ApiKeyRotator, ApiRequest, pointer};
use crate::external::RotationCommand;
#[cfg(feature = "http")]
use crate::http;
use crate::keyring::{DataAlgorithm, KeyringRotator, Reencrypt};
use crate::policy::time;

/// Roles of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresRoles {
    /// The server as a URL without a password. A user in it is the administrator, who changes the passwords.
    pub server: String,
    /// The reference of the administrator's password.
    pub password: Option<String>,
    /// One role, or two that get new passwords in turn.
    pub roles: Vec<String>,
}

/// An HTTP endpoint that is asked for every step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EndpointPlan {
    /// Where it is.
    pub url: String,
    /// Headers of every request; a value may have references, for example `Bearer ${vault:token}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one answer may take.
    #[serde(default, with = "time::option")]
    pub limit: Option<Duration>,
}

/// Who is asked, as [`ExternalRotator`](crate::ExternalRotator) asks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Asked {
    /// A program.
    Command(RotationCommand),
    /// An HTTP endpoint.
    Endpoint(EndpointPlan),
}

/// Who knows whether the old value is still in use: `drain` of a policy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DrainPlan {
    /// Whoever is asked, as for a step.
    Asked(Asked),
    /// The database, which sees whether anybody is logged in as the old role.
    Sessions,
}

/// Keys that data is encrypted with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyringPlan {
    /// What new keys are for.
    pub algorithm: DataAlgorithm,
    /// How many keys stay that are not primary; all of them, if left out.
    pub keep: Option<NonZeroUsize>,
    /// Who encrypts the data anew.
    pub reencrypt: Option<Asked>,
}

/// Keys of a provider's API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiKeyPlan {
    /// Makes a key.
    pub create: RequestPlan,
    /// Succeeds with a key that works.
    pub test: RequestPlan,
    /// Takes a key away.
    pub revoke: RequestPlan,
    /// Where the key is in the answer to `create`: a JSON Pointer.
    pub key_at: String,
    /// Where its id is.
    pub ids_at: Option<String>,
    /// The reference of what `{credential}` stands for in the requests.
    pub credential: Option<String>,
    /// How long one request may take.
    #[serde(default, with = "time::option")]
    pub limit: Option<Duration>,
    /// How long it may take until the provider knows a new key everywhere.
    #[serde(default, with = "time::option")]
    pub settles: Option<Duration>,
}

/// A request, in whose texts `{key}`, `{key_id}`, `{rotation}`, `{name}` and `{credential}` stand for what they say.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RequestPlan {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The fields of a form, as the body.
    pub form: Option<BTreeMap<String, String>>,
    /// A JSON document, as the body.
    pub json: Option<Value>,
}

impl PostgresRoles {
    /// Whether a server and roles can be so.
    ///
    /// # Errors
    /// `InvalidConfig` for a server that is none or has a password in it, and for roles that can't take turns.
    pub fn check(&self) -> Result<()> {
        match self.roles.as_slice() {
            [first, second] if first == second => return Err(wrong("two roles in turn must be two")),
            [_] | [_, _] => {}
            _ => return Err(wrong("`roles` are one, or two that take turns")),
        }
        let url = StoreUrl::parse(&self.server)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("`server` is no URL of a PostgreSQL server").with_hint("`postgres://ADMINISTRATOR@HOST/DATABASE`"));
        }
        match url.password() {
            None => Ok(()),
            Some(_) => Err(wrong("a password must not stand in a policy")
                .with_hint("name the secret that is the password: `password: ${secret:pg/admin}`")),
        }
    }
}

impl EndpointPlan {
    pub(super) fn check(&self) -> Result<()> {
        has_time(self.limit)?;
        #[cfg(feature = "http")]
        {
            http::url(&self.url)?;
            for (name, text) in &self.headers {
                http::header(name, text.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl KeyringPlan {
    /// The rotator, with whoever [`reencrypt`](Self::reencrypt) names.
    #[must_use]
    pub fn rotator(&self, reencrypt: Option<Arc<dyn Reencrypt>>) -> KeyringRotator {
        let mut rotator = KeyringRotator::new(self.algorithm);
        if let Some(reencrypt) = reencrypt {
            rotator = rotator.reencrypt(reencrypt);
        }
        match self.keep {
            Some(count) => rotator.keep(count),
            None => rotator,
        }
    }
}

impl ApiKeyPlan {
    pub(super) fn check(&self) -> Result<()> {
        let has_two_bodies = |request: &&RequestPlan| request.form.is_some() && request.json.is_some();
        if [&self.create, &self.test, &self.revoke].iter().any(has_two_bodies) {
            return Err(wrong("a request has a `form` or `json`, not both"));
        }
        has_time(self.limit)?;
        #[cfg(feature = "http")]
        {
            let requests = [&self.create, &self.test, &self.revoke].map(RequestPlan::request);
            let [create, test, revoke] = &requests;
            ApiKeyRotator::check(create, test, revoke)?;
            for at in [Some(&self.key_at), self.ids_at.as_ref()].into_iter().flatten() {
                pointer(at)?;
            }
            let mentions = |hole: &str| requests.iter().any(|request| request.mentions(hole));
            if self.ids_at.is_none() && mentions("key_id") {
                return Err(wrong(
                    "a request has `{key_id}`, and `ids_at` does not say where the ids of keys are",
                ));
            }
            if self.credential.is_none() && mentions("credential") {
                return Err(wrong("a request has `{credential}`, and nothing says what it stands for")
                    .with_hint("name the secret: `credential: ${secret:admin}`"));
            }
        }
        Ok(())
    }
}

#[cfg(feature = "http")]
impl RequestPlan {
    /// The request.
    #[must_use]
    pub fn request(&self) -> ApiRequest {
        let mut request = ApiRequest::new(&self.method, &self.url);
        for (name, text) in &self.headers {
            request = request.header(name, text);
        }
        if let Some(fields) = &self.form {
            request = request.form(fields.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        }
        if let Some(document) = &self.json {
            request = request.json(document.clone());
        }
        request
    }
}

fn has_time(limit: Option<Duration>) -> Result<()> {
    match limit {
        Some(limit) if limit.is_zero() => Err(wrong("`limit` can't be nothing")),
        _ => Ok(()),
    }
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
