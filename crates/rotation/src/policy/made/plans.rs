//! Ways to make values that need connections or secrets, as policies say them. A *reference* names a secret, for example `${vault:pg/admin}`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::external::RotationCommand;
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
    pub(super) fn check(&self) -> Result<()> {
        match self.roles.len() {
            1 | 2 => Ok(()),
            _ => Err(wrong("`roles` are one, or two that take turns")),
        }
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
        match [&self.create, &self.test, &self.revoke].iter().any(has_two_bodies) {
            true => Err(wrong("a request has a `form` or `json`, not both")),
            false => Ok(()),
        }
    }
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
