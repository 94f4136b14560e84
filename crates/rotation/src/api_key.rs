//! Keys that a provider makes: a new one beside the old one, then the old one goes.

mod request;
mod template;

pub use self::request::ApiRequest;

use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use reqwest::Client;
use serde_json::Value;

use self::request::Filled;
use self::template::Holes;
use crate::http::{self, Answer, invalid};
use crate::rotator::{Rotator, StepContext};

/// Rolls keys of a provider's HTTP API, with an overlap: the new key is made and tried, and the old one is revoked at the end of the
/// grace period.
///
/// Three requests say how the provider is spoken to. In their URL's path and query, headers, and texts of the body stand
///
/// | text | what |
/// |---|---|
/// | `{key}` | the key: the old one in `create`, the new one in `test`, the one that goes in `revoke` |
/// | `{key_id}` | its id, where the provider gives keys one |
/// | `{rotation}` | the id of this rotation, for `Idempotency-Key` |
/// | `{name}` | the name of the secret |
/// | `{credential}` | what the provider lets manage keys with |
/// | `{{`, `}}` | `{`, `}` |
///
/// ```
/// use keyfob_core::SecretValue;
/// use keyfob_rotation::{ApiKeyRotator, ApiRequest};
///
/// let create = ApiRequest::new("POST", "https://api.example/v1/keys")
///     .header("Authorization", "Bearer {credential}")
///     .header("Idempotency-Key", "{rotation}")
///     .form([("name", "shop"), ("replaces", "{key_id}")]);
/// let test = ApiRequest::new("GET", "https://api.example/v1/account").header("Authorization", "Bearer {key}");
/// let revoke = ApiRequest::new("DELETE", "https://api.example/v1/keys/{key_id}").header("Authorization", "Bearer {credential}");
/// let rotator = ApiKeyRotator::new(create, test, revoke, "/secret")?
///     .ids_at("/id")?
///     .credential(SecretValue::from("an administrator's key"));
/// # Ok::<(), keyfob_core::Error>(())
/// ```
///
/// # The secret
/// The bare key; or, with [`ids_at`](Self::ids_at), `{"id": "...", "key": "..."}`. Only what the requests ask for has to be there.
///
/// # What the provider must do
/// Accept both keys until one is revoked, and answer a `create` that is repeated with the same `{rotation}` with the key it made
/// before: an answer can be lost, and without that the key in it would stay valid and unknown for ever. So `create` must have
/// `{rotation}` in it. A `revoke` of a key that is not there (404, 410) counts as done.
///
/// # Errors
/// By the status: `RateLimited` (429, with its `Retry-After`) and `Unavailable` (408, 425, 5xx) leave the rotation where it is;
/// `Unauthenticated`, `PermissionDenied`, `NotFound`, `Conflict`, `InvalidInput` take it back. `step` says where. Never with a word of an
/// answer, or a URL with what was put into it.
#[derive(Debug, Clone)]
pub struct ApiKeyRotator {
    client: Client,
    create: ApiRequest,
    test: ApiRequest,
    revoke: ApiRequest,
    key_at: String,
    ids_at: Option<String>,
    credential: Option<SecretValue>,
    limit: Duration,
    settles: Duration,
}

/// A key and what the provider calls it.
struct ApiKey {
    id: Option<String>,
    key: SecretValue,
}

/// The note with the id of the key that goes.
const OLD_ID: &str = "old_key_id";

/// Between two tries of a new key.
const PAUSE: Duration = Duration::from_secs(1);

impl ApiKeyRotator {
    /// With these requests; the new key is in the JSON answer to `create`, where the JSON Pointer `key_at` (RFC 6901) says.
    ///
    /// # Errors
    /// `InvalidConfig` for a request that can't be, or that lacks what is explained above, and for no pointer.
    pub fn new(create: ApiRequest, test: ApiRequest, revoke: ApiRequest, key_at: &str) -> Result<Self> {
        Self::check(&create, &test, &revoke)?;
        Ok(Self {
            client: http::client(None)?,
            create,
            test,
            revoke,
            key_at: pointer(key_at)?,
            ids_at: None,
            credential: None,
            limit: Duration::from_secs(30),
            settles: Duration::from_secs(15),
        })
    }

    /// Whether keys can be rolled with these requests.
    pub(crate) fn check(create: &ApiRequest, test: &ApiRequest, revoke: &ApiRequest) -> Result<()> {
        for (name, request) in [("create", create), ("test", test), ("revoke", revoke)] {
            request.check().map_err(|error| error.with("request", name))?;
        }
        let problem = if !create.mentions("rotation") {
            "`create` has no `{rotation}`: a key whose answer was lost could never be found"
        } else if !test.mentions("key") {
            "`test` has no `{key}`: it would not prove that the new key works"
        } else if !revoke.mentions("key") && !revoke.mentions("key_id") {
            "`revoke` has neither `{key}` nor `{key_id}`: nobody could tell which key is to go"
        } else {
            return Ok(());
        };
        Err(invalid(problem))
    }

    /// Keys have ids, and the one of a new key is there in the answer to `create`.
    ///
    /// # Errors
    /// `InvalidConfig` for no JSON Pointer.
    pub fn ids_at(mut self, at: &str) -> Result<Self> {
        self.ids_at = Some(pointer(at)?);
        Ok(self)
    }

    /// What `{credential}` stands for.
    #[must_use]
    pub fn credential(mut self, credential: SecretValue) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Trusts only the authorities of this PEM text, instead of those of the machine.
    ///
    /// # Errors
    /// `InvalidConfig` when there is none in it.
    pub fn authorities(mut self, pem: &[u8]) -> Result<Self> {
        self.client = http::client(Some(pem))?;
        Ok(self)
    }

