//! How a policy says that new values are made.

mod plans;
mod written;

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result, async_trait};

pub use self::plans::{ApiKeyPlan, Asked, DrainPlan, EndpointPlan, KeyringPlan, PostgresRoles, RequestPlan};
pub(super) use self::written::{Written, WrittenDrain};
use crate::drain::Drain;
use crate::rotator::Rotator;

/// How a new value is made: `make` of a policy.
///
/// | in the file | value |
/// |---|---|
/// | `text: { length: 32, alphabet: url, require: [upper, digit] }` | characters of an alphabet, `alphanumeric` (if left out), `url` or `symbols`, or of `characters: "abc…"` |
/// | `hex: { bytes: 32 }`, `base64: { bytes: 32 }`, `base64_url: { bytes: 32 }` | random bytes, written so |
/// | `uuid` | a random UUID |
/// | `key_pair: { kind: ed25519 }` | a private key: `ed25519`, `p256`, `p384`, `rsa2048`, `rsa3072`, `rsa4096`; see [`KeyPairRotator`](crate::KeyPairRotator) |
/// | `jwks: { algorithm: eddsa }` | a set of keys that sign tokens: `eddsa`, `es256`, `rs256`, `hs256`; see [`JwksRotator`](crate::JwksRotator) |
/// | `keyring: { algorithm: a256gcm, keep: 3, reencrypt: { command: { run: [./reencrypt] } } }` | keys that data is encrypted with: `a128gcm`, `a256gcm`, `c20p`; `reencrypt` is a `command` or an `endpoint` as below; see [`KeyringRotator`](crate::KeyringRotator) |
/// | `tls: { kind: p256, names: [www.example] }` | a key and a request for a certificate, see [`TlsKeyRotator`](crate::TlsKeyRotator) |
/// | `command: { run: [./rotate-key, --partner], allow: [PARTNER_URL], limit: 30s }` | what a [program](crate::ExternalRotator) says, which is asked for every step |
/// | `endpoint: { url: "https://…", headers: { authorization: "${vault:token}" }, limit: 30s }` | what an HTTP endpoint says, which is asked in the same way |
/// | `api_key: { create: …, test: …, revoke: …, key_at: /secret, ids_at: /id, credential: "${vault:admin}" }` | a key of a provider's API; each request has `method`, `url`, `headers`, `form` or `json`; see `ApiKeyRotator` |
/// | `postgres: { server: "postgres://admin@db.example/app", password: "${vault:pg/admin}", roles: [app_a, app_b] }` | a password of PostgreSQL: of one role, or of two in turn |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Made {
    /// By a rotator that needs nothing else.
    Ready(Arc<dyn Rotator>),
    /// By an HTTP endpoint.
    Endpoint(EndpointPlan),
    /// By a provider's API.
    ApiKey(Box<ApiKeyPlan>),
    /// For data that is encrypted.
    Keyring(KeyringPlan),
    /// For roles of PostgreSQL: `PostgresRotator` of the crate `keyfob-sql`.
    Postgres(PostgresRoles),
}

impl Made {
    /// Reads it as `make` of a policy has it: `uuid`, or `{ hex: { bytes: 32 } }`.
    ///
    /// # Errors
    /// `InvalidConfig` for what can't be understood.
    pub fn parse(yaml: &str) -> Result<Self> {
        super::file::read::<Written>(yaml)?.understand(None)
    }

    /// How long a step of it may usually take, where that is not [`step_limit`](crate::RotationOptions::step_limit)'s default: a day for
    /// encrypting data anew, each portion of which has a limit of its own.
    #[must_use]
    pub const fn step_limit(&self) -> Option<Duration> {
        match self {
            Self::Keyring(KeyringPlan { reencrypt: Some(_), .. }) => Some(Duration::from_secs(86_400)),
            _ => None,
        }
    }
}

/// Knows the rotator for what a policy says: `SecretManager` of the crate `keyfob`, which has the connections and secrets that
/// rotators need.
#[async_trait]
pub trait Rotators: Send + Sync {
    /// The rotator that makes values so.
    ///
    /// # Errors
    /// `Unsupported` when there is none in this build; `InvalidConfig` for what can't be; what reading a secret that it needs fails
    /// with.
    async fn rotator(&self, made: &Made) -> Result<Arc<dyn Rotator>>;

    /// Whoever knows whether an old value that was made so is still in use.
    ///
    /// # Errors
    /// As [`rotator`](Self::rotator).
    async fn drain(&self, made: &Made, plan: &DrainPlan) -> Result<Arc<dyn Drain>> {
        let _ = made;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("this build has nobody for {plan:?}"),
        ))
    }
}
