//! Dynamic secrets: what the server makes when it is asked, with a lease.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use keyfob_core::{Error, ErrorKind, Field, Metadata, Result, Secret, SecretName, SecretValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use crate::client::{Answer, ApiPath, Call, Vault};
use crate::error::Refusal;
use crate::kv::SCHEME;

const REFUSALS: &[Refusal] = &[
    Refusal {
        status: 400,
        text: "unknown role",
        kind: ErrorKind::NotFound,
        message: "the server has no such role",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "lease not found",
        kind: ErrorKind::NotFound,
        message: "the server has no such lease: it has ended or was revoked",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "lease is not renewable",
        kind: ErrorKind::Unsupported,
        message: "the lease can't be renewed",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "lease expired",
        kind: ErrorKind::NotFound,
        message: "the lease has ended",
        hint: "",
    },
];

/// What any path answers.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    lease_id: String,
    /// In seconds.
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    data: Option<Box<RawValue>>,
}

impl Vault {
    /// Reads a logical path once, for example `database/creds/app`, and keeps the lease of what the server made for it.
    ///
    /// Each call makes new credentials. They stay valid until the lease ends or is [revoked](Lease::revoke); dropping the
    /// handle leaves them alone. What the server hands out without a lease (a KV path) reads too: then nothing can be
    /// renewed, and revoking does nothing.
    ///
    /// # Errors
    /// - `InvalidInput`: the path has an empty segment, `.` or `..`.
    /// - `NotFound`: there is nothing at the path, or no such role.
    /// - What any request can fail with.
    pub async fn read_lease(&self, path: &str) -> Result<Lease> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = ApiPath::parse(path)?;
        let body = read(self, &path).await?;
        let data = body.data.map(document).ok_or_else(|| nothing_at(&path))?;
        Ok(Lease {
            vault: self.clone(),
            path: path.shown().to_owned(),
            data,
            id: body.lease_id,
            term: Mutex::new(Term::new(body.lease_duration, body.renewable)),
        })
    }

    /// The answer of a logical path as a secret: the JSON document of its data, which expires with its lease.
    pub(crate) async fn read_logical(&self, name: &SecretName) -> Result<Secret> {
        let path = ApiPath::parse(name.as_str().strip_prefix('/').unwrap_or(name.as_str()))?;
        let body = read(self, &path).await?;
        let data = body.data.map(document).ok_or_else(|| nothing_at(&path))?;
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        if !body.lease_id.is_empty() {
            metadata.expires_at = SystemTime::now().checked_add(Duration::from_secs(body.lease_duration));
        }
        Ok(Secret::new(data, metadata))
    }
}

/// What the server made, and for how long.
///
/// The [crate's documentation](crate#dynamic-secrets) shows how to keep one renewed.
pub struct Lease {
    vault: Vault,
    path: String,
    /// A JSON document.
    data: SecretValue,
    id: String,
    term: Mutex<Term>,
}

/// For how long.
#[derive(Debug, Clone, Copy)]
struct Term {
    since: Instant,
    duration: Duration,
    is_renewable: bool,
}

impl Term {
    fn new(seconds: u64, is_renewable: bool) -> Self {
        Self {
            since: Instant::now(),
            duration: Duration::from_secs(seconds),
            is_renewable,
        }
    }
}

impl Lease {
    /// All fields, as a JSON document.
    #[must_use]
    pub fn fields(&self) -> &SecretValue {
        &self.data
    }

    /// One field, for example `username`; see [`Field::pick`].
    ///
    /// # Errors
    /// `NotFound` when there is none of that name, with those that exist; `InvalidInput` for what can't be a field.
    pub fn field(&self, name: &str) -> Result<SecretValue> {
        Field::parse(name)?
            .pick(&self.data)
            .map_err(|error| error.with("path", self.path.as_str()))
    }

    /// The server's name for the lease, empty for what has none. No credential, but a token with the permission can
    /// revoke by it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long it still holds, from what the server said last.
    pub async fn remaining(&self) -> Duration {
        let term = *self.term.lock().await;
        term.duration.saturating_sub(term.since.elapsed())
    }

    /// Whether the server renews it.
    pub async fn is_renewable(&self) -> bool {
        !self.id.is_empty() && self.term.lock().await.is_renewable
    }

    /// When to renew it: at two thirds of its time.
    pub async fn renew_in(&self) -> Duration {
        let term = *self.term.lock().await;
        (term.duration * 2 / 3).saturating_sub(term.since.elapsed())
    }

    /// Renews it and says for how long it holds now. The server may give less than the `increment` that is asked for, and
    /// never more than its longest time; `None` asks for the role's own time.
    ///
    /// # Errors
    /// `Unsupported` when it can't be renewed, `NotFound` when it has ended, and what any request can fail with.
    pub async fn renew(&self, increment: Option<Duration>) -> Result<Duration> {
        #[derive(Serialize)]
        struct Renew<'a> {
            lease_id: &'a str,
            /// In seconds.
            #[serde(skip_serializing_if = "Option::is_none")]
            increment: Option<u64>,
        }
        if !self.is_renewable().await {
            return Err(self.error(ErrorKind::Unsupported, "the lease can't be renewed"));
        }
        let path = ApiPath::of("sys/leases/renew");
        let body = Renew {
            lease_id: &self.id,
            increment: increment.map(|increment| increment.as_secs()),
        };
        let answer = self.vault.request(Call::put(&path).body(&body)?.refusals(REFUSALS)).await?;
        let body: Body = answer.json()?;
        let term = Term::new(body.lease_duration, body.renewable);
        *self.term.lock().await = term;
        Ok(term.duration)
    }

    /// Ends it now; what the server made is gone when this returns. Ending it twice is no error.
    ///
    /// Dropping a lease does not end it: that takes a request, and a drop can't wait for one.
    ///
    /// # Errors
    /// What any request can fail with.
    pub async fn revoke(&self) -> Result<()> {
        #[derive(Serialize)]
        struct Revoke<'a> {
            lease_id: &'a str,
            /// Answers when it is done, not when it is begun.
            sync: bool,
        }
        if self.id.is_empty() {
            return Ok(());
        }
        let path = ApiPath::of("sys/leases/revoke");
        let body = Revoke {
            lease_id: &self.id,
            sync: true,
        };
        match self.vault.request(Call::put(&path).body(&body)?.refusals(REFUSALS)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => {
                *self.term.lock().await = Term::new(0, false);
                Ok(())
            }
        }
    }

    fn error(&self, kind: ErrorKind, message: &'static str) -> Error {
        Error::new(kind, message).with("path", self.path.as_str())
    }
}

/// Without the fields and the id.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("path", &self.path).finish_non_exhaustive()
    }
}

async fn read(vault: &Vault, path: &ApiPath) -> Result<Body> {
    // A GET also where it makes credentials: when its answer is lost, asking again makes others and harms nothing.
    let answer: Answer = vault.request(Call::get(path).refusals(REFUSALS)).await?;
    if answer.is_missing() {
        return Err(nothing_at(path));
    }
    answer.json()
}

/// The text is taken over without a copy, and is wiped with the value.
fn document(data: Box<RawValue>) -> SecretValue {
    SecretValue::from(Box::<str>::from(data).into_string())
}

fn nothing_at(path: &ApiPath) -> Error {
    Error::new(ErrorKind::NotFound, "the server has nothing at this path").with("path", path.shown())
}