    /// How long one request may take. 30 seconds by default.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long it may take until the provider knows a new key everywhere: so long a `test` that it refuses (401, 403, 404) is
    /// repeated every second. 15 seconds by default.
    #[must_use]
    pub const fn settles(mut self, time: Duration) -> Self {
        self.settles = time;
        self
    }

    fn filled(&self, request: &ApiRequest, step: &StepContext<'_>, key: &ApiKey) -> Result<Filled> {
        request.fill(&Holes {
            key: key.key.expose_str()?,
            key_id: key.id.as_deref(),
            rotation: step.id(),
            name: step.name().as_str(),
            credential: match &self.credential {
                Some(credential) => Some(credential.expose_str()?),
                None => None,
            },
        })
    }

    async fn send(&self, request: &ApiRequest, step: &StepContext<'_>, key: &ApiKey) -> Result<Answer> {
        let filled = self.filled(request, step, key)?;
        let answer = http::send(filled.request(&self.client), self.limit).await;
        answer.map_err(|error| error.with("host", filled.host()))
    }

    async fn made(&self, step: &StepContext<'_>, old: &ApiKey) -> Result<ApiKey> {
        let answer = self.send(&self.create, step, old).await?;
        if let Some(failure) = answer.failure() {
            return Err(failure);
        }
        // What the parser says could quote the key.
        let document: Value =
            serde_json::from_slice(answer.body.expose_secret()).map_err(|_| wrong("the answer to `create` is not JSON"))?;
        let text = |at: &str| match document.pointer(at) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let key = text(&self.key_at).ok_or_else(|| wrong("the answer to `create` has no key where it should be"))?;
        let id = match &self.ids_at {
            Some(at) => Some(text(at).ok_or_else(|| wrong("the answer to `create` has no id where it should be"))?),
            None => None,
        };
        Ok(ApiKey {
            id,
            key: SecretValue::from(key),
        })
    }

    async fn gone(&self, step: &StepContext<'_>, key: &ApiKey) -> Result<()> {
        let answer = self.send(&self.revoke, step, key).await?;
        match answer.failure() {
            Some(failure) if failure.kind() != ErrorKind::NotFound => Err(failure),
            _ => Ok(()),
        }
    }

    fn parse(&self, value: &SecretValue) -> Result<ApiKey> {
        if self.ids_at.is_none() {
            return Ok(ApiKey {
                id: None,
                key: value.clone(),
            });
        }
        let strange = || wrong("the secret is not a JSON object with the texts `id` and `key`");
        let mut document: Value = serde_json::from_slice(value.expose_secret()).map_err(|_| strange())?;
        let mut text = |field: &str| match document.get_mut(field).map(Value::take) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(strange()),
        };
        Ok(ApiKey {
            id: Some(text("id")?),
            key: SecretValue::from(text("key")?),
        })
    }

    fn value(&self, key: &ApiKey) -> Result<SecretValue> {
        let Some(id) = &key.id else {
            return Ok(key.key.clone());
        };
        let (id, key) = (serde_json::to_string(id), serde_json::to_string(key.key.expose_str()?));
        match (id, key) {
            (Ok(id), Ok(key)) => Ok(SecretValue::from(format!(r#"{{"id":{id},"key":{key}}}"#))),
            _ => Err(wrong("the key can't be written as JSON")),
        }
    }
}

#[async_trait]
impl Rotator for ApiKeyRotator {
    fn kind(&self) -> &str {
        "api-key"
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let old = self.parse(step.old_value()?)?;
        // Before there is a new key: whether the old one can be revoked at all.
        self.filled(&self.revoke, step, &old)?;
        if let Some(id) = &old.id {
            // So that the key can be revoked even where the store has let go of the old value.
            step.save(OLD_ID, id).await?;
        }
        let made = self.made(step, &old).await.map_err(|error| error.with("step", "create"))?;
        self.value(&made)
    }

    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        // The provider has accepted the key since it made it.
        Ok(())
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        let new = self.parse(step.new_value()?)?;
        let mut waited = Duration::ZERO;
        loop {
            let answer = self
                .send(&self.test, step, &new)
                .await
                .map_err(|error| error.with("step", "test"))?;
            let failure = match answer.failure() {
                None => return Ok(()),
                Some(failure) => failure.with("step", "test"),
            };
            if !matches!(answer.status, 401 | 403 | 404) || waited >= self.settles {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
    }

    async fn finish(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        let old = match (step.old_value(), step.data(OLD_ID)) {
            (Ok(old), _) => self.parse(old)?,
            (Err(_), Some(id)) if !self.revoke.mentions("key") => ApiKey {
                id: Some(id),
                key: SecretValue::from(""),
            },
            // Nobody knows which key it was.
            (Err(gone), _) => return Err(gone),
        };
        let is_current = match step.new_value() {
            Ok(new) => self
                .parse(new)
                .is_ok_and(|new| new.key.expose_secret() == old.key.expose_secret()),
            Err(_) => false,
        };
        if !is_current {
            self.gone(step, &old).await.map_err(|error| error.with("step", "revoke"))?;
        }
        Ok(None)
    }

    async fn rollback(&self, step: &StepContext<'_>) -> Result<()> {
        let new = match (step.new_value(), step.old_value()) {
            (Ok(new), _) => self.parse(new)?,
            // The answer was lost: asked the same again, the provider says which key it was.
            (Err(_), Ok(old)) => self
                .made(step, &self.parse(old)?)
                .await
                .map_err(|error| error.with("step", "rollback"))?,
            (Err(_), Err(gone)) => return Err(gone),
        };
        self.gone(step, &new).await.map_err(|error| error.with("step", "rollback"))
    }
}

pub(crate) fn pointer(text: &str) -> Result<String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(invalid("a JSON Pointer begins with `/`")),
    }
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
